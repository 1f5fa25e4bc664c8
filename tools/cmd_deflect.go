package tools

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"lenskit/internal/disk"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
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
			return deflect(c.Context, deflectOptions{Config: args[0], Params: c.String("params"), Points: c.String("points"), JSON: c.Bool("json")}, c.App.Writer)
		},
	}
}

// deflectOptions says what deflect reads.
type deflectOptions struct {
	Config string
	Params string // P.json; "" for none
	Points string // CSV; "-" is standard input
	JSON   bool
}

// deflect writes the deflection and convergence of a config's lenses at the points of a CSV file.
func deflect(ctx context.Context, opt deflectOptions, stdout io.Writer) error {
	cfg, err := config.Load(opt.Config)
	if err != nil {
		return err
	}
	if len(cfg.Lens) == 0 {
		return cfg.Fail("lens", "has no lens, expected at least one")
	}
	named, err := config.ReadParams(opt.Params)
	if err != nil {
		return err
	}
	names, known := parameterNames(cfg)
	if err := config.CheckNames(opt.Params, named, known, names); err != nil {
		return err
	}
	sum, err := cfg.Deflection(opt.Params, named, nil)
	if err != nil {
		return err
	}
	if opt.Points == "" {
		return term.BadInput("deflect: --points is missing, expected a CSV file with columns x,y")
	}
	in := io.Reader(os.Stdin)
	if opt.Points != "-" {
		f, size, err := disk.Open(opt.Points)
		if err != nil {
			return term.BadInput("%w, expected a CSV file with columns x,y", err)
		}
		defer f.Close()
		if size > term.MaxTableFile {
			return term.BadInput("%s: found %s, expected at most %s", opt.Points, disk.Size(size), disk.Size(term.MaxTableFile))
		}
		in = f
	}
	// The points are read in full before a line is written: a mistake in the last line leaves no half of a result.
	x, y, err := readPoints(opt.Points, in)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(stdout, 1<<16)
	d := deflected{lens: sum, x: x, y: y}
	if opt.JSON {
		err = d.writeJSON(ctx, w)
	} else {
		err = d.writeCSV(ctx, w)
	}
	if err != nil {
		return err
	}
	return w.Flush()
}

// deflected computes the deflections at points as they are written, some thousands at a time.
type deflected struct {
	lens lensing.Sum
	x, y []float64
}

