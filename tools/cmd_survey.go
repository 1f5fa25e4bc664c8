package tools

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/search"
	"lenskit/tools/survey"
)

func surveyCommand() *cli.Command {
	return &cli.Command{
		Name:  "survey",
		Usage: "fit many lenses, one array task each",
		Description: "plan writes the list of lenses and a job script for Slurm, PBS, LSF or SGE; the batch system runs survey run once for each\n" +
			"lens; status tells how they stand; merge makes one table and a contact sheet of the results. lenskit starts no jobs itself.\n" +
			"Without a batch system: seq 10 | xargs -P 4 -I{} lenskit survey run DIR --index {} --threads 1",
		Subcommands: []*cli.Command{surveyPlanCommand(), surveyRunCommand(), surveyStatusCommand(), surveyMergeCommand()},
	}
}

func surveyPlanCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "write the list of lenses and a job script",
		ArgsUsage: "LIST.csv|FILE…",
		UsageText: "lenskit survey plan LIST.csv -o DIR\nlenskit survey plan 'PATTERN' [--noise SIGMA|FILE] [--psf SIGMA|FILE] [--pixel-scale ARCSEC] -o DIR",
		Description: "LIST.csv has a line for each lens and columns among name, config, image, noise, psf, pixel_scale: a config, or an image with\n" +
			"what is known of it, as for lenskit fit. Paths are relative to the list. Without a list each FILE (or file that fits the\n" +
			"PATTERN) is a lens. Planned again with lenses added at the end, a survey keeps what is done.\n\n" +
			"Example: lenskit survey plan lenses.csv -o out/survey --cpus 4 --time 1:00 && sbatch out/survey/survey.sbatch",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "folder of the survey"},
			&cli.StringFlag{Name: "noise", Usage: "of images without a list: standard deviation of a pixel, or a FITS file"},
			&cli.StringFlag{Name: "psf", Usage: "of images without a list: standard deviation in arcsec, a FITS file, or none"},
			&cli.Float64Flag{Name: "pixel-scale", Usage: "of images without a list: arcsec per pixel (default: the header's)"},
			&cli.StringFlag{Name: "optimizer", Value: "lm", Usage: "lm or adam, as for lenskit fit"},
			&cli.IntFlag{Name: "iterations", Usage: "steps of the last stage; 0: the optimizer's default"},
			&cli.IntFlag{Name: "starts", Usage: "draws from the priors; 0: the default"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the draws"},
			&cli.StringFlag{Name: "device", Value: "cpu", Usage: "cpu, cuda or reference"},
			&cli.StringFlag{Name: "scheduler", Value: "slurm", Usage: strings.Join(survey.Schedulers(), ", ")},
			&cli.IntFlag{Name: "per-task", Value: 1, Usage: "lenses that one array task fits, one after the other"},
			&cli.IntFlag{Name: "cpus", Value: 2, Usage: "processors of a task"},
			&cli.StringFlag{Name: "time", Value: "2:00", Usage: "limit of a task in hours and minutes"},
			&cli.IntFlag{Name: "memory", Value: 4000, Usage: "of a task, in MB"},
			&cli.IntFlag{Name: "at-once", Usage: "tasks that may run at one time; 0: no limit"},
		},
		Action: runSurveyPlan,
	}
}

func runSurveyPlan(c *cli.Context) error {
	opt := survey.PlanOptions{Inputs: c.Args().Slice(), Output: c.String("output"), Noise: c.String("noise"), PSF: c.String("psf"), PixelScale: c.Float64("pixel-scale"),
		Search: search.Options{Optimizer: c.String("optimizer"), Iterations: c.Int("iterations"), Starts: c.Int("starts"), Seed: c.Uint64("seed")},
		Device: c.String("device"), Scheduler: c.String("scheduler"), PerTask: c.Int("per-task"), CPUs: c.Int("cpus"), Time: c.String("time"),
		Memory: c.Int("memory"), AtOnce: c.Int("at-once")}
	if c.IsSet("pixel-scale") && !(opt.PixelScale > 0 && opt.PixelScale <= 1e6) {
		return term.BadInput("--pixel-scale: found %g, expected arcsec per pixel above 0", opt.PixelScale)
	}
	if path, err := os.Executable(); err == nil {
		opt.Program = path
	}
	p, err := survey.Plan(opt)
	if err != nil {
		return err
	}
	if p.Moved != "" {
		term.NewProgress(c.App.ErrWriter, c.Bool("quiet")).Warn("%s", p.Moved)
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, p)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s\n%s\n%s in %s: %s\n", p.Manifest, p.Script, survey.Count(p.Lenses, "lens", "lenses"), survey.Count(p.Tasks, "task", "tasks"), p.Submit)
	return err
}

func surveyRunCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "fit one lens of a survey",
		ArgsUsage: "DIR",
		UsageText: "lenskit survey run DIR [--index N]",
		Description: "Without --index the batch system tells which: " + strings.Join(survey.TaskVariables, ", ") + ".\n" +
			"The fit goes to DIR/NAME. A lens that is done ends at once, unless its files have changed; one that was stopped goes on.\n" +
			"Exit codes are those of lenskit fit; of several lenses, the worst.\n\n" +
			"Example: lenskit survey run out/survey --index 3",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "index", Usage: "number of the lens from 1, or numbers such as 1-5,8"},
			&cli.IntFlag{Name: "threads", Usage: "number of threads; 0: those of the task, else all"},
			&cli.BoolFlag{Name: "force", Usage: "fit again what is done"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			opt := survey.RunOptions{Dir: args[0], Index: c.String("index"), Threads: c.Int("threads"), Force: c.Bool("force"), JSON: c.Bool("json"), Getenv: os.Getenv}
			if opt.Threads < 0 || opt.Threads > 4096 {
				return term.BadInput("--threads: found %d, expected 0 to 4096", opt.Threads)
			}
			ctx, stop := term.WithSignals(c.Context)
			defer stop()
			return survey.Run(ctx, opt, c.App.Writer, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
		},
	}
}

func surveyStatusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "tell how the lenses of a survey stand",
		ArgsUsage: "DIR",
		UsageText: "lenskit survey status DIR [--indices STATE,…]",
		Description: "States: " + strings.Join(survey.Standings, ", ") + ". Lost are runs that ended without a word, interrupted those\n" +
			"that have saved themselves. --indices prints only the array tasks of the lenses in given states.\n\n" +
			"Example: sbatch --array=$(lenskit survey status DIR --indices lost,interrupted,pending) DIR/survey.sbatch",
		Flags: []cli.Flag{&cli.StringFlag{Name: "indices", Usage: "print the array tasks of the lenses in these states"}},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			s, err := survey.Open(args[0])
			if err != nil {
				return err
			}
			rows, err := s.All(c.Context)
			if err != nil {
				return err
			}
			if c.IsSet("indices") {
				return printIndices(c.App.Writer, s, rows, c.String("indices"))
			}
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, map[string]any{"lenses": rows, "counts": countStates(rows)})
			}
			return printStandings(c.App.Writer, rows)
		},
	}
}

// countStates counts the lenses in each state.
func countStates(rows []survey.Standing) map[string]int {
	out := map[string]int{}
	for _, r := range rows {
		out[r.State]++
	}
	return out
}

// printIndices writes the array tasks of the lenses in the states of a comma-separated list.
func printIndices(w io.Writer, s *survey.Survey, rows []survey.Standing, states string) error {
	var tasks []int
	want := strings.Split(states, ",")
	for _, st := range want {
		if !slices.Contains(survey.Standings, st) {
			return term.BadInput("--indices: unknown state %q%s", st, config.ExpectedKeys(st, survey.Standings))
		}
	}
	for _, r := range rows {
		task := (r.Index-1)/s.Plan.PerTask + 1
		if slices.Contains(want, r.State) && (len(tasks) == 0 || tasks[len(tasks)-1] != task) {
			tasks = append(tasks, task)
		}
	}
	_, err := fmt.Fprintln(w, survey.IndicesText(tasks))
	return err
}

// printStandings writes a table with a line for each lens and the sums.
func printStandings(w io.Writer, rows []survey.Standing) error {
	width, digits := 4, len(fmt.Sprint(len(rows)))
	for _, r := range rows {
		width = max(width, len(r.Name))
	}
	b := bufio.NewWriter(w)
	for _, r := range rows {
		line := fmt.Sprintf("%*d  %-*s  %-13s", digits, r.Index, width, r.Name, r.State)
		if r.Rec != nil {
			line += "  χ²/N " + term.Padded(r.Rec.Number("reduced_chi2"), 7, 3) + "  " + term.Padded(r.Rec.Number("seconds"), 6, 0) + " s"
		}
		if r.Message != "" {
			line += "  " + r.Message
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	n := countStates(rows)
	var sums []string
	for _, st := range survey.Standings {
		if n[st] > 0 {
			sums = append(sums, fmt.Sprintf("%d %s", n[st], strings.ReplaceAll(st, "_", " ")))
		}
	}
	fmt.Fprintf(b, "%s: %s\n", survey.Count(len(rows), "lens", "lenses"), strings.Join(sums, ", "))
	return b.Flush()
}

func surveyMergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "make one table and a contact sheet of the results",
		ArgsUsage: "DIR",
		UsageText: "lenskit survey merge DIR [-o BASE]",
		Description: "Writes BASE.csv, BASE.json and BASE.fits with a row for each lens (status, reason, χ², parameters and uncertainties; empty\n" +
			"where a lens has no such parameter) and BASE.png with data, model, residual and source of those that have results.\n\n" +
			"Example: lenskit survey merge out/survey -o out/catalog",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "base of the files' names (default: DIR/catalog)"},
			&cli.BoolFlag{Name: "latents", Usage: "the latents of decoders, too"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			made, rows, err := survey.Merge(c.Context, survey.MergeOptions{Dir: args[0], Output: c.String("output"), Latents: c.Bool("latents")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, map[string]any{"files": made, "counts": countStates(rows)})
			}
			for _, path := range made {
				fmt.Fprintln(c.App.Writer, path)
			}
			return nil
		},
	}
}
