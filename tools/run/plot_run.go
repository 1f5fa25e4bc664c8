package run

import (
	"math"
	"os"
	"path/filepath"
	"strings"

	"lenskit/internal/stats"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
)

// Draw draws fit.png of the run in dir from its fit.fits, fit.json and config.yaml.
func Draw(dir string) error {
	rec, err := ReadRecord(dir)
	if err != nil {
		return err
	}
	if err := rec.AsWritten(dir); err != nil {
		return err
	}
	return drawRun(dir, rec)
}

// drawRun draws fit.png of the run in dir, whose fit.json need not be there yet, from its fit.fits and config.yaml.
func drawRun(dir string, rec *Record) error {
	planes, unit, err := ReadPlanes(filepath.Join(dir, rundir.FitFITS), ImagePlanes)
	if err != nil {
		return err
	}
	panels, columns := Panels(planes, unit, float64(rec.ReducedChi2))
	if critical, caustics := runCurves(dir, rec, planes["DATA"]); critical != nil {
		for i := range panels {
			switch panels[i].Title {
			case "model":
				panels[i].Curves = critical
			case "source":
				panels[i].Curves = caustics
			}
		}
	}
	return figure.Draw(filepath.Join(dir, rundir.FitPNG), panels, columns)
}

// DrawMoments draws moments.png of the samples in dir from their samples.fits: mean and standard deviation of the source, and
// of the model.
func DrawMoments(dir string) error {
	planes, unit, err := ReadPlanes(filepath.Join(dir, rundir.SamplesFITS), momentPlanes)
	if err != nil {
		return err
	}
	var panels []figure.Panel
	for _, name := range []string{"source", "model"} {
		mean, ok := planes[strings.ToUpper(name)+"_MEAN"]
		sd := planes[strings.ToUpper(name)+"_SD"]
		if !ok || sd.Image == nil || len(sd.Pix) != len(mean.Pix) {
			continue
		}
		scale := figure.WholeRange
		if name == "model" { // its brightest part is the lens
			scale = func(v []float64) figure.ColorScale { return figure.Brightness(v, stats.Percentile(v, 0.5)) }
		}
		panels = append(panels,
			panelOf(name+", mean of the draws", mean, mean.Pix, unit, scale(mean.Pix)),
			panelOf(name+", standard deviation", sd, sd.Pix, unit, scale(sd.Pix)))
	}
	return figure.Draw(filepath.Join(dir, rundir.MomentsPNG), panels, 2)
}

// Plane is an image of fit.fits or samples.fits with its place.
type Plane struct {
	*physics.Image
	X, Y float64 // of its centre, arcsec
}

// What a fit.fits and a samples.fits always hold.
var (
	ImagePlanes  = []string{"DATA", "NOISE", "MODEL", "RESIDUAL", "LENS_LIGHT", "MASK"}
	momentPlanes = []string{"MODEL_MEAN", "MODEL_SD"}
)

// ReadPlanes reads the images of a fit.fits or samples.fits by extension name, and the unit of their values. Those that are
// required are of one size.
func ReadPlanes(path string, required []string) (map[string]Plane, string, error) {
	out := map[string]Plane{}
	unit := "image units"
	hdus, data, err := fits.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer data.Close()
	for i := range hdus {
		h := &hdus[i]
		if !h.IsImage() || h.Size() == 0 {
			continue
		}
		m, err := h.Read(data)
		if err != nil {
			return nil, "", err
		}
		scale, err := m.Header.Number("PIXSCALE", 0)
		if err != nil || scale <= 0 {
			return nil, "", term.BadInput("%s[%s]: has no PIXSCALE, expected arcsec per pixel", path, m.Name)
		}
		img, err := ImageOf(m, scale)
		if err != nil {
			return nil, "", err
		}
		p := Plane{Image: img}
		if strings.HasPrefix(m.Name, "SOURCE") {
			p.X, _ = m.Header.Number("CRVAL1", 0)
			p.Y, _ = m.Header.Number("CRVAL2", 0)
		}
		out[m.Name] = p
		if u := m.Header.Text("BUNIT"); m.Name == required[0] && u != "" {
			unit = u
		}
	}
	for _, name := range required {
		p, ok := out[name]
		if !ok {
			return nil, "", term.BadInput("%s: has no extension %s, expected the images of a run", path, name)
		}
		if d := out[required[0]]; p.W != d.W || p.H != d.H {
			return nil, "", term.BadInput("%s[%s]: found %d x %d pixels, expected %d x %d as %s", path, name, p.W, p.H, d.W, d.H, required[0])
		}
	}
	return out, unit, nil
}

