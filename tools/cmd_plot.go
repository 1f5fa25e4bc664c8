package tools

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"lenskit/internal/disk"
)

func plotCommand() *cli.Command {
	return &cli.Command{
		Name:      "plot",
		Usage:     "draw the figures of a run or of a decoder bundle",
		ArgsUsage: "DIR",
		UsageText: "lenskit plot DIR\nlenskit plot BUNDLE [--data CUBE] [-o DIR]",
		Description: "Draws what the folder of a run holds data for: fit.png (data, model, residual, source), corner.png,\n" +
			"trace.png and moments.png (mean and standard deviation of source and model). The paths of the figures go to stdout.\n" +
			"Of a bundle: reconstructions of galaxies, reconstructions of turned ones turned back, draws from the prior, walks\n" +
			"between latents, and vae.json: residuals, equivariance, KL divergence by latent. --refine adds the residuals that\n" +
			"remain when the latents are optimised for each galaxy, at about half a second each.\n\n" +
			"Examples: lenskit plot out/fit\n          lenskit plot models/mine --data held.fits --refine -o out/mine",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "of a bundle: the `CUBE` of galaxies to reconstruct (default: drawn ones)"},
			&cli.BoolFlag{Name: "refine", Usage: "of a bundle: optimise the latents of every galaxy, and tell what remains"},
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "of a bundle: the `FOLDER` to write (default: the bundle's own)"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			if isBundle(args[0]) {
				return plotBundle(c, args[0])
			}
			if c.IsSet("data") || c.IsSet("refine") || c.IsSet("o") {
				return badInput("%s: --data, --refine and -o go with a decoder bundle, found none", args[0])
			}
			made, err := Plot(args[0])
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return encodeJSON(c.App.Writer, map[string][]string{"figures": made})
			}
			for _, path := range made {
				fmt.Fprintln(c.App.Writer, path)
			}
			return nil
		},
	}
}

// figureMakers are the kinds of figure: each is drawn where the file it is drawn from exists. A new kind is one row.
var figureMakers = []struct {
	from, makes string
	draw        func(dir string, files []string) error // files are those of the chains
}{
	{fileFitFITS, fileFitPNG, func(dir string, _ []string) error { return plotRun(dir) }},
	{fileSummary, fileCorner, drawCorner},
	{fileSummary, fileTrace, drawTrace},
	{fileSamplesFITS, fileMoments, func(dir string, _ []string) error { return plotMoments(dir) }},
}

// Plot draws the figures of the run in dir and returns their paths.
func Plot(dir string) ([]string, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, badInput("%s: %s", dir, reason(err))
	case !info.IsDir():
		return nil, badInput("%s: is a file, expected the folder of a run", dir)
	}
	release, err := disk.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	var files []string
	if draws, err := drawsIn(dir); err != nil {
		return nil, err
	} else if draws != nil {
		if err := draws.check(dir); err != nil {
			return nil, err
		}
		files = draws.names
	}
	var made []string
	for _, m := range figureMakers {
		if _, err := os.Stat(filepath.Join(dir, m.from)); err != nil {
			continue
		}
		if err := m.draw(dir, files); err != nil {
			return made, err
		}
		made = append(made, filepath.Join(dir, m.makes))
	}
	if made == nil {
		return nil, badInput("%s: holds no results, expected the folder of a run with %s", dir, fileFitFITS)
	}
	return made, nil
}
