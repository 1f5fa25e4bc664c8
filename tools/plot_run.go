package tools

import (
	"math"
	"os"
	"path/filepath"
	"strings"

	"lenskit/physics"
)

// plotRun draws fit.png of the run in dir from its fit.fits, fit.json and config.yaml.
func plotRun(dir string) error {
	rec, err := readFitRecord(dir)
	if err != nil {
		return err
	}
	if err := rec.asWritten(dir); err != nil {
		return err
	}
	return drawRun(dir, rec)
}

// drawRun draws fit.png of the run in dir, whose fit.json need not be there yet, from its fit.fits and config.yaml.
func drawRun(dir string, rec *fitRecord) error {
	planes, unit, err := readPlanes(filepath.Join(dir, fileFitFITS), fitPlanes)
	if err != nil {
		return err
	}
	panels, columns := fitPanels(planes, unit, float64(rec.ReducedChi2))
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
	return drawFigure(filepath.Join(dir, fileFitPNG), panels, columns)
}

// plotMoments draws moments.png of the samples in dir from their samples.fits: mean and standard deviation of the source, and
// of the model.
func plotMoments(dir string) error {
	planes, unit, err := readPlanes(filepath.Join(dir, fileSamplesFITS), momentPlanes)
	if err != nil {
		return err
	}
	var panels []panel
	for _, name := range []string{"source", "model"} {
		mean, ok := planes[strings.ToUpper(name)+"_MEAN"]
		sd := planes[strings.ToUpper(name)+"_SD"]
		if !ok || sd.Image == nil || len(sd.Pix) != len(mean.Pix) {
			continue
		}
		scale := wholeRange
		if name == "model" { // its brightest part is the lens
			scale = func(v []float64) colorScale { return brightness(v, percentile(v, 0.5)) }
		}
		panels = append(panels,
			panelOf(name+", mean of the draws", mean, mean.Pix, unit, scale(mean.Pix)),
			panelOf(name+", standard deviation", sd, sd.Pix, unit, scale(sd.Pix)))
	}
	return drawFigure(filepath.Join(dir, fileMoments), panels, 2)
}

// plane is an image of fit.fits or samples.fits with its place.
type plane struct {
	*physics.Image
	X, Y float64 // of its centre, arcsec
}

// What a fit.fits and a samples.fits always hold.
var (
	fitPlanes    = []string{"DATA", "NOISE", "MODEL", "RESIDUAL", "LENS_LIGHT", "MASK"}
	momentPlanes = []string{"MODEL_MEAN", "MODEL_SD"}
)

// readPlanes reads the images of a fit.fits or samples.fits by extension name, and the unit of their values. Those that are
// required are of one size.
func readPlanes(path string, required []string) (map[string]plane, string, error) {
	out := map[string]plane{}
	unit := "image units"
	hdus, data, err := openFITS(path)
	if err != nil {
		return nil, "", err
	}
	defer data.Close()
	for i := range hdus {
		h := &hdus[i]
		if !h.isImage() || h.size() == 0 {
			continue
		}
		m, err := h.read(data)
		if err != nil {
			return nil, "", err
		}
		scale, err := m.Header.number("PIXSCALE", 0)
		if err != nil || scale <= 0 {
			return nil, "", badInput("%s[%s]: has no PIXSCALE, expected arcsec per pixel", path, m.Name)
		}
		img, err := imageOf(m, scale)
		if err != nil {
			return nil, "", err
		}
		p := plane{Image: img}
		if strings.HasPrefix(m.Name, "SOURCE") {
			p.X, _ = m.Header.number("CRVAL1", 0)
			p.Y, _ = m.Header.number("CRVAL2", 0)
		}
		out[m.Name] = p
		if u := m.Header.text("BUNIT"); m.Name == required[0] && u != "" {
			unit = u
		}
	}
	for _, name := range required {
		p, ok := out[name]
		if !ok {
			return nil, "", badInput("%s: has no extension %s, expected the images of a run", path, name)
		}
		if d := out[required[0]]; p.W != d.W || p.H != d.H {
			return nil, "", badInput("%s[%s]: found %d x %d pixels, expected %d x %d as %s", path, name, p.W, p.H, d.W, d.H, required[0])
		}
	}
	return out, unit, nil
}

