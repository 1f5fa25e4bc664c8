package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"lenskit/internal/disk"
	"lenskit/internal/task"
	"lenskit/tools/internal/term"
)

// commands is the table of subcommands in the order in which the help lists them. A new subcommand is one file and one
// row here.
var commands = []func() *cli.Command{
	fitCommand,
	sampleCommand,
	mockCommand,
	evalCommand,
	deflectCommand,
	plotCommand,
	coolestCommand,
	surveyCommand,
	weightsCommand,
	onnxCommand,
	datasetCommand,
	trainCommand,
	exportCommand,
	doctorCommand,
	versionCommand,
}

// Main runs the command line args (args[0] is the program) on the process's own streams and returns the exit code.
func Main(args []string) int {
	term.PrepareProcess()
	return Run(context.Background(), args, os.Stdout, os.Stderr)
}

// Run is Main on given streams. A panic becomes a one-line message; with LENSKIT_DEBUG set its stack follows.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			met := task.Caught(r)
			term.Report(stderr, fmt.Errorf("internal error: %w", met))
			if os.Getenv("LENSKIT_DEBUG") != "" {
				stderr.Write(met.Stack)
			} else {
				fmt.Fprintln(stderr, "hint: LENSKIT_DEBUG=1 prints where; please report it")
			}
			code = term.ExitUnexpected
		}
	}()
	out := &results{w: stdout}
	app := App(out, stderr)
	args, err := arrange(app, args)
	release := term.HoldWarnings()
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	held := release()
	if out.err != nil && (err == nil || errors.Is(err, out.err) || term.ExitCode(err) == term.ExitNotConverged) {
		err = &disk.WriteError{Path: "standard output", Err: out.err}
	}
	if err != nil {
		term.Report(stderr, err, held...)
	} else {
		for _, line := range held {
			fmt.Fprintf(stderr, "lenskit: %s\n", line)
		}
	}
	return term.ExitCode(err)
}

// results is standard output: it remembers that something did not get there, so that no command ends well without its
// results.
type results struct {
	w   io.Writer
	err error
}

func (r *results) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.w.Write(p)
	r.err = err
	return n, err
}

// App builds the command-line application. Its commands read their flags wherever they stand only when the arguments
// went through Run.
func App(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "lenskit",
		Usage:     "differentiable strong gravitational lensing: from a FITS image to the lens and its source",
		UsageText: "lenskit COMMAND [flags] [arguments]\nlenskit COMMAND --help",
		Description: "Results go to stdout, progress to stderr. Exit codes: 0 done, 1 unexpected failure, 2 bad input or usage,\n" +
			"3 did not converge, 4 numerical failure, 75 interrupted after saving (run the same command again to go on).",
		Version:        term.Version(),
		Writer:         stdout,
		ErrWriter:      stderr,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return term.AsBadInput(err) },
		Action: func(c *cli.Context) error {
			return cli.ShowAppHelp(c)
		},
	}
	for _, make := range commands {
		app.Commands = append(app.Commands, finish(make()))
	}
	return app
}

// finish adds to a command what all commands share.
func finish(c *cli.Command) *cli.Command {
	if len(c.Subcommands) > 0 {
		for _, s := range c.Subcommands {
			finish(s)
		}
		c.Action = func(ctx *cli.Context) error { return cli.ShowSubcommandHelp(ctx) }
		return c
	}
	c.HideHelpCommand = true
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return term.AsBadInput(err) }
	c.Flags = append(slices.Clip(c.Flags),
		&cli.BoolFlag{Name: "json", Usage: "write one JSON document to stdout"},
		&cli.BoolFlag{Name: "quiet", Usage: "no progress, and no notices but of what was lost or moved"})
	return c
}

