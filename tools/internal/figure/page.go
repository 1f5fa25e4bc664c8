package figure

import (
	"image/color"
	"io"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"lenskit/tools/internal/rundir"
)

// Page is a white sheet that figures are drawn on.
type Page struct {
	Image *vgimg.Canvas
	All   draw.Canvas
}

func NewPage(w, h vg.Length, dpi int) *Page {
	c := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	return &Page{c, draw.New(c)}
}

// Part is the rectangle whose lower left is (x, y).
func (p *Page) Part(x, y, w, h vg.Length) draw.Canvas {
	c := p.All
	c.Rectangle = vg.Rectangle{Min: vg.Point{X: x, Y: y}, Max: vg.Point{X: x + w, Y: y + h}}
	return c
}

// Save writes the page as a PNG.
func (p *Page) Save(path string) error {
	return rundir.WriteAtomic(path, func(out io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: p.Image}.WriteTo(out)
		return err
	})
}