// panelOf is a panel over the whole of an image.
func panelOf(title string, m plane, pix []float64, bar string, scale colorScale) panel {
	w, h := float64(m.W)*m.Scale/2, float64(m.H)*m.Scale/2
	return panel{Title: title, W: m.W, H: m.H, Pix: pix, X0: m.X - w, X1: m.X + w, Y0: m.Y - h, Y1: m.Y + h, Bar: bar, Scale: scale}
}

// fitPanels are the panels of fit.png with the number of columns: data, model, residual and source; with lens light also
// the data without it, and the lens light.
func fitPanels(planes map[string]plane, unit string, reducedChi2 float64) ([]panel, int) {
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
		soft = 2 * percentile(used(noise.Pix), 0.5)
	}
	shared := brightness(used(data.Pix), soft)
	shared.Lo = math.Min(shared.Lo, 0)
	residual := panelOf("residual", data, used(planes["RESIDUAL"].Pix), "(data − model) / σ", colorScale{Lo: -5, Hi: 5, Map: blueRed()})
	if !math.IsNaN(reducedChi2) {
		residual.Title = "residual, χ²/N = " + decimals(reducedChi2, 3)
	}
	panels := []panel{
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
		scale := brightness(lensed, 0)
		scale.Lo = math.Min(scale.Lo, -2*soft/2)
		panels = append(panels, panelOf("data without lens light", data, used(arcs), unit, scale), panelOf("lens light", data, light.Pix, unit, shared))
	}
	if x0, y0, x1, y1 := usedBox(mask); x1 > x0 {
		for i := range panels {
			panels[i] = panels[i].crop(x0, y0, x1, y1)
		}
	}
	if s, ok := planes["SOURCE"]; ok {
		panels = append(panels, panelOf("source", s, s.Pix, unit, wholeRange(s.Pix)))
	}
	if hasLight {
		return panels, 3
	}
	return panels, 2
}

// usedMargin is how much more than the used pixels a figure shows, as a fraction of their extent.
const usedMargin = 0.15

