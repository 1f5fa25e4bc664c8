package tools

import (
	"fmt"
	"math"

	"github.com/urfave/cli/v2"
	"lenskit/tools/coolest"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

func coolestCommand() *cli.Command {
	return &cli.Command{
		Name:      "export-coolest",
		Usage:     "write a run in the COOLEST standard",
		ArgsUsage: "DIR",
		UsageText: "lenskit export-coolest DIR [-o OUT] [--lens-redshift Z --source-redshift Z]",
		Description: "Writes coolest.json, the images it names and, where the run has samples, coolest_chain.csv, for the coolest package and the\n" +
			"modelling codes that read it. Power laws and isothermal ellipsoids become PEMD, shear ExternalShear, Sersic light Sersic;\n" +
			"the source of a decoder is written as its pixels. What the standard has no place for is an error, or with --partial a\n" +
			"notice. lenskit fit reads such a file in place of a config.\n\n" +
			"Example: lenskit export-coolest out/fit -o out/coolest --lens-redshift 0.28 --source-redshift 0.98",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "folder to write (default: DIR/coolest)"},
			&cli.BoolFlag{Name: "sie", Usage: "write isothermal ellipsoids as SIE, which the coolest package reads but does not evaluate"},
			&cli.BoolFlag{Name: "partial", Usage: "leave out lenses that the standard has no place for"},
			&cli.BoolFlag{Name: "own-pixels", Usage: "write the decoder's own pixels in place of a finer grid about the origin, which the coolest package looks up right"},
			&cli.Float64Flag{Name: "lens-redshift", Usage: "of the lens, where the config does not state it"},
			&cli.Float64Flag{Name: "source-redshift", Usage: "of the source, where the config does not state it"},
			&cli.StringFlag{Name: "instrument", Usage: "name of the instrument"},
			&cli.StringFlag{Name: "band", Usage: "name of the filter"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			opt := coolest.Options{Dir: args[0], Output: c.String("output"), SIE: c.Bool("sie"), Partial: c.Bool("partial"), OwnPixels: c.Bool("own-pixels"),
				LensRedshift: math.NaN(), SourceRedshift: math.NaN(), Instrument: c.String("instrument"), Band: c.String("band")}
			for name, z := range map[string]*float64{"lens-redshift": &opt.LensRedshift, "source-redshift": &opt.SourceRedshift} {
				if !c.IsSet(name) {
					continue
				}
				if *z = c.Float64(name); !(*z >= 0) || math.IsInf(*z, 0) {
					return term.BadInput("--%s: found %g, expected a redshift of 0 or more", name, *z)
				}
			}
			if opt.SourceRedshift <= opt.LensRedshift {
				return term.BadInput("--source-redshift: found %g, expected more than the lens's %g", opt.SourceRedshift, opt.LensRedshift)
			}
			made, notices, err := coolest.Export(opt)
			if err != nil {
				return err
			}
			pr := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
			for _, n := range notices {
				pr.Say("%s", n)
			}
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, map[string][]string{"files": made, "notices": append([]string{}, notices...)})
			}
			for _, path := range made {
				fmt.Fprintln(c.App.Writer, path)
			}
			return nil
		},
	}
}
