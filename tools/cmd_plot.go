package tools

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/sample"
	"lenskit/tools/vae"
)

func plotCommand() *cli.Command {
	return &cli.Command{
		Name:      "plot",
		Usage:     "draw the figures of a run or of a decoder bundle",
		ArgsUsage: "DIR",
		UsageText: "lenskit plot DIR [--grids]\nlenskit plot BUNDLE [--data CUBE] [-o DIR]",
		Description: "Draws what the folder of a run holds data for: fit.png (data, model, residual, source), corner.png,\n" +
			"trace.png and moments.png (mean and standard deviation of source and model). --grids adds grids.png, the source below\n" +
			"the grids of its splines. The paths of the figures go to stdout.\n" +
			"Of a bundle: reconstructions of galaxies, reconstructions of turned ones turned back, draws from the prior, walks\n" +
			"between latents, and vae.json: residuals, equivariance, KL divergence by latent. --refine adds the residuals that\n" +
			"remain when the latents are optimised for each galaxy, at about half a second each.\n\n" +
			"Examples: lenskit plot out/fit\n          lenskit plot models/mine --data held.fits --refine -o out/mine",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "of a bundle: the `CUBE` of galaxies to reconstruct (default: drawn ones)"},
			&cli.BoolFlag{Name: "refine", Usage: "of a bundle: optimise the latents of every galaxy, and tell what remains"},
			&cli.BoolFlag{Name: "grids", Usage: "of a run: draw the grids of its pixelised sources"},
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "of a bundle: the `FOLDER` to write (default: the bundle's own)"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			if vae.IsBundle(args[0]) {
				if c.Bool("grids") {
					return term.BadInput("%s: --grids goes with the folder of a run, found a decoder bundle", args[0])
				}
				made, numbers, err := vae.Plot(c.Context, vae.PlotOptions{Bundle: args[0], Data: c.String("data"), Output: c.String("o"), Refine: c.Bool("refine")})
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return rundir.EncodeJSON(c.App.Writer, map[string]any{"figures": made, "numbers": numbers})
				}
				for _, path := range made {
					fmt.Fprintln(c.App.Writer, path)
				}
				if numbers != nil {
					fmt.Fprintln(c.App.Writer, numbers)
				}
				return nil
			}
			if c.IsSet("data") || c.IsSet("refine") || c.IsSet("o") {
				return term.BadInput("%s: --data, --refine and -o go with a decoder bundle, found none", args[0])
			}
			made, err := sample.Plot(args[0], c.Bool("grids"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, map[string][]string{"figures": made})
			}
			for _, path := range made {
				fmt.Fprintln(c.App.Writer, path)
			}
			return nil
		},
	}
}