// each calls f for each point with x, y, alpha_x, alpha_y and kappa.
func (d *deflected) each(ctx context.Context, f func(i int, v [5]float64) error) error {
	const chunk = 1 << 14
	var ax, ay, kappa [chunk]float64
	for i := 0; i < len(d.x); i += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, len(d.x)-i)
		clear(ax[:])
		clear(ay[:])
		clear(kappa[:])
		for _, l := range d.lens {
			l.Deflect(ax[:n], ay[:n], d.x[i:i+n], d.y[i:i+n])
			l.Convergence(kappa[:n], d.x[i:i+n], d.y[i:i+n])
		}
		for k := range n {
			if err := f(i+k, [5]float64{d.x[i+k], d.y[i+k], ax[k], ay[k], kappa[k]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeCSV writes a line a point.
func (d *deflected) writeCSV(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, "x,y,alpha_x,alpha_y,kappa\n"); err != nil {
		return err
	}
	var line []byte
	return d.each(ctx, func(_ int, p [5]float64) error {
		line = line[:0]
		for k, v := range p {
			if k > 0 {
				line = append(line, ',')
			}
			line = strconv.AppendFloat(line, v, 'g', 17, 64)
		}
		_, err := w.Write(append(line, '\n'))
		return err
	})
}

// writeJSON writes an object of five lists; a number that JSON cannot write is null.
func (d *deflected) writeJSON(ctx context.Context, w io.Writer) error {
	for k, column := range []struct {
		name string
		at   int
	}{{"alpha_x", 2}, {"alpha_y", 3}, {"kappa", 4}, {"x", 0}, {"y", 1}} {
		begin := ",\n"
		if k == 0 {
			begin = "{\n"
		}
		if _, err := fmt.Fprintf(w, "%s  %q: [", begin, column.name); err != nil {
			return err
		}
		var line []byte
		err := d.each(ctx, func(i int, p [5]float64) error {
			line = line[:0]
			if i > 0 {
				line = append(line, ',')
			}
			line = append(line, "\n    "...)
			if v := p[column.at]; term.Finite(v) {
				line = strconv.AppendFloat(line, v, 'g', 17, 64)
			} else {
				line = append(line, "null"...)
			}
			_, err := w.Write(line)
			return err
		})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\n  ]"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\n}\n")
	return err
}

// readPoints reads columns x and y, at most term.MaxPoints of them. Without a header line the first two columns are taken.
func readPoints(path string, in io.Reader) (x, y []float64, err error) {
	r := bufio.NewScanner(io.LimitReader(in, term.MaxTableFile))
	r.Buffer(nil, term.MaxTableLine)
	cx, cy, columns := 0, 1, 0
	var fields []string
	for line := 1; r.Scan(); line++ {
		text := r.Text()
		if line == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if strings.TrimSpace(text) == "" || text[0] == '#' {
			continue
		}
		fields = fields[:0]
		for field := range strings.SplitSeq(text, ",") {
			field = strings.TrimSpace(field)
			if n := len(field); n > 1 && field[0] == '"' && field[n-1] == '"' {
				field = strings.TrimSpace(field[1 : n-1])
			}
			fields = append(fields, field)
		}
		if columns == 0 {
			columns = len(fields)
			if _, err := strconv.ParseFloat(fields[0], 64); err != nil {
				cx, cy = slices.Index(fields, "x"), slices.Index(fields, "y")
				if cx < 0 || cy < 0 {
					return nil, nil, term.BadInput("%s:%d: found columns %s, expected x and y among them", path, line, term.Shown(text))
				}
				continue
			}
			if columns < 2 {
				return nil, nil, term.BadInput("%s:%d: found one column, expected x,y", path, line)
			}
		}
		if len(fields) != columns {
			return nil, nil, term.BadInput("%s:%d: found %d fields, expected %d", path, line, len(fields), columns)
		}
		if len(x) == term.MaxPoints {
			return nil, nil, term.BadInput("%s:%d: found more than %d points, expected at most as many in one call", path, line, term.MaxPoints)
		}
		var v [2]float64
		for k, c := range [2]int{cx, cy} {
			v[k], err = strconv.ParseFloat(fields[c], 64)
			if err != nil || !(math.Abs(v[k]) <= term.MaxMagnitude) {
				at := 0
				for range c {
					at += strings.IndexByte(text[at:], ',') + 1
				}
				at += len(text[at:]) - len(strings.TrimLeft(text[at:], " \t"))
				return nil, nil, term.BadInput("%s:%d:%d: found %q, expected a number of arcsec up to %g", path, line, at+1, term.Shown(fields[c]), term.MaxMagnitude)
			}
		}
		x, y = append(x, v[0]), append(y, v[1])
	}
	if err := r.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, nil, term.BadInput("%s: found a line of more than %s, expected x,y", path, disk.Size(term.MaxTableLine))
	} else if err != nil {
		return nil, nil, term.BadInput("%s: %s", path, term.Reason(err))
	}
	if len(x) == 0 {
		return nil, nil, term.BadInput("%s: has no points, expected a CSV file with columns x,y", path)
	}
	return x, y, nil
}

// parameterNames lists the parameters of a config without its bundles: latents stand for z.1, z.2, … as one name, and
// known also takes the numbered ones.
func parameterNames(c *config.Config) (names []string, known func(string) bool) {
	plain, vectors := map[string]bool{}, []string{}
	for _, comp := range c.Components() {
		for i := range comp.Params {
			name := comp.Key(comp.Params[i].Name)
			names = append(names, name)
			if comp.Params[i].Vector {
				vectors = append(vectors, name+".")
			} else {
				plain[name] = true
			}
		}
	}
	for _, l := range c.Scalars() {
		names = append(names, l.Name)
		plain[l.Name] = true
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
