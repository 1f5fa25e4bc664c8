package sample

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// chainColors tell chains apart, also to those who see few colours (Okabe & Ito 2008).
var chainColors = []color.RGBA{
	{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, {R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, {R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, {R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, {R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
}

const (
	traceRow    = 1.7 * vg.Centimeter
	traceGap    = 0.62 * vg.Centimeter
	traceLeft   = 1.5 * vg.Centimeter
	traceDens   = 4.2 * vg.Centimeter
	traceMiddle = 1.75 * vg.Centimeter
	traceLines  = 12 * vg.Centimeter
	tracePoints = 2000 // of a chain's line
)

// drawTrace draws trace.png of the run in dir: for each parameter the density that each chain gives, and its course.
// Draws that diverged are marked below.
func drawTrace(dir string, files []string) error {
	d, params, err := figuredDraws(dir, files)
	if err != nil || len(params) == 0 {
		return err
	}
	if lp := (figured{name: "lp__", label: label{symbol: "log p"}, draws: d.LogProb, all: slices.Concat(d.LogProb...), truth: math.NaN()}); FiniteAll(lp.all) {
		if _, sd := meanAndSD(lp.all); sd > 0 && term.Finite(sd) {
			lp.order = slices.Sorted(slices.Values(lp.all))
			lp.range1([2]float64{})
			params = append(params, lp)
		}
	}
	n := len(params)
	h := vg.Length(n)*traceRow + vg.Length(n-1)*traceGap
	bottom, top := 1.25*vg.Centimeter, 0.75*vg.Centimeter
	w := traceLeft + traceDens + traceMiddle + traceLines + 0.5*vg.Centimeter
	sheet := figure.NewPage(w, bottom+h+top, figure.DPI)
	all := sheet.All
	cell := func(x, width vg.Length, row int) frame {
		y := bottom + vg.Length(n-1-row)*(traceRow+traceGap)
		return frame{Canvas: sheet.Part(x, y, width, traceRow)}
	}
	title := textStyle(9.5, float64(draw.XCenter), float64(draw.YBottom))
	dashed := draw.LineStyle{Color: color.Black, Width: vg.Points(0.8), Dashes: []vg.Length{vg.Points(3), vg.Points(2)}}
	count := len(d.X[0])
	for row := range params {
		p := &params[row]
		left := cell(traceLeft, traceDens, row)
		left.x0, left.x1 = p.lo, p.hi
		dens := make([]*Density1, len(p.draws))
		for c, v := range p.draws {
			if dens[c] = NewDensity1(v, float64(len(v))/2); dens[c] != nil {
				left.y1 = math.Max(left.y1, 1.1*dens[c].max())
			}
		}
		if left.y1 == 0 {
			left.y1 = 1
		}
		right := cell(traceLeft+traceDens+traceMiddle, traceLines, row)
		right.x0, right.x1, right.y0, right.y1 = 0.5, float64(count)+0.5, p.lo, p.hi
		lo, hi := slices.Min(p.all), slices.Max(p.all)
		right.y0, right.y1 = math.Min(p.lo, lo), math.Max(p.hi, hi)
		if p.truth > left.x0 && p.truth < left.x1 {
			a := left.at(p.truth, 0)
			left.StrokeLine2(dashed, a.X, left.Min.Y, a.X, left.Max.Y)
		}
		for c, v := range p.draws {
			col := chainColors[c%len(chainColors)]
			if dens[c] != nil {
				var curve []vg.Point
				for i := range 241 {
					x := left.x0 + (left.x1-left.x0)*float64(i)/240
					curve = append(curve, left.at(x, dens[c].at(x)))
				}
				left.StrokeLines(draw.LineStyle{Color: col, Width: vg.Points(0.9)}, curve)
			}
			every := (len(v) + tracePoints - 1) / tracePoints
			var line []vg.Point
			for i := 0; i < len(v); i += every {
				line = append(line, right.at(float64(i+1), v[i]))
			}
			col.A = 0xd0
			right.StrokeLines(draw.LineStyle{Color: premultiplied(col), Width: vg.Points(0.45)}, line)
			for i, bad := range d.Divergent[c] {
				if bad {
					q := right.at(float64(i+1), right.y0)
					right.StrokeLine2(draw.LineStyle{Color: color.Black, Width: vg.Points(0.6)}, q.X, q.Y, q.X, q.Y+vg.Points(5))
				}
			}
		}
		if p.truth > right.y0 && p.truth < right.y1 {
			b := right.at(1, p.truth)
			right.StrokeLine2(dashed, right.Min.X, b.Y, right.Max.X, b.Y)
		}
		left.box()
		right.box()
		left.xAxis(true)
		right.yAxis(true)
		right.xAxis(row == n-1)
		mid := (left.Min.Y + left.Max.Y) / 2
		p.label.write(all, vg.Point{X: traceLeft - vg.Points(6), Y: mid}, 9.5, false)
		if row == 0 {
			all.FillText(title, vg.Point{X: (left.Min.X + left.Max.X) / 2, Y: left.Max.Y + vg.Points(5)}, "density of each chain")
			s := fmt.Sprintf("%d chains of %d draws", len(d.X), count)
			if len(d.X) == 1 {
				s = fmt.Sprintf("1 chain of %d draws", count)
			}
			all.FillText(title, vg.Point{X: (right.Min.X + right.Max.X) / 2, Y: right.Max.Y + vg.Points(5)}, s)
		}
		if row == n-1 {
			title.YAlign = draw.YTop
			all.FillText(title, vg.Point{X: (right.Min.X + right.Max.X) / 2, Y: right.Min.Y - vg.Points(14)}, "draw")
		}
	}
	return sheet.Save(filepath.Join(dir, rundir.TracePNG))
}

// premultiplied is a colour as the drawing libraries take a translucent one.
func premultiplied(c color.RGBA) color.Color {
	return color.NRGBA(c)
}

func FiniteAll(v []float64) bool {
	for _, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return len(v) > 0
}
