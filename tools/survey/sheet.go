package survey

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
)

// Sizes of a contact sheet.
const (
	sheetThumb   = 2.8 * vg.Centimeter
	sheetText    = 0.75 * vg.Centimeter
	sheetGap     = 0.25 * vg.Centimeter
	sheetInset   = 0.08 * vg.Centimeter
	sheetColumns = 3  // lenses in a row
	sheetLenses  = 60 // on a sheet
	sheetDPI     = 120
)

// sheetPanels are the panels of a lens on the contact sheet.
var sheetPanels = []string{"data", "model", "residual", "source"}

// contactSheets draws data, model, residual and source of every lens that has results, with its name and state, and returns
// the paths of the sheets: base.png, base-2.png, …
func (s *Survey) contactSheets(ctx context.Context, base string, all []Standing) ([]string, error) {
	var made []string
	var rows []*Standing
	for i := range all {
		if all[i].Rec != nil {
			rows = append(rows, &all[i])
		}
	}
	for from := 0; from < len(rows); from += sheetLenses {
		path := base + ".png"
		if from > 0 {
			path = fmt.Sprintf("%s-%d.png", base, from/sheetLenses+1)
		}
		if err := s.contactSheet(ctx, path, rows[from:min(from+sheetLenses, len(rows))]); err != nil {
			return made, err
		}
		made = append(made, path)
	}
	return made, nil
}

func (s *Survey) contactSheet(ctx context.Context, path string, rows []*Standing) error {
	columns := min(sheetColumns, len(rows))
	lines := (len(rows) + columns - 1) / columns
	tileW := vg.Length(len(sheetPanels))*sheetThumb + sheetGap
	tileH := sheetThumb + sheetText + sheetGap
	sheet := figure.NewPage(vg.Length(columns)*tileW+sheetGap, vg.Length(lines)*tileH+sheetGap, sheetDPI)
	all := sheet.All
	for k, r := range rows {
		if err := stoppedOr(ctx, nil); err != nil {
			return err
		}
		at := vg.Point{X: sheetGap + vg.Length(k%columns)*tileW, Y: sheetGap + vg.Length(lines-1-k/columns)*tileH}
		title := fmt.Sprintf("%d %s: %s", r.Index, r.Name, strings.ReplaceAll(r.State, "_", " "))
		title += ", χ²/N = " + term.Padded(r.Rec.Number("reduced_chi2"), 0, 3)
		style := text.Style{Color: stateColor(r.State), Font: figure.Font(8), Handler: plot.DefaultTextHandler}
		all.FillText(style, at.Add(vg.Point{Y: sheetThumb + 0.38*vg.Centimeter}), shorten(title, 74))
		if r.Message != "" {
			style.Color, style.Font = color.Gray{0x60}, figure.Font(6.5)
			all.FillText(style, at.Add(vg.Point{Y: sheetThumb + 0.1*vg.Centimeter}), shorten(r.Message, 96))
		}
		s.drawThumbnails(sheet.Image, at, r)
	}
	return sheet.Save(path)
}

// drawThumbnails draws the panels of a lens, if they can be read.
func (s *Survey) drawThumbnails(canvas *vgimg.Canvas, at vg.Point, r *Standing) {
	planes, unit, err := run.ReadPlanes(filepath.Join(s.folder(r.Index), rundir.FitFITS), run.ImagePlanes)
	if err != nil {
		return
	}
	panels, _ := run.Panels(planes, unit, r.Rec.Number("reduced_chi2"))
	for i := range panels {
		name, _, _ := strings.Cut(panels[i].Title, ",")
		for c, want := range sheetPanels {
			if name == want {
				lo := at.Add(vg.Point{X: vg.Length(c) * sheetThumb})
				canvas.DrawImage(vg.Rectangle{Min: lo, Max: lo.Add(vg.Point{X: sheetThumb - sheetInset, Y: sheetThumb - sheetInset})}, thumbnail(&panels[i]))
			}
		}
	}
}

// thumbnail paints the pixels on a square, each as a block of dots, or of a
// large image some.
func thumbnail(p *figure.Panel) image.Image {
	side := max(p.W, p.H)
	dots := min(side*max(1, (figure.SheetDots+side-1)/side), figure.SheetMost)
	img := image.NewRGBA(image.Rect(0, 0, dots, dots))
	left, low := (side-p.W)/2, (side-p.H)/2
	for b := range dots {
		for a := range dots {
			i, j := a*side/dots-left, (dots-1-b)*side/dots-low
			c := figure.NoData
			if i >= 0 && j >= 0 && i < p.W && j < p.H {
				if v := p.Pix[j*p.W+i]; !math.IsNaN(v) {
					c = p.Scale.Map(p.Scale.Norm(v))
				}
			}
			img.SetRGBA(a, b, c)
		}
	}
	return img
}

// stateColor is that of a state's text.
func stateColor(state string) color.Color {
	switch state {
	case run.Converged:
		return color.RGBA{0x10, 0x60, 0x20, 0xff}
	case stateRunning, standingPending, stateInterrupted:
		return color.Gray{0x50}
	}
	return color.RGBA{0xa0, 0x20, 0x10, 0xff}
}

// shorten cuts a text to n letters.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