// arrange puts the flags before the positional arguments, so that they may stand anywhere on the command line, and
// answers unknown commands and flags with the nearest one.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	head, rest := args[:1:1], args[1:]
	// --json and --quiet may also stand before the command.
	var moved []string
	for len(rest) > 0 && slices.Contains([]string{"--json", "--quiet", "-json", "-quiet"}, rest[0]) {
		moved, rest = append(moved, rest[0]), rest[1:]
	}
	rest = slices.Concat(rest[:min(1, len(rest))], moved, rest[min(1, len(rest)):])
	if len(rest) == 0 {
		return args, nil
	}
	name := rest[0]
	if strings.HasPrefix(name, "-") {
		if slices.Contains([]string{"-h", "--help", "-help", "-v", "--version", "-version"}, name) {
			return append(head, name), nil
		}
		return nil, term.WithHint(term.BadInput("unknown flag %s before the command", name), "lenskit --help lists the commands")
	}
	if name == "help" || name == "h" {
		if len(rest) > 1 && !strings.HasPrefix(rest[1], "-") {
			rest = append(slices.Clone(rest[1:]), "--help")
			name = rest[0]
		} else {
			return append(head, "--help"), nil
		}
	}
	path := "lenskit"
	list := app.Commands
	for {
		cmd, err := lookup(path, list, name)
		if err != nil {
			return nil, err
		}
		head, rest = append(head, name), rest[1:]
		path += " " + name
		if len(cmd.Subcommands) == 0 {
			flags, positional, err := split(path, cmd, rest)
			if err != nil {
				return nil, err
			}
			if len(positional) > 0 {
				flags = append(append(flags, "--"), positional...)
			}
			return append(head, flags...), nil
		}
		for len(rest) > 1 && (rest[0] == "--json" || rest[0] == "--quiet") {
			rest = append(append([]string{rest[1]}, rest[0]), rest[2:]...)
		}
		if len(rest) > 1 && (rest[0] == "help" || rest[0] == "h") {
			rest = append(slices.Clone(rest[1:]), "--help")
		}
		if len(rest) == 0 || strings.HasPrefix(rest[0], "-") || rest[0] == "help" || rest[0] == "h" {
			return append(head, "--help"), nil
		}
		list, name = cmd.Subcommands, rest[0]
	}
}

// lookup finds the command name in list.
func lookup(path string, list []*cli.Command, name string) (*cli.Command, error) {
	var names []string
	for _, c := range list {
		if c.HasName(name) {
			return c, nil
		}
		names = append(names, c.Names()...)
	}
	return nil, term.WithHint(term.BadInput("unknown command %q%s", strings.TrimPrefix(path+" "+name, "lenskit "), term.DidYouMean(name, names)),
		"%s --help lists the commands", path)
}

// split separates the flags of cmd, with their values, from its positional arguments.
func split(path string, cmd *cli.Command, args []string) (flags, positional []string, err error) {
	known := map[string]cli.Flag{}
	var names []string
	for _, f := range append(slices.Clone(cmd.Flags), cli.HelpFlag) {
		for _, n := range f.Names() {
			known[n] = f
			names = append(names, n)
		}
	}
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			return flags, append(positional, args...), nil
		case len(a) < 2 || a[0] != '-':
			positional = append(positional, a)
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
		f, ok := known[name]
		if !ok {
			dashes := a[:len(a)-len(strings.TrimLeft(a, "-"))]
			near := term.DidYouMean(name, names)
			return nil, nil, term.WithHint(term.BadInput("%s: unknown flag %s%s%s", strings.TrimPrefix(path, "lenskit "), dashes, name, strings.Replace(near, `"`, `"--`, 1)),
				"%s --help lists the flags", path)
		}
		flags = append(flags, a)
		if b, ok := f.(*cli.BoolFlag); ok && b != nil {
			continue
		}
		if !given {
			if len(args) == 0 {
				return nil, nil, term.BadInput("%s: flag %s needs a value", strings.TrimPrefix(path, "lenskit "), a)
			}
			value, args = args[0], args[1:]
			flags = append(flags, value)
		}
		if value == "" {
			return nil, nil, term.BadInput("%s: flag %s needs a value, found an empty one", strings.TrimPrefix(path, "lenskit "), strings.TrimSuffix(a, "="))
		}
	}
	return flags, positional, nil
}

// arguments checks that a command got as many positional arguments as it has names for, and returns them.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	if n := c.NArg(); n != len(names) {
		return nil, term.WithHint(term.BadInput("%s: found %d arguments, expected %s", c.Command.Name, n, strings.Join(names, " ")),
			"%s --help shows the usage", c.Command.HelpName)
	}
	if i := slices.Index(c.Args().Slice(), ""); i >= 0 {
		return nil, term.BadInput("%s: %s: found an empty name", c.Command.Name, names[i])
	}
	return c.Args().Slice(), nil
}
