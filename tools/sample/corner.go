package sample

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/adjoint"
	"lenskit/internal/stats"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours and sizes of the figures of draws.
var (
	inkColor   = color.RGBA{R: 0x1b, G: 0x3b, B: 0x6f, A: 0xff}
	innerColor = color.RGBA{R: 0x7f, G: 0xa6, B: 0xd6, A: 0xff} // 68 %
	outerColor = color.RGBA{R: 0xd3, G: 0xe1, B: 0xf2, A: 0xff} // 95 %
	truthColor = color.RGBA{R: 0xd1, G: 0x49, B: 0x2b, A: 0xff}
	gridColor  = color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff}
)

const (
	cornerCell   = 2.5 * vg.Centimeter
	cornerGap    = 0.16 * vg.Centimeter
	cornerLeft   = 1.75 * vg.Centimeter
	cornerBottom = 1.75 * vg.Centimeter
	cornerTop    = 0.75 * vg.Centimeter
	cornerRight  = 0.5 * vg.Centimeter
	cornerDots   = 260 // raster of a cell
	smallSize    = 7.5
	maxFigured   = 14 // parameters in a figure
)

// figured is a parameter of a figure.
type figured struct {
	name   string
	label  label
	draws  [][]float64 // by chain
	all    []float64   // of all chains
	order  []float64   // these, rising
	ess    float64
	lo, hi float64 // of the axis
	truth  float64 // NaN: not known
	dens   *Density1
	q      [3]float64 // 16, 50 and 84 % quantiles
}

// label is a symbol with a subscript, and a unit.
type label struct{ symbol, sub, unit string }

// symbols are the usual signs of parameters; what is not here is written as it is named.
var symbols = map[string]label{
	"r_ein": {"r", "ein", ""}, "theta_E": {"θ", "E", ""}, "q": {"q", "", ""}, "phi": {"φ", "", ""}, "gamma": {"γ", "", ""}, "x": {"x", "", ""}, "y": {"y", "", ""},
	"e1": {"e", "1", ""}, "e2": {"e", "2", ""}, "center_x": {"x", "", ""}, "center_y": {"y", "", ""}, "gamma1": {"γ", "1", ""}, "gamma2": {"γ", "2", ""},
	"iota": {"ι", "", ""}, "s": {"s", "", ""}, "n": {"n", "", ""}, "r_sersic": {"r", "s", ""}, "amp": {"I", "", ""}, "kappa": {"κ", "", ""},
}

// figuredDraws are the draws of a run and the parameters that its figures show: those of the lenses, or where these are
// fixed all but the latents.
func figuredDraws(dir string, files []string) (*Draws, []figured, error) {
	d, err := ReadDraws(dir, files...)
	if err != nil {
		return nil, nil, err
	}
	units, truth, bounds := map[string]physics.Unit{}, map[string]float64{}, map[string][2]float64{}
	ofLens := map[string]bool{}
	cfg, err := config.Load(filepath.Join(dir, rundir.ConfigYAML))
	if err == nil {
		for _, c := range cfg.Components() {
			for i := range c.Params {
				p := &c.Params[i]
				if p.Vector {
					continue
				}
				key := c.Key(p.Name)
				ofLens[key] = c.Group == adjoint.GroupLens
				units[key], bounds[key] = p.Unit, [2]float64{p.Prior.Lo, p.Prior.Hi}
				if p.Prior.Family == physics.FamilyUniform {
					bounds[key] = [2]float64{p.Prior.A, p.Prior.B}
				}
				if len(p.Prior.Truth) == 1 {
					truth[key] = p.Prior.Truth[0]
				}
			}
		}
	}
	pick := func(want func(string) bool) []figured {
		var out []figured
		for k, n := range d.Names {
			if !want(n) || len(out) == maxFigured {
				continue
			}
			f := figured{name: n, draws: d.column(k), truth: math.NaN()}
			f.all = slices.Concat(f.draws...)
			f.order = slices.Sorted(slices.Values(f.all))
			if _, sd := meanAndSD(f.all); !(sd > 0) || math.IsInf(sd, 0) {
				continue
			}
			f.ess = float64(len(f.all))
			if e := math.Min(samplers.ESSBulk(f.draws), samplers.ESSTail(f.draws)); !math.IsNaN(e) {
				f.ess = math.Min(f.ess, e)
			}
			if t, ok := truth[n]; ok {
				f.truth = t
			}
			f.dens = NewDensity1(f.all, f.ess)
			f.q = [3]float64{stats.Quantile(f.order, 0.1587), stats.Quantile(f.order, 0.5), stats.Quantile(f.order, 0.8413)}
			f.range1(bounds[n])
			f.label = labelOf(n, units[n])
			out = append(out, f)
		}
		return out
	}
	out := pick(func(n string) bool { return ofLens[n] })
	if len(out) == 0 {
		out = pick(func(n string) bool { return cfg == nil || !cfg.IsLatent(n) })
	}
	if len(out) == 0 {
		out = pick(func(string) bool { return true })
	}
	// the same symbol twice: with the component's name
	for i := range out {
		for j := range out {
			if i != j && out[i].label.symbol == out[j].label.symbol && strings.SplitN(out[i].label.sub, ",", 2)[0] == out[j].label.sub {
				parts := strings.Split(out[j].name, ".")
				out[j].label.sub = strings.TrimPrefix(out[j].label.sub+","+parts[min(1, len(parts)-1)], ",")
			}
		}
	}
	return d, out, nil
}