// usedBox are the columns x0 ≤ i < x1 and rows y0 ≤ j < y1 of the used pixels with a margin around them.
func usedBox(mask plane) (x0, y0, x1, y1 int) {
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
func runCurves(dir string, rec *fitRecord, data plane) (critical, caustics [][]point) {
	if _, err := os.Stat(filepath.Join(dir, fileConfig)); err != nil {
		return nil, nil
	}
	cfg, err := loadConfig(filepath.Join(dir, fileConfig))
	if err != nil || len(cfg.Lens) == 0 {
		return nil, nil
	}
	named := namedValues{}
	for i, n := range rec.Parameters.names {
		named[n] = rec.Parameters.values[i]
	}
	lens, err := cfg.deflection(dir, named, nil)
	if err != nil {
		return nil, nil
	}
	return lens.curves(float64(data.W)*data.Scale/2, float64(data.H)*data.Scale/2)
}

// curveSide is the number of cells along the longer side in which critical curves are sought.
const curveSide = 400

// curves finds the critical curves, where the magnification is infinite, within ±halfW, ±halfH arcsec, and the caustics
// they are mapped to. A small curve, as around the centre of a shallow lens, is traced again in cells of its own size: one that
// shrinks with the cells is of the differences across a singular centre, and is left out.
func (s lensSum) curves(halfW, halfH float64) (critical, caustics [][]point) {
	side := 2 * math.Max(halfW, halfH)
	for _, c := range s.trace(-halfW, -halfH, halfW, halfH, side/curveSide) {
		lo, hi := bounds(c)
		size := max(hi.X-lo.X, hi.Y-lo.Y)
		if size >= side/8 {
			critical = append(critical, c)
			continue
		}
		for _, fine := range s.trace(lo.X-size/4, lo.Y-size/4, hi.X+size/4, hi.Y+size/4, 1.5*size/curveSide) {
			if a, b := bounds(fine); max(b.X-a.X, b.Y-a.Y) > size/4 {
				critical = append(critical, fine)
			}
		}
	}
	for _, c := range critical {
		x, y := make([]float64, len(c)), make([]float64, len(c))
		for i, p := range c {
			x[i], y[i] = p.X, p.Y
		}
		bx, by := s.source(x, y)
		caustic := make([]point, len(c))
		for i := range c {
			caustic[i] = point{bx[i], by[i]}
		}
		caustics = append(caustics, caustic)
	}
	return critical, caustics
}

// bounds are the corners of the box around a curve.
func bounds(c []point) (lo, hi point) {
	lo, hi = c[0], c[0]
	for _, p := range c {
		lo.X, lo.Y, hi.X, hi.Y = min(lo.X, p.X), min(lo.Y, p.Y), max(hi.X, p.X), max(hi.Y, p.Y)
	}
	return lo, hi
}

// trace finds the critical curves in a rectangle by cells of the given size: the zeros of det(∂β/∂θ), which is taken by
// central differences.
func (s lensSum) trace(x0, y0, x1, y1, step float64) [][]point {
	nx, ny := int((x1-x0)/step)+2, int((y1-y0)/step)+2
	n := nx * ny
	// β at the four neighbours of each node, a quarter of a cell away
	h := step / 4
	var bx, by [4][]float64
	for k, d := range [4][2]float64{{h, 0}, {-h, 0}, {0, h}, {0, -h}} {
		x, y := make([]float64, n), make([]float64, n)
		for i := range n {
			x[i], y[i] = x0+float64(i%nx)*step+d[0], y0+float64(i/nx)*step+d[1]
		}
		bx[k], by[k] = s.source(x, y)
	}
	det := make([]float64, n)
	for i := range det {
		xx, yx := (bx[0][i]-bx[1][i])/(2*h), (by[0][i]-by[1][i])/(2*h)
		xy, yy := (bx[2][i]-bx[3][i])/(2*h), (by[2][i]-by[3][i])/(2*h)
		det[i] = xx*yy - xy*yx
	}
	lines := contours(det, nx, ny)
	for _, c := range lines {
		for i, p := range c {
			c[i] = point{x0 + p.X*step, y0 + p.Y*step}
		}
	}
	return lines
}

// source maps places of the image to the source plane.
func (s lensSum) source(x, y []float64) (bx, by []float64) {
	ax, ay := make([]float64, len(x)), make([]float64, len(x))
	for _, l := range s {
		l.Deflect(ax, ay, x, y)
	}
	for i := range ax {
		ax[i], ay[i] = x[i]-ax[i], y[i]-ay[i]
	}
	return ax, ay
}

// contours traces the zeros of v on a grid of nx x ny nodes as lines of places in units of cells (marching squares).
func contours(v []float64, nx, ny int) [][]point {
	// An edge of the grid is horizontal (from node k to k+1) or vertical (from k to k+nx); a line runs from edge to edge.
	type edge struct {
		node     int
		vertical bool
	}
	cross := func(e edge) (point, bool) {
		a, step := v[e.node], 1
		if e.vertical {
			step = nx
		}
		b := v[e.node+step]
		if !(a < 0) == !(b < 0) || math.IsNaN(a-b) || math.IsInf(a-b, 0) {
			return point{}, false
		}
		f := a / (a - b)
		p := point{float64(e.node % nx), float64(e.node / nx)}
		if e.vertical {
			p.Y += f
		} else {
			p.X += f
		}
		return p, true
	}
	next := map[edge][]edge{}
	var order []edge
	link := func(a, b edge) {
		for _, e := range [2]edge{a, b} {
			if _, ok := next[e]; !ok {
				order = append(order, e)
			}
		}
		next[a], next[b] = append(next[a], b), append(next[b], a)
	}
	for j := range ny - 1 {
		for i := range nx - 1 {
			k := j*nx + i
			var hit []edge
			for _, e := range [4]edge{{k, false}, {k + 1, true}, {k + nx, false}, {k, true}} { // around the cell
				if _, ok := cross(e); ok {
					hit = append(hit, e)
				}
			}
			switch len(hit) {
			case 2:
				link(hit[0], hit[1])
			case 4: // a saddle: either pairing will do at this resolution
				link(hit[0], hit[1])
				link(hit[2], hit[3])
			}
		}
	}
	var out [][]point
	seen := map[edge]bool{}
	walk := func(e edge) []point {
		var line []point
		for {
			seen[e] = true
			p, _ := cross(e)
			line = append(line, p)
			at := -1
			for i, n := range next[e] {
				if !seen[n] {
					at = i
				}
			}
			if at < 0 {
				return line
			}
			e = next[e][at]
		}
	}
	for pass := range 2 { // open lines from their ends first, then closed ones
		for _, e := range order {
			if seen[e] || pass == 0 && len(next[e]) != 1 {
				continue
			}
			line := walk(e)
			if pass == 1 && len(line) > 2 {
				line = append(line, line[0])
			}
			if len(line) >= 8 { // shorter ones are the wiggles around a singular centre
				out = append(out, line)
			}
		}
	}
	return out
}
