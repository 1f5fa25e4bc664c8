package tools

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/run"
)

// computeFlags are the flags of commands that run a posterior.
func computeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "threads", Usage: "number of threads; 0: all"},
		&cli.StringFlag{Name: "device", Value: "cpu", Usage: "cpu, cuda or reference (the decoder in float64 in Go)"},
	}
}

// computeOptions reads them.
func computeOptions(c *cli.Context) (adjoint.Options, error) {
	o := adjoint.Options{Threads: c.Int("threads"), Device: c.String("device")}
	if o.Threads < 0 || o.Threads > 4096 {
		return o, term.BadInput("--threads: found %d, expected 0 to 4096", o.Threads)
	}
	switch o.Device {
	case "cpu", "cuda", "reference":
		return o, nil
	}
	return o, term.BadInput("--device: found %q, expected cpu, cuda or reference", o.Device)
}

func evalCommand() *cli.Command {
	return &cli.Command{
		Name:      "eval",
		Usage:     "log likelihood, prior and gradient at given parameters",
		ArgsUsage: "CONFIG",
		UsageText: "lenskit eval CONFIG [--params P.json] [--grad] [-o DIR]",
		Description: "Writes log_likelihood, log_prior, log_posterior, chi2, pixels and reduced_chi2 as JSON; with --grad also gradient (of the log\n" +
			"posterior) and gradient_log_likelihood by parameter name; of sources of type pixels also memory_mib, what solving for them\n" +
			"takes. Parameters that --params leaves out take their truth, else init,\n" +
			"else their prior's centre. With -o the model image and its parts go to DIR/model.fits.\n\n" +
			"Example: lenskit eval mock.yaml --params mock.truth.json --grad",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "params", Usage: "JSON object of parameter names and values, or a fit.json"},
			&cli.BoolFlag{Name: "grad", Usage: "write gradients"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "folder for model.fits"},
		}, computeFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "CONFIG")
			if err != nil {
				return err
			}
			compute, err := computeOptions(c)
			if err != nil {
				return err
			}
			opt := evalOptions{Config: args[0], Params: c.String("params"), Grad: c.Bool("grad"), Output: c.String("output"), Compute: compute}
			return evaluate(c.Context, opt, c.App.Writer, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
		},
	}
}

// evalOptions says what evaluate computes.
type evalOptions struct {
	Config  string
	Params  string // P.json; "" for none
	Grad    bool
	Output  string // folder; "" for none
	Compute adjoint.Options
}

// evaluation is what evaluate writes.
type evaluation struct {
	LogLikelihood  term.JSONFloat      `json:"log_likelihood"`
	LogPrior       term.JSONFloat      `json:"log_prior"`
	LogPosterior   term.JSONFloat      `json:"log_posterior"`
	Chi2           term.JSONFloat      `json:"chi2"`
	Pixels         int                 `json:"pixels"`
	ReducedChi2    term.JSONFloat      `json:"reduced_chi2"`
	Gradient       *term.OrderedValues `json:"gradient,omitempty"`
	GradLikelihood *term.OrderedValues `json:"gradient_log_likelihood,omitempty"`
	Memory         int                 `json:"memory_mib,omitempty"` // of solving for pixelised sources
}

// evaluate writes the log density of a config's model at given parameters.
func evaluate(ctx context.Context, opt evalOptions, stdout io.Writer, pr *term.Progress) error {
	cfg, err := config.Load(opt.Config)
	if err != nil {
		return err
	}
	named, err := config.ReadParams(opt.Params)
	if err != nil {
		return err
	}
	if opt.Output != "" {
		undo, err := rundir.Open(opt.Output)
		if err != nil {
			return err
		}
		defer undo()
	}
	p, err := problem.New(cfg, opt.Compute)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, n := range p.Notices() {
		pr.Say("%s", n)
	}
	theta, err := p.Start(opt.Params, named)
	if err != nil {
		return err
	}
	e, err := p.Post.Eval(theta, opt.Grad)
	if err != nil {
		if errors.Is(err, physics.ErrRange) {
			return term.BadInput("%s: %w", cmp.Or(opt.Params, cfg.File), err)
		}
		return term.Numerical("%s: %w", cfg.File, err)
	}
	out := evaluation{
		LogLikelihood: term.JSONFloat(e.LogLikelihood), LogPrior: term.JSONFloat(e.LogPrior), LogPosterior: term.JSONFloat(e.LogPosterior()),
		Chi2: term.JSONFloat(e.Chi2), Pixels: e.Pixels, ReducedChi2: term.JSONFloat(e.Chi2 / float64(e.Pixels)),
	}
	if opt.Grad {
		g, l := p.Named(e.Grad), p.Named(e.GradLikelihood)
		out.Gradient, out.GradLikelihood = &g, &l
	}
	if m := p.Marginal(); m != nil {
		out.Memory = (m.Bytes() + 1<<20 - 1) >> 20
	}
	if opt.Output != "" {
		if err := run.WriteImages(p, filepath.Join(opt.Output, "model.fits"), theta); err != nil {
			return err
		}
	}
	return rundir.EncodeJSON(stdout, out)
}