func labelOf(name string, unit physics.Unit) label {
	last := name[strings.LastIndexByte(name, '.')+1:]
	l, ok := symbols[last]
	if !ok {
		l = label{symbol: last}
	}
	l.unit = string(unit)
	return l
}

// range1 chooses the axis: nearly all draws and the truth if it is not far, within the prior's bounds.
func (f *figured) range1(bounds [2]float64) {
	lo, hi := stats.Quantile(f.order, 0.002), stats.Quantile(f.order, 0.998)
	pad := 0.12 * (hi - lo)
	if !(pad > 0) {
		_, sd := meanAndSD(f.all)
		pad = 3 * sd
	}
	f.lo, f.hi = lo-pad, hi+pad
	if t := f.truth; t > lo-2*(hi-lo) && t < hi+2*(hi-lo) {
		f.lo, f.hi = math.Min(f.lo, t-pad/2), math.Max(f.hi, t+pad/2)
	}
	if bounds[1] > bounds[0] {
		if bounds[0] > f.lo && bounds[0] <= lo {
			f.lo = bounds[0]
		}
		if bounds[1] < f.hi && bounds[1] >= hi {
			f.hi = bounds[1]
		}
	}
}

// frame is a cell of a figure with its axes.
type frame struct {
	draw.Canvas
	x0, x1, y0, y1 float64
}

func (f *frame) at(x, y float64) vg.Point {
	return vg.Point{X: f.Min.X + (f.Max.X-f.Min.X)*vg.Length((x-f.x0)/(f.x1-f.x0)), Y: f.Min.Y + (f.Max.Y-f.Min.Y)*vg.Length((y-f.y0)/(f.y1-f.y0))}
}

// box draws the border.
func (f *frame) box() {
	f.StrokeLines(draw.LineStyle{Color: gridColor, Width: vg.Points(0.6)}, []vg.Point{f.Min, {X: f.Max.X, Y: f.Min.Y}, f.Max, {X: f.Min.X, Y: f.Max.Y}, f.Min})
}

func textStyle(size vg.Length, x, y float64) text.Style {
	return text.Style{Color: color.Black, Font: figure.Font(size), XAlign: draw.XAlignment(x), YAlign: draw.YAlignment(y), Handler: plot.DefaultTextHandler}
}

// fewTicks are round ticks whose labels fit along an axis of the given length: of the sets that do, the one with the most
// labels inside the axis, or a single tick. wide: the labels lie along the axis.
func fewTicks(lo, hi float64, length vg.Length, wide bool) []float64 {
	style := textStyle(smallSize, 0, 0)
	var best []float64
	most := 0
	for n := 6; n > 0; n-- {
		v := figure.RoundTicks(lo, hi, n)
		widest, gap, inside := vg.Length(0), vg.Points(2), 0
		for _, t := range v {
			w := vg.Points(9)
			if wide {
				w, gap = style.Width(figure.TickText(t, hi-lo)), vg.Points(4)
			}
			widest = max(widest, w)
			if at := length * vg.Length((t-lo)/(hi-lo)); at > w/2-vg.Points(3) && at < length-w/2+vg.Points(3) {
				inside++
			}
		}
		apart := length // from one label to the next
		if len(v) > 1 {
			apart *= vg.Length((v[1] - v[0]) / (hi - lo))
		}
		if widest+gap <= apart && inside > most {
			best, most = v, inside
		}
	}
	for n := 2; best == nil && n < 6; n++ {
		if v := figure.RoundTicks(lo, hi, n); len(v) > 0 {
			best = v[:1]
		}
	}
	return best
}

