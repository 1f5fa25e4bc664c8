package tools

import (
	"image/color"
	"io"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// page is a white sheet that figures are drawn on.
type page struct {
	image *vgimg.Canvas
	all   draw.Canvas
}

func newPage(w, h vg.Length, dpi int) *page {
	c := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	return &page{c, draw.New(c)}
}

// part is the rectangle whose lower left is (x, y).
func (p *page) part(x, y, w, h vg.Length) draw.Canvas {
	c := p.all
	c.Rectangle = vg.Rectangle{Min: vg.Point{X: x, Y: y}, Max: vg.Point{X: x + w, Y: y + h}}
	return c
}

// save writes the page as a PNG.
func (p *page) save(path string) error {
	return writeAtomic(path, func(out io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: p.image}.WriteTo(out)
		return err
	})
}
