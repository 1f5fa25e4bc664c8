package figure

import (
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"lenskit/internal/stats"
	"lenskit/tools/lensing"
)

// Panel is one image of a figure with its colour bar.
type Panel struct {
	Title string
	W, H  int
	Pix   []float64 // lowest row first; NaN is drawn grey
	// X0, Y0 and X1, Y1 are the corners in arcsec, the outer edges of the corner pixels.
	X0, Y0, X1, Y1 float64
	Bar            string // what the colour bar measures, with its unit
	Scale          ColorScale
	Curves         [][]lensing.Point // drawn over the image, in arcsec
	Mesh           [][]lensing.Point // as Curves, but thin
}

// Crop is the panel of the columns x0 ≤ i < x1 and rows y0 ≤ j < y1.
func (p Panel) Crop(x0, y0, x1, y1 int) Panel {
	c := p
	c.W, c.H, c.Pix = x1-x0, y1-y0, make([]float64, 0, (x1-x0)*(y1-y0))
	for j := y0; j < y1; j++ {
		c.Pix = append(c.Pix, p.Pix[j*p.W+x0:j*p.W+x1]...)
	}
	dx, dy := (p.X1-p.X0)/float64(p.W), (p.Y1-p.Y0)/float64(p.H)
	c.X0, c.X1 = p.X0+float64(x0)*dx, p.X0+float64(x1)*dx
	c.Y0, c.Y1 = p.Y0+float64(y0)*dy, p.Y0+float64(y1)*dy
	return c
}

// ColorScale maps values to colours: linear from Lo to Hi, or with Soft above 0 as asinh(v/Soft), which is linear below
// Soft and logarithmic far above.
type ColorScale struct {
	Lo, Hi, Soft float64
	Map          ColorMap
}

// Norm places v in the range: 0 at Lo, 1 at Hi.
func (s *ColorScale) Norm(v float64) float64 {
	if s.Soft > 0 {
		a, b := math.Asinh(s.Lo/s.Soft), math.Asinh(s.Hi/s.Soft)
		return (math.Asinh(v/s.Soft) - a) / (b - a)
	}
	return (v - s.Lo) / (s.Hi - s.Lo)
}

// ticks are round values within the scale, five or so.
func (s *ColorScale) ticks() []float64 {
	if s.Soft == 0 {
		return RoundTicks(s.Lo, s.Hi, 7)
	}
	var out []float64
	add := func(v float64) {
		t := s.Norm(v)
		if t < -1e-9 || t > 1+1e-9 || slices.ContainsFunc(out, func(o float64) bool { return math.Abs(s.Norm(o)-t) < 0.085 }) {
			return
		}
		out = append(out, v)
	}
	add(0)
	top := math.Floor(math.Log10(math.Max(math.Abs(s.Hi), math.Abs(s.Lo))))
	for e := top; e > top-12; e-- {
		for _, m := range []float64{1, 3} {
			add(m * math.Pow(10, e))
			add(-m * math.Pow(10, e))
		}
	}
	slices.Sort(out)
	return out
}

// RoundTicks are multiples of 1, 2 or 5 times a power of ten from lo to hi, about n of them.
func RoundTicks(lo, hi float64, n int) []float64 {
	if !(hi > lo) || math.IsInf(hi-lo, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(m*step) <= float64(n) {
			step *= m
			break
		}
	}
	var out []float64
	for k := math.Ceil(lo/step - 1e-9); k*step <= hi+1e-9*step; k++ {
		out = append(out, k*step+0)
	}
	return out
}

// TickText writes a tick without the noise of its last digits.
func TickText(v, step float64) string {
	if v == 0 || math.Abs(v) < 1e-9*step {
		return "0"
	}
	s := strconv.FormatFloat(v, 'g', 6, 64)
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	s = strconv.FormatFloat(f, 'g', -1, 64)
	if s[0] == '-' {
		s = "−" + s[1:]
	}
	return s
}

// Ticker puts round ticks on an axis.
type Ticker struct{ N int }

