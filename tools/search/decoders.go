package search

import (
	"errors"
	"fmt"
	"math"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// sources places decoder sources by tracing the image back.
type sources struct {
	obs      *observation.Observation
	cfg      *config.Config
	set      *Settings
	decoders []decoderSource
	widths   []float64                    // of the first decoder's frame, to try
	leftOut  func(part string, err error) // notes what is left out because of an error
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
func (c *Climber) newSources(obs *observation.Observation) (*sources, error) {
	src := &sources{obs: obs, cfg: c.Problem.Config, set: &c.Settings, leftOut: c.leftOut}
	for i := range src.cfg.Source {
		comp := &src.cfg.Source[i]
		if comp.Type != "decoder" {
			continue
		}
		b := c.Problem.Bundles[comp.Group+"."+comp.Name]
		var err error
		d := decoderSource{comp: comp, prefix: "source." + comp.Name + ".", latents: b.Latents}
		if len(src.decoders) == 0 {
			if src.widths, err = frameWidths(src.cfg, comp, c.Settings.FrameWidths); err != nil {
				return nil, err
			}
		}
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

// frameWidths are n widths of a decoder's frame to try, those that its prior holds likely; one where it is fixed.
func frameWidths(cfg *config.Config, comp *config.Component, n int) ([]float64, error) {
	p := comp.ByRole(physics.RoleSize)
	switch {
	case p == nil:
		return nil, nil
	case p.Prior.IsFixed():
		return []float64{p.Prior.Values[0]}, nil
	}
	lo, hi, err := likely(&p.Prior.Prior)
	if err != nil {
		return nil, cfg.Fail(comp.Key(p.Name), "%v", err)
	}
	out := make([]float64, n)
	for k := range out {
		out[k] = lo * math.Pow(hi/lo, float64(k)/float64(n-1))
	}
	return out, nil
}

// likely is the range between about the 5th and 95th percentile of a positive parameter's prior.
func likely(p *physics.Prior) (lo, hi float64, err error) {
	switch p.Family {
	case physics.FamilyNormal:
		lo, hi = p.A-1.6*p.B, p.A+1.6*p.B
	case physics.FamilyUniform:
		lo, hi = p.A+0.05*(p.B-p.A), p.B-0.05*(p.B-p.A)
	case physics.FamilyLogNormal:
		lo, hi = math.Exp(p.A-1.6*p.B), math.Exp(p.A+1.6*p.B)
	default:
		return 0, 0, fmt.Errorf("found the prior %q, expected one of %s, %s, %s", p.Family, physics.FamilyNormal, physics.FamilyUniform, physics.FamilyLogNormal)
	}
	hi = math.Min(hi, p.Hi)
	lo = math.Max(math.Max(lo, p.Lo), hi/20)
	return lo, math.Max(lo, hi), nil
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
	back := newTraceback(s.obs, lens, foreground)
	iota, size, x0, y0 := at[d.comp.KeyOf(physics.RoleAmplitude)], at[d.comp.KeyOf(physics.RoleSize)], at[d.comp.KeyOf(physics.RoleCentreX)], at[d.comp.KeyOf(physics.RoleCentreY)]
	cx, cy := theta[x0], theta[y0]
	simple, x, y, err := s.simpleSource(named, d.prefix) // it stands under the decoder's name
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
			z, peak, err := d.enc.encode(back.image(d.w, d.h, cx, cy, width, guess, s.set.GuessWeight))
			if err != nil {
				if !errors.Is(err, errNoLight) {
					s.leftOut("a source from the encoder", err)
				}
				continue
			}
			latents := d.comp.ByRole(physics.RoleLatent)
			for k, v := range z {
				start[at[d.comp.NameOf(latents, k)]] = v
			}
			start[iota] = peak
		}
		clampToPriors(post, s.cfg, start)
		fitAmplitudes(post, start, s.set.AmplitudeReach, isSource)
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
func (s *sources) simpleSource(named config.Named, prefix string) (light physics.Light, x, y float64, err error) {
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
	if err := light.Set(p); err != nil {
		s.leftOut("the simple source as a guess", err)
		return nil, 0, 0, nil
	}
	if !(amp > 0) {
		return nil, 0, 0, nil
	}
	return light, x, y, nil
}