// xAxis draws ticks at the bottom, with their labels if asked to.
func (f *frame) xAxis(labels bool) {
	line := draw.LineStyle{Color: gridColor, Width: vg.Points(0.6)}
	style := textStyle(smallSize, float64(draw.XCenter), float64(draw.YTop))
	for _, v := range fewTicks(f.x0, f.x1, f.Max.X-f.Min.X, true) {
		p := f.at(v, f.y0)
		f.StrokeLine2(line, p.X, f.Min.Y, p.X, f.Min.Y+vg.Points(3))
		s := figure.TickText(v, f.x1-f.x0)
		// a label that would stick out far into the next cell is left out
		if half := style.Width(s) / 2; labels && p.X-half > f.Min.X-vg.Points(3) && p.X+half < f.Max.X+vg.Points(3) {
			f.FillText(style, vg.Point{X: p.X, Y: f.Min.Y - vg.Points(3)}, s)
		}
	}
}

// yAxis draws ticks at the left, with their labels if asked to; it returns the room that these take.
func (f *frame) yAxis(labels bool) vg.Length {
	line := draw.LineStyle{Color: gridColor, Width: vg.Points(0.6)}
	style := textStyle(smallSize, float64(draw.XRight), float64(draw.YCenter))
	widest := vg.Length(0)
	for _, v := range fewTicks(f.y0, f.y1, f.Max.Y-f.Min.Y, false) {
		p := f.at(f.x0, v)
		f.StrokeLine2(line, f.Min.X, p.Y, f.Min.X+vg.Points(3), p.Y)
		if labels {
			s := figure.TickText(v, f.y1-f.y0)
			f.FillText(style, vg.Point{X: f.Min.X - vg.Points(3), Y: p.Y}, s)
			widest = max(widest, style.Width(s))
		}
	}
	return widest
}

// write draws the label centred on p, upright or turned by a quarter to the left.
func (l label) write(c draw.Canvas, p vg.Point, size vg.Length, upright bool) {
	parts := []struct {
		s    string
		size vg.Length
		drop vg.Length
	}{{l.symbol, size, 0}, {l.sub, 0.75 * size, 0.28 * size}, {"", size, 0}}
	if l.unit != "" {
		parts[2].s = " (" + l.unit + ")"
	}
	width := vg.Length(0)
	for _, q := range parts {
		st := textStyle(q.size, 0, 0)
		width += st.Width(q.s)
	}
	at := -width / 2
	for _, q := range parts {
		if q.s == "" {
			continue
		}
		st := textStyle(q.size, float64(draw.XLeft), float64(draw.YBottom))
		x, y := p.X+at, p.Y-q.drop
		if !upright {
			st.Rotation = math.Pi / 2
			x, y = p.X+q.drop, p.Y+at
		}
		c.FillText(st, vg.Point{X: x, Y: y}, q.s)
		at += st.Width(q.s)
	}
}

// estimate is the median with the distances to the 16 and 84 % quantiles.
func (f *figured) estimate(c draw.Canvas, p vg.Point) {
	lower, upper := f.q[1]-f.q[0], f.q[2]-f.q[1]
	width := math.Max(math.Min(lower, upper), math.Max(lower, upper)/10)
	head := f.label
	head.unit = ""
	mid := strings.ReplaceAll(term.WithDigits(f.q[1], width), "-", "−")
	a, b := term.WithDigits(upper, width), term.WithDigits(lower, width)
	value := " = " + mid
	style := textStyle(7.8, float64(draw.XLeft), float64(draw.YBottom))
	small := textStyle(5.6, float64(draw.XLeft), float64(draw.YBottom))
	sub := textStyle(5.8, float64(draw.XLeft), float64(draw.YBottom))
	tail := " ± " + a
	if a != b {
		tail = ""
	}
	w := style.Width(head.symbol) + sub.Width(head.sub) + style.Width(value+tail)
	if tail == "" {
		w += max(small.Width("+"+a), small.Width("−"+b)) + vg.Points(1)
	}
	x := p.X - w/2
	put := func(st text.Style, s string, dy vg.Length) {
		c.FillText(st, vg.Point{X: x, Y: p.Y + dy}, s)
	}
	put(style, head.symbol, 0)
	x += style.Width(head.symbol)
	put(sub, head.sub, -vg.Points(2))
	x += sub.Width(head.sub)
	put(style, value+tail, 0)
	x += style.Width(value+tail) + vg.Points(1)
	if tail == "" {
		put(small, "+"+a, vg.Points(4.5))
		put(small, "−"+b, -vg.Points(1.5))
	}
}

