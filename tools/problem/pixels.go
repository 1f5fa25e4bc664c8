package problem

import (
	"fmt"
	"math"
	"os"
	"strings"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// How grids are laid out where a config states none. Coarser ones than the source's knots bias the slope of the lens, and so
// does a box that does not hold all light.
const (
	gridStep    = 0.7 // of Observation.Resolution: the step of the fine grid
	coarseStep  = 2.0 // of that: the step of the coarse one
	wideMargin  = 0.5 // of its half-width: by how much the coarse box is wider than what stands out of the noise, for what does not
	fineMargin  = 0.3 // and the fine one, since the lens will move
	brightPart  = 0.2 // of the brightest arc: what is brighter is within the fine grid
	leastNodes  = 12
	coarseNodes = 30
	fineNodes   = 40
	missedLight = 0.01 // of the arcs, from which it is told
)

// GridsFor lays out the grids of a pixelised source from the arcs of an image, seen through a lens: a coarse one over all that
// they map to, and a fine one over the bright part, whose nodes are coarser·step arcsec apart where their number allows it. There
// have to be arcs.
func GridsFor(a *observation.Arcs, lens lensing.Sum, step, coarser float64) []physics.SplineGrid {
	bx, by := lens.Source(a.X, a.Y)
	top := 0.0
	for _, v := range a.Light {
		top = math.Max(top, v)
	}
	all, bright := box(bx, by, func(int) bool { return true }), box(bx, by, func(k int) bool { return a.Light[k] > brightPart*top })
	return nested(all, bright, step, coarser)
}

// nested are grids over two squares.
func nested(all, bright physics.SplineGrid, step, coarser float64) []physics.SplineGrid {
	step *= coarser
	set := func(g physics.SplineGrid, margin, step float64, most int) physics.SplineGrid {
		g.Half = roundUp(max(g.Half*(1+margin), 0.5*leastNodes*step))
		g.X, g.Y = math.Round(g.X*1e3)/1e3, math.Round(g.Y*1e3)/1e3
		g.N = min(int(float64(most)/coarser), max(leastNodes, int(math.Ceil(2*g.Half/step-1e-9))))
		return g
	}
	return []physics.SplineGrid{set(all, wideMargin, coarseStep*step, coarseNodes), set(bright, fineMargin, step, fineNodes)}
}

// roundUp is a length to the next thousandth of an arcsec.
func roundUp(v float64) float64 { return math.Ceil(v*1e3-1e-9) / 1e3 }

// box is the square around the places that count.
func box(x, y []float64, counts func(k int) bool) physics.SplineGrid {
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for k := range x {
		if counts(k) {
			x0, x1, y0, y1 = math.Min(x0, x[k]), math.Max(x1, x[k]), math.Min(y0, y[k]), math.Max(y1, y[k])
		}
	}
	return physics.SplineGrid{X: 0.5 * (x0 + x1), Y: 0.5 * (y0 + y1), Half: 0.5 * math.Max(x1-x0, y1-y0)}
}

// Missed is the share of the light of arcs that maps outside of all grids.
func Missed(a *observation.Arcs, lens lensing.Sum, grids []physics.SplineGrid) float64 {
	bx, by := lens.Source(a.X, a.Y)
	sum, missed := 0.0, 0.0
	for k, v := range a.Light {
		sum += v
		within := false
		for _, g := range grids {
			within = within || math.Max(math.Abs(bx[k]-g.X), math.Abs(by[k]-g.Y)) <= g.Half
		}
		if !within {
			missed += v
		}
	}
	if sum == 0 {
		return 0
	}
	return missed / sum
}

// findArcs finds those of the problem's image; nil where it has none, as a mock to be.
func (p *Problem) findArcs() (*observation.Arcs, error) {
	c := p.Config
	if c.Data.Image == "" {
		return nil, nil
	}
	sky := []float64{0}
	if c.Sky != nil {
		if err := c.Sky.Start(sky, nil); err != nil {
			return nil, term.BadInput("sky: %w", err)
		}
	}
	return p.Obs.Arcs(len(c.LensLight) > 0, c.Settings().LightError, sky[0])
}

// preparePixels reads the envelopes of pixelised sources and lays out their grids where the config states none.
func (p *Problem) preparePixels() error {
	c := p.Config
	if !c.HasPixels() {
		return nil
	}
	arcs, err := p.findArcs()
	if err != nil {
		return err
	}
	p.arcs = arcs
	for i := range c.Source {
		comp := &c.Source[i]
		if comp.Type != config.TypePixels {
			continue
		}
		if comp.Pixels.Image != "" {
			if err := p.readEnvelope(comp); err != nil {
				return err
			}
		}
		if err := p.layOut(comp); err != nil {
			return err
		}
	}
	return p.checkSplines(freeMemory())
}

// layOut gives a source its grids, at the lens that the config starts from, and tells what they miss.
func (p *Problem) layOut(comp *config.Component) error {
	c, arcs := p.Config, p.arcs
	lens, err := c.Deflection("", nil, comp)
	if err != nil {
		return err
	}
	step := gridStep * p.Obs.Resolution()
	switch {
	case comp.Pixels.Grids != nil:
	case arcs == nil:
		comp.LayOut(p.priorGrids(comp, step))
	case len(arcs.X) == 0:
		return term.WithHint(c.Fail(comp.Key("grids"), "is missing, and %s shows no arcs from which to lay grids out: nothing stands out of the noise and of the lens's light", c.Data.Image),
			"state grids, such as [{half_width: 1, nodes: 28}], or a mask that leaves the arcs in use")
	default:
		comp.LayOut(GridsFor(arcs, lens, step, 1))
		p.laidOut = append(p.laidOut, comp.Name)
		if g := comp.Pixels.Grids[1]; g.Step() > 1.01*step {
			p.notices = append(p.notices, fmt.Sprintf("%s: the nodes of its fine grid are %.3g arcsec apart, where %.3g is called for: the lens that the config starts from spreads the arcs over %.3g arcsec", comp.Key("grids"), g.Step(), step, 2*g.Half))
		}
	}
	p.notices = append(p.notices, p.missed(comp, lens, "the lens that the config starts from")...)
	return nil
}

// missed tells, if so, that a source's grids do not hold the light of the arcs.
func (p *Problem) missed(comp *config.Component, lens lensing.Sum, which string) []string {
	if p.arcs == nil {
		return nil
	}
	share := Missed(p.arcs, lens, comp.Pixels.Grids)
	if share <= missedLight {
		return nil
	}
	return []string{fmt.Sprintf("%s: %.0f %% of the arcs' light maps outside of them at %s: widen half_width", comp.Key("grids"), math.Ceil(100*share), which)}
}

// MissedAt tells of each pixelised source whose grids do not hold the light of the arcs at named parameters.
func (p *Problem) MissedAt(theta []float64) (notices []string, err error) {
	named := config.Named{}
	for name, i := range p.Index {
		named[name] = theta[i]
	}
	for i := range p.Config.Source {
		if comp := &p.Config.Source[i]; comp.Type == config.TypePixels {
			lens, err := p.Config.Deflection("", named, comp)
			if err != nil {
				return nil, err
			}
			notices = append(notices, p.missed(comp, lens, "the maximum")...)
		}
	}
	return notices, nil
}

// Solved are the names of the amplitudes that are solved for and have no prior.
func (p *Problem) Solved() map[string]bool {
	out := map[string]bool{}
	for _, comp := range p.Config.Components() {
		for i := range comp.Params {
			if q := &comp.Params[i]; q.Prior.Family == "" {
				out[comp.Key(q.Name)] = true
			}
		}
	}
	return out
}

// priorGrids are the grids of a source of which no image is at hand: over what its envelope leaves bright.
func (p *Problem) priorGrids(comp *config.Component, step float64) []physics.SplineGrid {
	at := func(role physics.Role, otherwise float64) float64 {
		v := []float64{otherwise}
		if q := comp.ByRole(role); q != nil && q.Prior.Start(v, nil) != nil {
			v[0] = otherwise
		}
		return v[0]
	}
	all := physics.SplineGrid{X: at(physics.RoleCentreX, 0), Y: at(physics.RoleCentreY, 0), Half: 1}
	bright := all
	bright.Half = 0.4
	if size := at(physics.RoleSize, 0); comp.Pixels.Components > 0 { // a radius
		all.Half, bright.Half = 5*size, 2*size
	} else if size > 0 { // the width of an image
		all.Half, bright.Half = size/2, size/4
	}
	return nested(all, bright, step, 1)
}

// checkSplines refuses more splines than can be solved for, or than there is memory for: so many bytes are free, 0 where that is
// not known.
func (p *Problem) checkSplines(free int) error {
	n, last := 0, (*config.Component)(nil)
	for i := range p.Config.Source {
		comp := &p.Config.Source[i]
		for _, g := range comp.Pixels.Grids {
			n += g.Len()
			last = comp
		}
	}
	key := last.Key("grids")
	if n > adjoint.MaxCoefficients {
		return p.Config.Fail(key, "found %d splines in all, expected at most %d: fewer nodes along a side", n, adjoint.MaxCoefficients)
	}
	if need := splineMatrices * 8 * n * n; free > 0 && need > free {
		return p.Config.Fail(key, "found %d splines in all, whose matrices take %.2f GB where %.2f GB of memory are free: fewer nodes along a side", n, float64(need)/1e9, float64(free)/1e9)
	}
	return nil
}

// splineMatrices is how many matrices of a row and a column for each spline there are at a time: that of the equations, two of
// partial sums, and the factor and the covariance that the errors of a source are told from.
const splineMatrices = 5

// freeMemory is the bytes of memory that can be had without swapping, 0 where the system does not tell.
func freeMemory() int {
	text, err := os.ReadFile("/proc/meminfo") // of Linux alone
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// readEnvelope reads the image of an envelope.
func (p *Problem) readEnvelope(comp *config.Component) error {
	c, key := p.Config, comp.Key("envelope.image")
	q := fits.Request{Role: fits.RoleOther, Sum: true, IsFITS: func(w, h int) error {
		if w*h > observation.MaxPixels {
			return fmt.Errorf("found %d x %d pixels, expected at most %d in all", w, h, observation.MaxPixels)
		}
		return nil
	}}
	img, err := q.Read(c.Path(comp.Pixels.Image))
	if err != nil {
		return observation.WithPlace(c, key, err)
	}
	w, h, pix, err := img.Plane()
	if err != nil {
		return observation.WithPlace(c, key, err)
	}
	sum := 0.0
	for k, v := range pix {
		if !(v >= 0) || math.IsInf(v, 1) {
			return c.Fail(key, "%s: pixel (%d, %d), counted from 0, is %g, expected finite numbers from 0", img.Path, k%w, k/w, v)
		}
		sum += v
	}
	if sum == 0 {
		return c.Fail(key, "%s: found zeros alone, expected some light", img.Path)
	}
	comp.Pixels.Envelope = &physics.Image{W: w, H: h, Scale: 1, Pix: pix}
	p.record(rundir.Input{Path: img.Path, SHA256: img.SHA256})
	return nil
}

// pixelised is a source of type pixels as the posterior takes it; decoder is that of its envelope, nil for none.
func pixelised(comp *config.Component, decoder *adjoint.DecoderSpec) *adjoint.PixelisedSpec {
	x := &comp.Pixels
	return &adjoint.PixelisedSpec{Grids: x.Grids, Smoothness: x.Smoothness, Components: x.Components, Image: x.Envelope, Decoder: decoder, Interpolation: comp.Interpolation}
}
