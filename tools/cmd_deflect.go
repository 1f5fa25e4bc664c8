package tools

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"lenskit/physics"
)

func deflectCommand() *cli.Command {
	return &cli.Command{
		Name:      "deflect",
		Usage:     "deflection angle and convergence at given points",
		ArgsUsage: "CONFIG",
		UsageText: "lenskit deflect CONFIG --points P.csv [--params P.json]",
		Description: "Reads points from a CSV file with columns x,y in arcsec and writes x,y,alpha_x,alpha_y,kappa with 17 digits. The config\n" +
			"needs no image. Parameters that --params leaves out take their truth, else init, else their prior's centre. Where lenses or\n" +
			"sources stand at several redshifts, alpha is that of light from the farthest source, and kappa half the trace of its\n" +
			"derivative (docs/planes.md).\n\n" +
			"Example: lenskit deflect lens.yaml --params truth.json --points points.csv",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "params", Usage: "JSON object of parameter names and values, or a fit.json"},
			&cli.StringFlag{Name: "points", Usage: "CSV file with columns x,y in arcsec; - is standard input"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "CONFIG")
			if err != nil {
				return err
			}
			return Deflect(c.Context, DeflectOptions{Config: args[0], Params: c.String("params"), Points: c.String("points"), JSON: c.Bool("json")}, c.App.Writer)
		},
	}
}

// DeflectOptions says what Deflect reads.
type DeflectOptions struct {
	Config string
	Params string // P.json; "" for none
	Points string // CSV; "-" is standard input
	JSON   bool
}

