package tools

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/term"
	"lenskit/tools/sample"
)

func sampleCommand() *cli.Command {
	return &cli.Command{
		Name:      "sample",
		Usage:     "draw from the posterior: honest errors of the lens and its source",
		ArgsUsage: "CONFIG|DIR",
		UsageText: "lenskit sample DIR [-o DIR]\nlenskit sample CONFIG [-o DIR]",
		Description: "DIR is the folder of a fit: the chains start around its maximum and are written beside it. A CONFIG is fitted first. Leaves\n" +
			"samples.csv (samples_1.csv, … with several chains; Stan's format), summary.json, corner.png, trace.png, samples.fits with the\n" +
			"mean and standard deviation of source and model, and moments.png, which shows them. Stopped by SIGINT, SIGTERM or SIGUSR1 it\n" +
			"saves a checkpoint and exits with 75; the same command goes on from there and ends with the same draws. What speaks against\n" +
			"the draws is said; with --strict the exit code is then 3.\n\n" +
			"Samplers: hmc (jittered trajectories) and nuts (trajectories that find their length) draw from the posterior, in coordinates\n" +
			"made round by its curvature at the maximum. laplace, advi and advi-fullrank fit a Gaussian, a quick look, and tell how good it is.\n\n" +
			"Examples: lenskit sample out/paper\n" +
			"          lenskit sample out/demo/mock.yaml -o out/paper --sampler nuts --chains 2 --draws 1000",
		Flags:  append(append([]cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "folder of the run (default: DIR, or the config's name with -fit)"}}, samplingFlags()...), computeFlags()...),
		Action: runSample,
	}
}

func samplingFlags() []cli.Flag {
	d := sample.Settings{}.Defaults()
	return []cli.Flag{
		&cli.StringFlag{Name: "sampler", Value: d.Sampler, Usage: strings.Join(sample.Names, ", ")},
		&cli.IntFlag{Name: "warmup", Value: d.Warmup, Usage: "draws of each chain that tune the step size and are not kept"},
		&cli.IntFlag{Name: "draws", Value: d.Draws, Usage: "draws of each chain that are kept"},
		&cli.IntFlag{Name: "chains", Value: d.Chains, Usage: "number of chains; the networks of 8 and more run as one batch, the fastest way for many draws"},
		&cli.StringFlag{Name: "adapt", Value: d.Adapt, Usage: "what the warm-up learns of the posterior's shape beside the curvature at the maximum: none, diagonal or dense"},
		&cli.Float64Flag{Name: "target-accept", Usage: "mean acceptance that the step size is tuned to; 0: the sampler's default"},
		&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the draws"},
		&cli.BoolFlag{Name: "strict", Usage: "exit with 3 when something speaks against the draws"},
	}
}

func runSample(c *cli.Context) error {
	args, err := arguments(c, "CONFIG|DIR")
	if err != nil {
		return err
	}
	compute, err := computeOptions(c)
	if err != nil {
		return err
	}
	opt := sample.Options{
		Input: args[0], Output: c.String("output"), Compute: compute, Strict: c.Bool("strict"), JSON: c.Bool("json"),
		Sampling: sample.Settings{Sampler: c.String("sampler"), Warmup: c.Int("warmup"), Draws: c.Int("draws"), Chains: c.Int("chains"),
			Adapt: c.String("adapt"), TargetAccept: c.Float64("target-accept"), Seed: c.Uint64("seed")},
	}
	switch o := opt.Sampling; {
	case !slices.Contains(sample.Names, o.Sampler):
		return term.BadInput("--sampler: found %q, expected one of %s", o.Sampler, strings.Join(sample.Names, ", "))
	case !slices.Contains([]string{"none", "diagonal", "dense"}, o.Adapt):
		return term.BadInput("--adapt: found %q, expected none, diagonal or dense", o.Adapt)
	case o.Warmup < 0 || o.Warmup > 1e7:
		return term.BadInput("--warmup: found %d, expected 0 to 10000000", o.Warmup)
	case o.Draws < 4 || o.Draws > 1e7:
		return term.BadInput("--draws: found %d, expected 4 to 10000000", o.Draws)
	case o.Chains < 1 || o.Chains > 1000:
		return term.BadInput("--chains: found %d, expected 1 to 1000", o.Chains)
	case !(o.TargetAccept >= 0 && o.TargetAccept < 1):
		return term.BadInput("--target-accept: found %v, expected a number between 0 and 1", o.TargetAccept)
	}
	ctx, stop := term.WithSignals(c.Context)
	defer stop()
	return sample.Sample(ctx, opt, c.App.Writer, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
}
