package tools

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/mock"
)

func mockCommand() *cli.Command {
	return &cli.Command{
		Name:      "mock",
		Usage:     "simulate an image of a config's model",
		ArgsUsage: "CONFIG",
		UsageText: "lenskit mock CONFIG -o FILE.fits [--seed N] [--draw] [--params P.json]",
		Description: "Parameters with a truth take it, the others are drawn from their priors; --draw draws all. Beside FILE.fits (the image,\n" +
			"extensions NOISE, PSF, MODEL and SOURCE) it writes FILE.truth.json and FILE.yaml, a config ready for lenskit fit. The\n" +
			"image's shape is that of data.image, or data.size.\n\n" +
			"Example: lenskit mock examples/paper.yaml -o out/mock.fits --seed 1",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "FITS file to write"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the draws and of the noise"},
			&cli.BoolFlag{Name: "draw", Usage: "draw every parameter from its prior"},
			&cli.StringFlag{Name: "params", Usage: "JSON object of parameters to take as they are"},
			&cli.BoolFlag{Name: "no-noise", Usage: "add no noise"},
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
			opt := mock.Options{Config: args[0], Output: c.String("output"), Params: c.String("params"), Seed: c.Uint64("seed"), Draw: c.Bool("draw"),
				NoNoise: c.Bool("no-noise"), Compute: compute}
			made, err := mock.Simulate(c.Context, opt, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, made)
			}
			fmt.Fprintf(c.App.Writer, "%s\n%s\n%s\n", made.Image, made.Config, made.Truth)
			return nil
		},
	}
}