// lenses sets up the mass profiles of a config. path is where named comes from, for messages.
func (c *config) lenses(path string, named namedValues) ([]physics.Lens, error) {
	var out []physics.Lens
	for i := range c.Lens {
		comp := &c.Lens[i]
		l, err := physics.NewLens(comp.Type)
		if err != nil {
			return nil, asBadInput(err)
		}
		var p []float64
		for k := range comp.Params {
			v, err := comp.values(&comp.Params[k], 1, nil, named)
			if err != nil {
				return nil, err
			}
			p = append(p, v...)
		}
		if err := l.Set(p); err != nil {
			if path == "" {
				path = c.file
			}
			return nil, badInput("%s: lens.%s: %w", path, comp.Name, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// Deflect writes the deflection and convergence of a config's lenses at the points of a CSV file.
func Deflect(ctx context.Context, opt DeflectOptions, stdout io.Writer) error {
	cfg, err := loadConfig(opt.Config)
	if err != nil {
		return err
	}
	if len(cfg.Lens) == 0 {
		return cfg.fail("lens", "has no lens, expected at least one")
	}
	named, err := readParams(opt.Params)
	if err != nil {
		return err
	}
	names, known := cfg.parameterNames()
	if err := checkNames(opt.Params, named, known, names); err != nil {
		return err
	}
	sum, err := cfg.deflection(opt.Params, named, nil)
	if err != nil {
		return err
	}
	if opt.Points == "" {
		return badInput("deflect: --points is missing, expected a CSV file with columns x,y")
	}
	in := io.Reader(os.Stdin)
	if opt.Points != "-" {
		f, err := os.Open(opt.Points)
		if err != nil {
			return badInput("%s: %s", opt.Points, reason(err))
		}
		defer f.Close()
		in = f
	}
	// The points are read in full before a line is written: a mistake in the last line leaves no half of a result.
	x, y, err := readPoints(opt.Points, in)
	if err != nil {
		return err
	}
	n := len(x)
	ax, ay, kappa := make([]float64, n), make([]float64, n), make([]float64, n)
	const chunk = 1 << 14
	for i := 0; i < n; i += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		j := min(i+chunk, n)
		for _, l := range sum {
			l.Deflect(ax[i:j], ay[i:j], x[i:j], y[i:j])
			l.Convergence(kappa[i:j], x[i:j], y[i:j])
		}
	}
	if opt.JSON {
		return encodeJSON(stdout, map[string]any{"x": jsonNumbers(x), "y": jsonNumbers(y), "alpha_x": jsonNumbers(ax), "alpha_y": jsonNumbers(ay), "kappa": jsonNumbers(kappa)})
	}
	w := bufio.NewWriter(stdout)
	fmt.Fprintln(w, "x,y,alpha_x,alpha_y,kappa")
	var line []byte
	for i := range x {
		line = line[:0]
		for k, v := range [...]float64{x[i], y[i], ax[i], ay[i], kappa[i]} {
			if k > 0 {
				line = append(line, ',')
			}
			line = strconv.AppendFloat(line, v, 'g', 17, 64)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return w.Flush()
}

// jsonNumbers are numbers of which those that JSON cannot write are null.
type jsonNumbers []float64

func (v jsonNumbers) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendFloat(b, x, 'g', 17, 64)
		}
	}
	return append(b, ']'), nil
}

// readPoints reads columns x and y. Without a header line the first two columns are taken.
func readPoints(path string, in io.Reader) (x, y []float64, err error) {
	r := csv.NewReader(bufio.NewReader(in))
	r.ReuseRecord = true
	r.TrimLeadingSpace = true
	r.Comment = '#'
	cx, cy := 0, 1
	for first := true; ; first = false {
		rec, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			var p *csv.ParseError
			if errors.As(err, &p) {
				return nil, nil, badInput("%s:%d:%d: %v", path, p.Line, p.Column, p.Err)
			}
			return nil, nil, badInput("%s: %s", path, reason(err))
		}
		line, _ := r.FieldPos(0)
		if first {
			rec[0] = strings.TrimPrefix(rec[0], "\ufeff")
			if _, err := strconv.ParseFloat(strings.TrimSpace(rec[0]), 64); err != nil {
				cx, cy = -1, -1
				for i, name := range rec {
					switch strings.TrimSpace(name) {
					case "x":
						cx = i
					case "y":
						cy = i
					}
				}
				if cx < 0 || cy < 0 {
					return nil, nil, badInput("%s:%d: found columns %s, expected x and y among them", path, line, oneLine(strings.Join(rec, ",")))
				}
				continue
			}
			if len(rec) < 2 {
				return nil, nil, badInput("%s:%d: found one column, expected x,y", path, line)
			}
		}
		var v [2]float64
		for k, c := range [2]int{cx, cy} {
			v[k], err = strconv.ParseFloat(strings.TrimSpace(rec[c]), 64)
			if err != nil || math.IsNaN(v[k]) || math.IsInf(v[k], 0) {
				l, col := r.FieldPos(c)
				return nil, nil, badInput("%s:%d:%d: found %.40q, expected a finite number", path, l, col, rec[c])
			}
		}
		x, y = append(x, v[0]), append(y, v[1])
	}
	if len(x) == 0 {
		return nil, nil, badInput("%s: has no points, expected a CSV file with columns x,y", path)
	}
	return x, y, nil
}

// parameterNames lists the parameters of a config without its bundles: latents stand for z.1, z.2, … as one name, and
// known also takes the numbered ones.
func (c *config) parameterNames() (names []string, known func(string) bool) {
	plain, vectors := map[string]bool{}, []string{}
	for _, comp := range c.components() {
		for i := range comp.Params {
			name := comp.key(comp.Params[i].Name)
			names = append(names, name)
			if comp.Params[i].Vector {
				vectors = append(vectors, name+".")
			} else {
				plain[name] = true
			}
		}
	}
	for _, l := range c.lone() {
		names = append(names, l.name)
		plain[l.name] = true
	}
	return names, func(n string) bool {
		if plain[n] {
			return true
		}
		for _, v := range vectors {
			if k, err := strconv.Atoi(strings.TrimPrefix(n, v)); strings.HasPrefix(n, v) && err == nil && k > 0 {
				return true
			}
		}
		return false
	}
}