// drawCorner draws corner.png of the run in dir from its draws.
func drawCorner(dir string, files []string) error {
	d, params, err := figuredDraws(dir, files)
	if err != nil || len(params) == 0 {
		return err
	}
	n := len(params)
	side := vg.Length(n)*cornerCell + vg.Length(n-1)*cornerGap
	sheet := figure.NewPage(cornerLeft+side+cornerRight, cornerBottom+side+cornerTop, figure.DPI)
	all := sheet.All
	cell := func(col, row int) frame {
		x := cornerLeft + vg.Length(col)*(cornerCell+cornerGap)
		y := cornerBottom + vg.Length(n-1-row)*(cornerCell+cornerGap)
		return frame{Canvas: sheet.Part(x, y, cornerCell, cornerCell)}
	}
	for row := range n {
		for col := 0; col <= row; col++ {
			f := cell(col, row)
			f.x0, f.x1 = params[col].lo, params[col].hi
			if row == col {
				params[col].marginal(&f)
			} else {
				f.y0, f.y1 = params[row].lo, params[row].hi
				pairCell(&f, &params[col], &params[row])
				f.yAxis(col == 0)
			}
			f.box()
			f.xAxis(row == n-1)
			if row == n-1 {
				params[col].label.write(all, vg.Point{X: (f.Min.X + f.Max.X) / 2, Y: cornerBottom - 0.95*vg.Centimeter}, 9.5, true)
			}
			if col == 0 && row > 0 {
				params[row].label.write(all, vg.Point{X: cornerLeft - 1.15*vg.Centimeter, Y: (f.Min.Y + f.Max.Y) / 2}, 9.5, false)
			}
		}
	}
	if n > 1 {
		legend(all, vg.Point{X: cornerLeft + side - 3.4*vg.Centimeter, Y: cornerBottom + side - 0.3*vg.Centimeter}, d, params)
	}
	return sheet.Save(filepath.Join(dir, rundir.CornerPNG))
}

// legend explains the colours, its upper left at p.
func legend(c draw.Canvas, p vg.Point, d *Draws, params []figured) {
	style := textStyle(8.5, float64(draw.XLeft), float64(draw.YCenter))
	row := func(k int, s string, mark func(x0, x1, y vg.Length)) {
		y := p.Y - vg.Length(k)*0.5*vg.Centimeter
		mark(p.X, p.X+0.6*vg.Centimeter, y)
		c.FillText(style, vg.Point{X: p.X + 0.8*vg.Centimeter, Y: y}, s)
	}
	patch := func(fill color.Color) func(x0, x1, y vg.Length) {
		return func(x0, x1, y vg.Length) {
			h := 0.15 * vg.Centimeter
			pts := []vg.Point{{X: x0, Y: y - h}, {X: x1, Y: y - h}, {X: x1, Y: y + h}, {X: x0, Y: y + h}, {X: x0, Y: y - h}}
			c.FillPolygon(fill, pts)
			c.StrokeLines(draw.LineStyle{Color: inkColor, Width: vg.Points(0.7)}, pts)
		}
	}
	row(0, "68 %", patch(innerColor))
	row(1, "95 %", patch(outerColor))
	k := 2
	if slices.ContainsFunc(params, func(f figured) bool { return !math.IsNaN(f.truth) }) {
		row(k, "truth", func(x0, x1, y vg.Length) {
			c.StrokeLine2(draw.LineStyle{Color: truthColor, Width: vg.Points(1)}, x0, y, x1, y)
		})
		k++
	}
	row(k, fmt.Sprintf("%d draws", len(d.X)*len(d.X[0])), func(x0, x1, y vg.Length) {})
}

