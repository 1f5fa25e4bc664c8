package tools

import (
	"slices"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/search"
)

func fitCommand() *cli.Command {
	return &cli.Command{
		Name:      "fit",
		Usage:     "find the lens and the source of an image (maximum a posteriori)",
		ArgsUsage: "CONFIG|IMAGE",
		UsageText: "lenskit fit CONFIG [-o DIR] [--then sample]\nlenskit fit IMAGE --noise SIGMA|FILE [--psf SIGMA|FILE] [--pixel-scale ARCSEC] [--mask-neighbours] [--no-lens-light] [-o DIR]",
		Description: "Needs no start: it draws starts from the priors. Leaves fit.json, fit.fits, fit.png and config.yaml in DIR. Stopped by SIGINT,\n" +
			"SIGTERM or SIGUSR1 it saves a checkpoint and exits with 75; the same command goes on from there. Exit code 3: the results are\n" +
			"written, but fit.json says why they are not to be trusted. Of a bare IMAGE the 3.5 arcsec around its centre are used, where the\n" +
			"lens galaxy is to be; the model is in config.yaml. Of a file with several images IMAGE[EXT] chooses: EXT is the number of the HDU, its\n" +
			"EXTNAME, or EXTNAME,EXTVER; without it the only one that is no noise, PSF, mask or the like is taken, and else none. DIR holds one\n" +
			"run: what another left there is moved to DIR/before-1, and so on; two at one time are refused.\n\n" +
			"Examples: lenskit fit out/demo/mock.yaml -o out/paper\n" +
			"          lenskit fit lens.fits --noise lens_rms.fits --psf lens_psf.fits --pixel-scale 0.05 -o out/lens",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "folder of the run (default: the input's name with -fit)"},
			&cli.StringFlag{Name: "noise", Usage: "of a bare IMAGE: standard deviation of a pixel, or a FITS file"},
			&cli.StringFlag{Name: "psf", Usage: "of a bare IMAGE: standard deviation in arcsec, a FITS file, or none"},
			&cli.Float64Flag{Name: "pixel-scale", Usage: "of a bare IMAGE: arcsec per pixel, 1e-5 to 60 (default: the header's, at the centre)"},
			&cli.BoolFlag{Name: "mask-neighbours", Usage: "of a bare IMAGE: leave out compact light more than 3 arcsec from its centre (in a config: mask: {neighbours: auto})"},
			&cli.BoolFlag{Name: "no-lens-light", Usage: "of a bare IMAGE: the light of the lens is subtracted already, the model has none (in a config: no lens_light)"},
			&cli.StringFlag{Name: "optimizer", Value: "lm", Usage: "lm (Levenberg-Marquardt) or adam (the paper's way)"},
			&cli.IntFlag{Name: "iterations", Usage: "steps of the last stage; 0: the optimizer's default"},
			&cli.IntFlag{Name: "starts", Usage: "draws from the priors; 0: the default"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the draws"},
			&cli.StringFlag{Name: "then", Usage: "sample: go on with lenskit sample, which has the flags to steer it"},
		}, computeFlags()...),
		Action: runFit,
	}
}

func runFit(c *cli.Context) error {
	args, err := arguments(c, "CONFIG|IMAGE")
	if err != nil {
		return err
	}
	compute, err := computeOptions(c)
	if err != nil {
		return err
	}
	opt := run.Options{
		Input: args[0], Output: c.String("output"), Compute: compute, JSON: c.Bool("json"),
		Search: search.Options{Optimizer: c.String("optimizer"), Iterations: c.Int("iterations"), Starts: c.Int("starts"), Seed: c.Uint64("seed")},
	}
	bare := problem.BareOptions{Noise: c.String("noise"), PSF: c.String("psf"), PixelScale: c.Float64("pixel-scale"), Neighbours: c.Bool("mask-neighbours"), Subtracted: c.Bool("no-lens-light")}
	if !slices.Contains([]string{"", "sample"}, c.String("then")) {
		return term.BadInput("--then: found %q, expected sample", c.String("then"))
	}
	if err := opt.Search.Check(term.AsFlag); err != nil {
		return err
	}
	if problem.IsFITS(opt.Input) {
		bare.Image = opt.Input
		opt.Bare = bare
	} else if bare != (problem.BareOptions{}) {
		return term.BadInput("%s: --noise, --psf, --pixel-scale, --mask-neighbours and --no-lens-light describe a bare FITS image, found a config that says these itself", opt.Input)
	}
	ctx, stop := term.WithSignals(c.Context)
	defer stop()
	pr := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
	if c.String("then") == "" {
		return run.Fit(ctx, opt, c.App.Writer, pr)
	}
	return sample.FitAndSample(ctx, opt, sample.Settings{Seed: opt.Search.Seed}, c.App.Writer, pr)
}
