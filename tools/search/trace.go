package search

import (
	"fmt"
	"math"

	"lenskit/adjoint"
	"lenskit/onnx"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// sources places decoder sources by tracing the image back.
type sources struct {
	obs      *observation.Observation
	cfg      *config.Config
	decoders []decoderSource
}

// decoderSource is a decoder among the sources.
type decoderSource struct {
	comp    *config.Component
	prefix  string // of its parameters' names
	latents int
	w, h    int
	enc     *encoder
}

// newSources opens the encoders of the decoder sources.
func (s *Search) newSources(obs *observation.Observation) (*sources, error) {
	src := &sources{obs: obs, cfg: s.Problem.Config}
	for i := range src.cfg.Source {
		c := &src.cfg.Source[i]
		if c.Type != "decoder" {
			continue
		}
		b := s.Problem.Bundles[c.Group+"."+c.Name]
		var err error
		d := decoderSource{comp: c, prefix: "source." + c.Name + ".", latents: b.Latents}
		if d.w, d.h, err = adjoint.ImageSize(b.Decoder); err != nil {
			return nil, term.AsBadInput(err)
		}
		if d.enc, err = newEncoder(b, d.w, d.h); err != nil {
			return nil, err
		}
		src.decoders = append(src.decoders, d)
	}
	return src, nil
}

func (s *sources) close() {
	for i := range s.decoders {
		s.decoders[i].enc.close()
	}
}

// widths are the frames' widths to try: those the prior of s holds likely.
func (s *sources) widths() []float64 {
	d := &s.decoders[0]
	for i := range d.comp.Params {
		if p := &d.comp.Params[i]; p.Role == physics.RoleSize {
			if p.Prior.Kind == config.PriorFixed {
				return []float64{p.Prior.Fixed[0]}
			}
			lo, hi := likely(&p.Prior)
			out := make([]float64, 5)
			for k := range out {
				out[k] = lo * math.Pow(hi/lo, float64(k)/4)
			}
			return out
		}
	}
	return nil
}

// likely is the range between about the 5th and 95th percentile of a positive parameter's prior.
func likely(p *config.Prior) (lo, hi float64) {
	switch p.Kind {
	case config.PriorNormal:
		lo, hi = p.A-1.6*p.B, p.A+1.6*p.B
	case config.PriorUniform:
		lo, hi = p.A+0.05*(p.B-p.A), p.B-0.05*(p.B-p.A)
	case config.PriorLognormal:
		lo, hi = math.Exp(p.A-1.6*p.B), math.Exp(p.A+1.6*p.B)
	default:
		lo, hi = p.Fixed[0], p.Fixed[0]
	}
	hi = math.Min(hi, p.Hi)
	lo = math.Max(math.Max(lo, p.Lo), hi/20)
	return lo, math.Max(lo, hi)
}

// trace makes a start for each width: the first decoder takes the image traced back through the lens of theta. named is
// the simple model's or an earlier fit's parameters, whose source is the guess where no light arrives.
func (s *sources) trace(post *adjoint.Posterior, theta []float64, named config.Named, widths []float64) ([][]float64, error) {
	d := &s.decoders[0]
	at := map[string]int{}
	for k, name := range post.Names() {
		at[name] = k
	}
	// the foreground: the model without sources
	dark := append([]float64(nil), theta...)
	for i := range s.decoders {
		dark[at[s.decoders[i].comp.KeyOf(physics.RoleAmplitude)]] = 0
	}
	for k := range post.Params() {
		if q := &post.Params()[k]; isSource(q) && q.Role == physics.RoleAmplitude {
			dark[k] = 0
		}
	}
	foreground := make([]float64, s.obs.W*s.obs.H)
	if err := post.ModelImage(foreground, dark); err != nil {
		return nil, err
	}
	lensValues := config.Named{}
	for k, name := range post.Names() {
		if isLens(&post.Params()[k]) {
			lensValues[name] = theta[k]
		}
	}
	lens, err := s.cfg.Deflection("", lensValues, d.comp)
	if err != nil {
		return nil, err
	}
	back, err := newTraceback(s.obs, lens, foreground)
	if err != nil {
		return nil, err
	}
	iota, size, x0, y0 := at[d.comp.KeyOf(physics.RoleAmplitude)], at[d.comp.KeyOf(physics.RoleSize)], at[d.comp.KeyOf(physics.RoleCentreX)], at[d.comp.KeyOf(physics.RoleCentreY)]
	cx, cy := theta[x0], theta[y0]
	simple, x, y, err := simpleSource(named, d.prefix) // it stands under the decoder's name
	if err != nil {
		return nil, err
	}
	if simple != nil {
		cx, cy = x, y
	}
	var out [][]float64
	for _, width := range widths {
		start := append([]float64(nil), theta...)
		start[size] = width
		start[x0], start[y0] = cx, cy
		if d.enc != nil {
			guess := make([]float64, d.w*d.h)
			if simple != nil {
				x, y := make([]float64, d.w*d.h), make([]float64, d.w*d.h)
				for k := range x {
					x[k] = cx + ((float64(k%d.w)+0.5)/float64(d.w)-0.5)*width
					y[k] = cy + ((float64(k/d.w)+0.5)/float64(d.h)-0.5)*width
				}
				simple.Brightness(guess, x, y)
			}
			z, peak, err := d.enc.encode(back.image(d.w, d.h, cx, cy, width, guess))
			if err != nil {
				continue // no light within this frame
			}
			latents := d.comp.ByRole(physics.RoleLatent)
			for k, v := range z {
				start[at[d.comp.NameOf(latents, k)]] = v
			}
			start[iota] = peak
		}
		clampToPriors(post, s.cfg, start)
		fitAmplitudes(post, start, isSource)
		u, err := coordinates(post, start)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	if len(out) == 0 {
		u, err := coordinates(post, theta)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// simpleSource is the Sersic profile whose parameters named has under a prefix, and its centre; nil where it has none, or one
// that does not shine.
func simpleSource(named config.Named, prefix string) (light physics.Light, x, y float64, err error) {
	if light, err = physics.NewLight(simpleLight); err != nil {
		return nil, 0, 0, err
	}
	var p []float64
	amp := 0.0
	for _, q := range light.Params() {
		v, ok := named[prefix+q.Name]
		if !ok {
			return nil, 0, 0, nil
		}
		p = append(p, v)
		switch q.Role {
		case physics.RoleAmplitude:
			amp = v
		case physics.RoleCentreX:
			x = v
		case physics.RoleCentreY:
			y = v
		}
	}
	if light.Set(p) != nil || !(amp > 0) {
		return nil, 0, 0, nil
	}
	return light, x, y, nil
}

// clampToPriors moves values on or beyond a bound of their prior inside by a thousandth of its range.
func clampToPriors(post *adjoint.Posterior, cfg *config.Config, theta []float64) {
	bounds := map[string]*config.Prior{}
	for _, c := range cfg.Components() {
		for i := range c.Params {
			if !c.Params[i].Vector {
				bounds[c.Key(c.Params[i].Name)] = &c.Params[i].Prior
			}
		}
	}
	for k, name := range post.Names() {
		p := bounds[name]
		if p == nil || p.Kind == config.PriorFixed {
			continue
		}
		lo, hi := p.Lo, p.Hi
		if p.Kind == config.PriorUniform {
			lo, hi = math.Max(lo, p.A), math.Min(hi, p.B)
		}
		margin := 1e-3 * (hi - lo)
		if math.IsInf(margin, 0) {
			margin = 1e-3 * math.Abs(p.B)
		}
		theta[k] = math.Max(lo+margin, math.Min(hi-margin, theta[k]))
		if p.Kind == config.PriorLognormal {
			theta[k] = math.Max(theta[k], math.Exp(p.A-5*p.B))
		}
	}
}

// traceback is the lensed light of an image, seen in the source plane through a lens.
type traceback struct {
	bx, by []float64 // where each pixel's ray meets the source plane, arcsec
	light  []float64 // brightness of the pixel without lens light and sky
	weight []float64 // 1/σ²; 0 where the pixel is not used
}

// newTraceback shoots the pixels of an observation through the lens. foreground is what does not come from the source.
func newTraceback(o *observation.Observation, lens lensing.Sum, foreground []float64) (*traceback, error) {
	noise, err := physics.NewNoise(o.Data, o.Sigma, o.Mask)
	if err != nil {
		return nil, err
	}
	n := o.W * o.H
	t := &traceback{bx: make([]float64, n), by: make([]float64, n), light: make([]float64, n), weight: make([]float64, n)}
	x, y := make([]float64, n), make([]float64, n)
	for j := range o.H {
		for i := range o.W {
			x[j*o.W+i] = (float64(i) - float64(o.W-1)/2) * o.Scale
			y[j*o.W+i] = (float64(j) - float64(o.H-1)/2) * o.Scale
		}
	}
	ax, ay := make([]float64, n), make([]float64, n)
	for _, l := range lens {
		l.Deflect(ax, ay, x, y)
	}
	for p := range n {
		t.bx[p], t.by[p] = x[p]-ax[p], y[p]-ay[p]
		t.light[p] = noise.Data[p] - foreground[p]
		t.weight[p] = noise.Weight[p] * noise.Weight[p]
	}
	return t, nil
}

// image averages the light over w x h source pixels of a frame of width s centred at (x, y), each pixel shared between
// the four nearest. Where little light arrives it leans on the guess, an image of the same frame.
func (t *traceback) image(w, h int, x, y, s float64, guess []float64) []float64 {
	sum, weight := make([]float64, w*h), make([]float64, w*h)
	for p, wt := range t.weight {
		if wt == 0 {
			continue
		}
		u := ((t.bx[p]-x)/s+0.5)*float64(w) - 0.5
		v := ((t.by[p]-y)/s+0.5)*float64(h) - 0.5
		i, j := int(math.Floor(u)), int(math.Floor(v))
		if i < -1 || j < -1 || i >= w || j >= h {
			continue
		}
		fu, fv := u-float64(i), v-float64(j)
		for b, gv := range [2]float64{1 - fv, fv} {
			for a, gu := range [2]float64{1 - fu, fu} {
				if ii, jj := i+a, j+b; ii >= 0 && jj >= 0 && ii < w && jj < h {
					k := wt * gu * gv
					sum[jj*w+ii] += k * t.light[p]
					weight[jj*w+ii] += k
				}
			}
		}
	}
	typical := 0.0
	n := 0
	for _, k := range weight {
		if k > 0 {
			typical += k
			n++
		}
	}
	if n > 0 {
		typical /= float64(n)
	}
	lean := 0.3*typical + 1e-300
	for i := range sum {
		sum[i] = (sum[i] + lean*guess[i]) / (weight[i] + lean)
	}
	return sum
}

// encoder turns source images into latents with a bundle's encoder.
type encoder struct {
	run  *onnx.Session
	in   []float32
	out  []float32
	w, h int
}

// newEncoder opens the encoder of a bundle: one float32 input [N, 1, H, W] (or [N, H, W], [N, H·W]) and the latents'
// means as its first output. It is nil when the bundle has none.
func newEncoder(b *config.Bundle, w, h int) (*encoder, error) {
	if b.Encoder == nil {
		return nil, nil
	}
	g, err := b.Encoder()
	if err != nil {
		return nil, err
	}
	if len(g.Inputs) != 1 || len(g.Outputs) == 0 {
		return nil, term.BadInput("%s: encoder has %d inputs and %d outputs, expected one image in and the latents' means out", b.Path, len(g.Inputs), len(g.Outputs))
	}
	shape := []int64{1, 1, int64(h), int64(w)}
	switch len(g.Inputs[0].Shape) {
	case 2:
		shape = []int64{1, int64(h * w)}
	case 3:
		shape = []int64{1, int64(h), int64(w)}
	}
	g, err = g.BindInput(g.Inputs[0].Name, shape)
	if err != nil {
		return nil, term.BadInput("%s: encoder: %v", b.Path, err)
	}
	run, err := onnx.Open(g, onnx.SessionOptions{Threads: 1})
	if err != nil {
		return nil, term.BadInput("%s: encoder: %v", b.Path, err)
	}
	e := &encoder{run: run, in: run.Input(g.Inputs[0].Name), out: run.Output(g.Outputs[0].Name), w: w, h: h}
	if len(e.in) != w*h || len(e.out) != b.Latents {
		run.Close()
		return nil, term.BadInput("%s: encoder takes %d numbers and gives %d, expected %d pixels and %d latents", b.Path, len(e.in), len(e.out), w*h, b.Latents)
	}
	return e, nil
}

// encode returns the latents of an image, which it divides by its peak as the decoders' training images are, and the
// peak.
func (e *encoder) encode(img []float64) (z []float64, peak float64, err error) {
	for _, v := range img {
		peak = math.Max(peak, v)
	}
	if !(peak > 0) {
		return nil, 0, fmt.Errorf("tools: encode: the source image has no light")
	}
	for i, v := range img {
		e.in[i] = float32(math.Max(-1, v/peak))
	}
	if err := e.run.Run(); err != nil {
		return nil, 0, err
	}
	z = make([]float64, len(e.out))
	for i, v := range e.out {
		z[i] = float64(v)
	}
	return z, peak, nil
}

func (e *encoder) close() {
	if e != nil {
		e.run.Close()
	}
}