// marginal draws the density of one parameter, its 68 and 95 % intervals shaded.
func (f *figured) marginal(c *frame) {
	c.y0, c.y1 = 0, 1.12*f.dens.max()
	const steps = 240
	fill := func(lo, hi float64, col color.Color) {
		lo, hi = math.Max(lo, c.x0), math.Min(hi, c.x1)
		if !(hi > lo) {
			return
		}
		pts := []vg.Point{c.at(lo, 0)}
		for i := range steps + 1 {
			x := lo + (hi-lo)*float64(i)/steps
			pts = append(pts, c.at(x, f.dens.at(x)))
		}
		c.FillPolygon(col, append(pts, c.at(hi, 0)))
	}
	fill(stats.Quantile(f.order, 0.025), stats.Quantile(f.order, 0.975), outerColor)
	fill(f.q[0], f.q[2], innerColor)
	var curve []vg.Point
	for i := range steps + 1 {
		x := c.x0 + (c.x1-c.x0)*float64(i)/steps
		curve = append(curve, c.at(x, f.dens.at(x)))
	}
	c.StrokeLines(draw.LineStyle{Color: inkColor, Width: vg.Points(1)}, curve)
	mid := c.at(f.q[1], math.Min(f.dens.at(f.q[1]), c.y1))
	c.StrokeLine2(draw.LineStyle{Color: inkColor, Width: vg.Points(0.7)}, mid.X, c.Min.Y, mid.X, mid.Y)
	if f.truth > c.x0 && f.truth < c.x1 {
		p := c.at(f.truth, 0)
		c.StrokeLine2(draw.LineStyle{Color: truthColor, Width: vg.Points(1)}, p.X, c.Min.Y, p.X, c.Max.Y)
	}
	f.estimate(c.Canvas, vg.Point{X: (c.Min.X + c.Max.X) / 2, Y: c.Max.Y + vg.Points(5)})
}

// pairCell draws the density of two parameters: the regions that hold 68 and 95 % of the draws.
func pairCell(c *frame, a, b *figured) {
	d := NewDensity2(a.all, b.all, math.Min(a.ess, b.ess))
	inner, outer := d.level(0.68), d.level(0.95)
	img := image.NewRGBA(image.Rect(0, 0, cornerDots, cornerDots))
	dot := func(i, j float64) (x, y float64) {
		return c.x0 + (c.x1-c.x0)*(i+0.5)/cornerDots, c.y0 + (c.y1-c.y0)*(j+0.5)/cornerDots
	}
	values := make([]float64, cornerDots*cornerDots)
	for j := range cornerDots {
		for i := range cornerDots {
			x, y := dot(float64(i), float64(j))
			v := d.at(x, y)
			values[j*cornerDots+i] = v
			switch {
			case v >= inner:
				img.SetRGBA(i, cornerDots-1-j, innerColor)
			case v >= outer:
				img.SetRGBA(i, cornerDots-1-j, outerColor)
			default:
				img.SetRGBA(i, cornerDots-1-j, color.RGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff})
			}
		}
	}
	c.DrawImage(c.Rectangle, img)
	if inner > outer && outer > 0 {
		for _, level := range []float64{outer, inner} {
			above := make([]float64, len(values))
			for k, v := range values {
				above[k] = v - level
			}
			for _, line := range lensing.Contours(above, cornerDots, cornerDots) {
				pts := make([]vg.Point, len(line))
				for k, p := range line {
					pts[k] = c.at(dot(p.X, p.Y))
				}
				c.StrokeLines(draw.LineStyle{Color: inkColor, Width: vg.Points(0.8)}, pts)
			}
		}
	}
	truth := draw.LineStyle{Color: truthColor, Width: vg.Points(0.9)}
	p := c.at(a.truth, b.truth)
	inX, inY := a.truth > c.x0 && a.truth < c.x1, b.truth > c.y0 && b.truth < c.y1
	if inX {
		c.StrokeLine2(truth, p.X, c.Min.Y, p.X, c.Max.Y)
	}
	if inY {
		c.StrokeLine2(truth, c.Min.X, p.Y, c.Max.X, p.Y)
	}
	if inX && inY {
		h := vg.Points(2)
		c.FillPolygon(truthColor, []vg.Point{{X: p.X - h, Y: p.Y - h}, {X: p.X + h, Y: p.Y - h}, {X: p.X + h, Y: p.Y + h}, {X: p.X - h, Y: p.Y + h}})
	}
}