func (t Ticker) Ticks(lo, hi float64) []plot.Tick {
	v := RoundTicks(lo, hi, t.N)
	out := make([]plot.Tick, len(v))
	for i := range v {
		out[i] = plot.Tick{Value: v[i], Label: TickText(v[i], hi-lo)}
	}
	return out
}

// Sizes of a figure.
const (
	CellWidth   = 9.2 * vg.Centimeter
	CellHeight  = 7.6 * vg.Centimeter
	DPI         = 200
	barWidth    = 0.28 * vg.Centimeter
	barGap      = 0.18 * vg.Centimeter
	barMargin   = 2.0 * vg.Centimeter // right of the image: the bar, its ticks and its label
	LabelSize   = 10
	TickSize    = 9
	TitleSize   = 11
	titleHeight = 0.6 * vg.Centimeter
	imageWidth  = 1200 // dots to which an image is blown up, so that its pixels keep sharp edges
	axisPadding = 0
)

// Font is the typeface of figures.
func Font(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// Draw writes panels, columns to a row, as a PNG.
func Draw(path string, panels []Panel, columns int) error {
	columns = min(columns, len(panels))
	rows := (len(panels) + columns - 1) / columns
	sheet := NewPage(vg.Length(columns)*CellWidth, vg.Length(rows)*CellHeight, DPI)
	for i := range panels {
		x, y := vg.Length(i%columns)*CellWidth, vg.Length(rows-1-i/columns)*CellHeight
		cell := sheet.Part(x, y, CellWidth, CellHeight)
		panels[i].draw(draw.Crop(cell, 0.15*vg.Centimeter, 0, 0.15*vg.Centimeter, -0.15*vg.Centimeter))
	}
	return sheet.Save(path)
}

// plot is the panel's image with its axes.
func (p *Panel) plot() *plot.Plot {
	q := plot.New()
	for _, a := range []*plot.Axis{&q.X, &q.Y} {
		a.Label.TextStyle.Font = Font(LabelSize)
		a.Tick.Label.Font = Font(TickSize)
		a.Tick.Length = vg.Points(3.5)
		a.Tick.Marker = Ticker{5}
		a.Padding = axisPadding
	}
	q.X.Label.Text, q.Y.Label.Text = "x (arcsec)", "y (arcsec)"
	q.Add(plotter.NewImage(p.picture(), p.X0, p.Y0, p.X1, p.Y1))
	lines := func(curves [][]lensing.Point, width vg.Length) {
		for _, c := range curves {
			xy := make(plotter.XYs, len(c))
			for i, v := range c {
				xy[i] = plotter.XY(v)
			}
			if l, err := plotter.NewLine(clipped{xy}); err == nil {
				l.Color, l.Width = color.RGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff}, width
				q.Add(l)
			}
		}
	}
	lines(p.Mesh, vg.Points(0.2))
	lines(p.Curves, vg.Points(0.8))
	q.X.Min, q.X.Max, q.Y.Min, q.Y.Max = p.X0, p.X1, p.Y0, p.Y1
	return q
}

// clipped is a curve; the plotter clips it to the axes.
type clipped struct{ plotter.XYs }

// picture paints the pixels, each as a block of dots.
func (p *Panel) picture() image.Image {
	k := max(1, (imageWidth+p.W-1)/p.W)
	img := image.NewRGBA(image.Rect(0, 0, k*p.W, k*p.H))
	for j := range p.H {
		for i := range p.W {
			c := NoData
			if v := p.Pix[j*p.W+i]; !math.IsNaN(v) {
				c = p.Scale.Map(p.Scale.Norm(v))
			}
			for b := range k {
				for a := range k {
					img.SetRGBA(k*i+a, k*(p.H-1-j)+b, c)
				}
			}
		}
	}
	return img
}

