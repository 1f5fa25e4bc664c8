package vae

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"lenskit/internal/stats"
	"lenskit/tools/internal/figure"
)

// Colours of the training and the validation set, apart for all kinds of sight (Okabe & Ito 2008).
var (
	trainColor      = color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	validationColor = color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}
)

// drawCurves draws the ELBO of both sets and its terms against the epoch. The scale is that of what follows the first
// tenth of the training, the first epoch at least, where the ELBO is far off.
func drawCurves(path string, epochs []trainEpoch) error {
	type curve struct {
		name string
		c    color.Color
		y    func(trainEpoch) float64
	}
	type axes struct {
		title  string
		curves []curve
	}
	all := []axes{
		{"ELBO, without constant", []curve{
			{"training", trainColor, func(e trainEpoch) float64 { t, _ := e.elbo(); return t }},
			{"validation", validationColor, func(e trainEpoch) float64 { _, v := e.elbo(); return v }}}},
		{"−log likelihood, without constant", []curve{
			{"training", trainColor, func(e trainEpoch) float64 { return e.TrainRec }},
			{"validation", validationColor, func(e trainEpoch) float64 { return e.ValidationRec }}}},
		{"KL divergence", []curve{
			{"training", trainColor, func(e trainEpoch) float64 { return e.TrainKL }},
			{"validation", validationColor, func(e trainEpoch) float64 { return e.ValidationKL }}}},
	}
	sheet := figure.NewPage(vg.Length(len(all))*figure.CellWidth, figure.CellHeight, figure.DPI)
	for k, a := range all {
		q := plot.New()
		q.Title.Text, q.X.Label.Text, q.Y.Label.Text = a.title, "epoch", "nats per image"
		q.Title.TextStyle.Font = figure.Font(figure.TitleSize)
		for _, x := range []*plot.Axis{&q.X, &q.Y} {
			x.Label.TextStyle.Font = figure.Font(figure.LabelSize)
			x.Tick.Label.Font = figure.Font(figure.TickSize)
			x.Tick.Marker = figure.Ticker{N: 5}
		}
		q.Legend.TextStyle.Font = figure.Font(figure.TickSize)
		q.Legend.Top = k > 0 // the first curves rise
		var late []float64
		for _, c := range a.curves {
			xy := make(plotter.XYs, len(epochs))
			for i, e := range epochs {
				xy[i] = plotter.XY{X: float64(i + 1), Y: c.y(e)}
				if i >= min(max(1, len(epochs)/10), len(epochs)-1) {
					late = append(late, xy[i].Y)
				}
			}
			l, err := plotter.NewLine(xy)
			if err != nil {
				return err
			}
			l.Color, l.Width = c.c, vg.Points(1.2)
			q.Add(l)
			q.Legend.Add(c.name, l)
		}
		lo, hi := stats.Percentile(late, 0), stats.Percentile(late, 1)
		pad := 0.05*(hi-lo) + 1e-3
		q.Y.Min, q.Y.Max = lo-pad, hi+pad
		q.X.Min, q.X.Max = 0, float64(len(epochs))+0.5
		cell := sheet.Part(vg.Length(k)*figure.CellWidth, 0, figure.CellWidth, figure.CellHeight)
		q.Draw(draw.Crop(cell, 0.2*vg.Centimeter, -0.3*vg.Centimeter, 0.2*vg.Centimeter, -0.2*vg.Centimeter))
	}
	return sheet.Save(path)
}