// panelOf is a panel over the whole of an image.
func panelOf(title string, m Plane, pix []float64, bar string, scale figure.ColorScale) figure.Panel {
	w, h := float64(m.W)*m.Scale/2, float64(m.H)*m.Scale/2
	return figure.Panel{Title: title, W: m.W, H: m.H, Pix: pix, X0: m.X - w, X1: m.X + w, Y0: m.Y - h, Y1: m.Y + h, Bar: bar, Scale: scale}
}

// Panels are the panels of fit.png with the number of columns: data, model, residual and source; with lens light also
// the data without it, and the lens light.
func Panels(planes map[string]Plane, unit string, reducedChi2 float64) ([]figure.Panel, int) {
	data, model, noise, mask := planes["DATA"], planes["MODEL"], planes["NOISE"], planes["MASK"]
	used := func(v []float64) []float64 {
		out := append([]float64(nil), v...)
		for i := range out {
			if mask.Pix[i] == 0 {
				out[i] = math.NaN()
			}
		}
		return out
	}
	light := planes["LENS_LIGHT"]
	hasLight := false
	for _, v := range light.Pix {
		hasLight = hasLight || v != 0
	}
	soft := 0.0
	if hasLight {
		soft = 2 * stats.Percentile(used(noise.Pix), 0.5)
	}
	shared := figure.Brightness(used(data.Pix), soft)
	shared.Lo = math.Min(shared.Lo, 0)
	residual := panelOf("residual", data, used(planes["RESIDUAL"].Pix), "(data − model) / σ", figure.ColorScale{Lo: -5, Hi: 5, Map: figure.BlueRed()})
	if !math.IsNaN(reducedChi2) {
		residual.Title = "residual, χ²/N = " + term.Decimals(reducedChi2, 3)
	}
	panels := []figure.Panel{
		panelOf("data", data, used(data.Pix), unit, shared),
		panelOf("model", data, model.Pix, unit, shared),
		residual,
	}
	if hasLight {
		arcs := append([]float64(nil), data.Pix...)
		for i := range arcs {
			arcs[i] -= light.Pix[i]
		}
		lensed := append([]float64(nil), model.Pix...)
		for i := range lensed {
			lensed[i] -= light.Pix[i]
		}
		scale := figure.Brightness(lensed, 0)
		scale.Lo = math.Min(scale.Lo, -2*soft/2)
		panels = append(panels, panelOf("data without lens light", data, used(arcs), unit, scale), panelOf("lens light", data, light.Pix, unit, shared))
	}
	if x0, y0, x1, y1 := usedBox(mask); x1 > x0 {
		for i := range panels {
			panels[i] = panels[i].Crop(x0, y0, x1, y1)
		}
	}
	if s, ok := planes["SOURCE"]; ok {
		panels = append(panels, panelOf("source", s, s.Pix, unit, figure.WholeRange(s.Pix)))
	}
	errors := errorPanels(planes, unit)
	panels = append(panels, errors...)
	if hasLight || errors != nil {
		return panels, 3
	}
	return panels, 2
}

// usedMargin is how much more than the used pixels a figure shows, as a fraction of their extent.
const usedMargin = 0.15

// usedBox are the columns x0 ≤ i < x1 and rows y0 ≤ j < y1 of the used pixels with a margin around them.
func usedBox(mask Plane) (x0, y0, x1, y1 int) {
	x0, y0 = mask.W, mask.H
	for k, v := range mask.Pix {
		if v != 0 {
			i, j := k%mask.W, k/mask.W
			x0, y0, x1, y1 = min(x0, i), min(y0, j), max(x1, i+1), max(y1, j+1)
		}
	}
	mx, my := int(usedMargin*float64(x1-x0)), int(usedMargin*float64(y1-y0))
	return max(0, x0-mx), max(0, y0-my), min(mask.W, x1+mx), min(mask.H, y1+my)
}

// runCurves are the critical curves and caustics of a run's lens; nil where they cannot be had.
func runCurves(dir string, rec *Record, data Plane) (critical, caustics [][]lensing.Point) {
	if _, err := os.Stat(filepath.Join(dir, rundir.ConfigYAML)); err != nil {
		return nil, nil
	}
	cfg, err := config.Load(filepath.Join(dir, rundir.ConfigYAML))
	if err != nil || len(cfg.Lens) == 0 {
		return nil, nil
	}
	named := config.Named{}
	for i, n := range rec.Parameters.Names {
		named[n] = rec.Parameters.Values[i]
	}
	lens, err := cfg.Deflection(dir, named, nil)
	if err != nil {
		return nil, nil
	}
	return lens.Curves(float64(data.W)*data.Scale/2, float64(data.H)*data.Scale/2)
}