// draw fits the image into the cell with equal scales on both axes and draws its colour bar.
func (p *Panel) draw(cell draw.Canvas) {
	q := p.plot()
	body := draw.Crop(cell, 0, -barMargin, 0, -titleHeight)
	data := q.DataCanvas(body)
	dw, dh := data.Max.X-data.Min.X, data.Max.Y-data.Min.Y
	aspect := vg.Length((p.X1 - p.X0) / (p.Y1 - p.Y0))
	if dw > dh*aspect {
		body = draw.Crop(body, 0, -(dw - dh*aspect), 0, 0)
	} else {
		body = draw.Crop(body, 0, 0, dh-dw/aspect, 0)
	}
	q.Draw(body)
	data = q.DataCanvas(body)
	frame := draw.LineStyle{Color: color.Black, Width: vg.Points(0.5)}
	data.StrokeLines(frame, []vg.Point{data.Min, {X: data.Max.X, Y: data.Min.Y}, data.Max, {X: data.Min.X, Y: data.Max.Y}, data.Min})
	title := text.Style{Color: color.Black, Font: Font(TitleSize), XAlign: draw.XCenter, YAlign: draw.YBottom, Handler: plot.DefaultTextHandler}
	data.FillText(title, vg.Point{X: (data.Min.X + data.Max.X) / 2, Y: data.Max.Y + vg.Points(4)}, p.Title)
	p.bar(cell, data.Rectangle)
}

// bar draws the colour bar to the right of the image.
func (p *Panel) bar(cell draw.Canvas, data vg.Rectangle) {
	const steps = 512
	img := image.NewRGBA(image.Rect(0, 0, 8, steps))
	for j := range steps {
		c := p.Scale.Map(1 - (float64(j)+0.5)/steps)
		for i := range 8 {
			img.SetRGBA(i, j, c)
		}
	}
	x0, x1 := data.Max.X+barGap, data.Max.X+barGap+barWidth
	y0, y1 := data.Min.Y, data.Max.Y
	cell.DrawImage(vg.Rectangle{Min: vg.Point{X: x0, Y: y0}, Max: vg.Point{X: x1, Y: y1}}, img)
	line := draw.LineStyle{Color: color.Black, Width: vg.Points(0.5)}
	cell.StrokeLines(line, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}, {X: x0, Y: y0}})
	label := text.Style{Color: color.Black, Font: Font(TickSize), XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
	widest := vg.Length(0)
	for _, v := range p.Scale.ticks() {
		y := y0 + vg.Length(p.Scale.Norm(v))*(y1-y0)
		cell.StrokeLine2(line, x1, y, x1+vg.Points(2.5), y)
		s := TickText(v, p.Scale.Hi-p.Scale.Lo)
		cell.FillText(label, vg.Point{X: x1 + vg.Points(4), Y: y}, s)
		widest = max(widest, label.Width(s))
	}
	if p.Bar != "" {
		label.Font = Font(LabelSize)
		label.Rotation = math.Pi / 2
		label.XAlign, label.YAlign = draw.XCenter, draw.YTop
		cell.FillText(label, vg.Point{X: x1 + vg.Points(7) + widest, Y: (y0 + y1) / 2}, p.Bar)
	}
}

// WholeRange is the linear colour scale from zero, or the lowest value below it, to the highest.
func WholeRange(v []float64) ColorScale {
	s := ColorScale{Lo: math.Min(0, stats.Percentile(v, 0)), Hi: stats.Percentile(v, 1), Map: Inferno}
	if !(s.Hi > s.Lo) {
		s.Hi = s.Lo + 1
	}
	return s
}

// Brightness is the colour scale of an image: linear, or asinh above soft when its peak is far above that.
func Brightness(v []float64, soft float64) ColorScale {
	s := ColorScale{Lo: stats.Percentile(v, 0.005), Hi: stats.Percentile(v, 0.9985), Map: Inferno}
	if !(s.Hi > s.Lo) {
		s.Lo, s.Hi = s.Lo-0.5, s.Lo+0.5
	}
	if soft > 0 && s.Hi > 30*soft {
		s.Soft, s.Hi = soft, stats.Percentile(v, 1)
	}
	return s
}

const (
	SheetDots = 160 // least side of a thumbnail in dots
	SheetMost = 1024
)
