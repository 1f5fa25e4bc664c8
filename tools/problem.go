package tools

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"lenskit/adjoint"
	"lenskit/onnx"
)

// problem is a config with all that it names, ready to be computed.
type problem struct {
	Config  *config // fluxes of default priors scaled to the image
	Obs     *observation
	Bundles map[string]*bundle // of each decoder, by group.name
	Model   adjoint.Model
	Post    *adjoint.Posterior
	Inputs  []input // every file read but the config
	index   map[string]int
}

// newProblem reads the files of a config and builds its posterior. Close it.
func newProblem(c *config, opt adjoint.Options) (*problem, error) {
	obs, err := c.observe()
	if err != nil {
		return nil, err
	}
	c.scalePriors(obs.Brightness)
	if err := c.followLight(obs); err != nil {
		return nil, err
	}
	p := &problem{Config: c, Obs: obs, Bundles: map[string]*bundle{}, Inputs: slices.Clone(obs.Inputs)}
	for _, comp := range c.components() {
		if comp.Type != "decoder" {
			continue
		}
		b, err := c.bundle(comp)
		if err != nil {
			return nil, err
		}
		p.Bundles[comp.Group+"."+comp.Name] = b
		if err := c.checkLatents(comp, b); err != nil {
			return nil, err
		}
		for _, in := range b.Inputs {
			if !slices.Contains(p.Inputs, in) {
				p.Inputs = append(p.Inputs, in)
			}
		}
	}
	if p.Model, err = c.model(p.Bundles); err != nil {
		return nil, err
	}
	if p.Post, err = adjoint.New(p.Model, obs.adjoint(), opt); err != nil {
		hint := "lenskit onnx inspect tells what a decoder holds"
		if errors.Is(err, onnx.ErrNoLibrary) {
			hint = "lenskit doctor tells where onnxruntime is looked for"
		}
		return nil, withHint(badInput("%s: %w", c.file, err), "%s", hint)
	}
	p.index = map[string]int{}
	for i, n := range p.Post.Names() {
		p.index[n] = i
	}
	return p, nil
}

// Close frees the posterior.
func (p *problem) Close() error { return p.Post.Close() }

// notices are what was found amiss in the input and what was made of it.
func (p *problem) notices() []string {
	list := append(slices.Clone(p.Obs.Notices), p.Post.Notices()...)
	for i, n := range list {
		list[i] = plain(n)
	}
	return list
}

// bundle loads the bundle of a decoder.
func (c *config) bundle(comp *component) (*bundle, error) {
	path := comp.Model
	if path != "" {
		path = c.path(path)
	}
	b, err := loadBundle(path)
	if err != nil {
		return nil, withPlace(c, comp.key("model"), err)
	}
	return b, nil
}

// checkLatents tells whether the lists of values for the latents of a decoder have its length.
func (c *config) checkLatents(comp *component, b *bundle) error {
	for i := range comp.Params {
		p := &comp.Params[i]
		if !p.Vector {
			continue
		}
		for what, v := range map[string][]float64{"fixed": p.Prior.Fixed, "truth": p.Prior.Truth, "init": p.Prior.Init} {
			if len(v) > 1 && len(v) != b.Latents || v != nil && len(v) == 0 {
				return c.fail(comp.key(p.Name), "%s has %d values, expected %d, the latents of %s", what, len(v), b.Latents, b.Path)
			}
		}
	}
	return nil
}

// adjoint is the observation as the posterior takes it.
func (o *observation) adjoint() adjoint.Observation {
	return adjoint.Observation{W: o.W, H: o.H, PixelScale: o.Scale, Data: o.Data, Sigma: o.Sigma, Mask: o.Mask, PSF: o.PSF, Supersampling: o.Rays}
}

// model is the config's model with the decoders of the bundles.
func (c *config) model(bundles map[string]*bundle) (adjoint.Model, error) {
	m := adjoint.Model{Cosmology: c.Cosmology}
	for _, comp := range c.components() {
		a := adjoint.Component{Group: comp.Group, Name: comp.Name, Kind: comp.Type, Redshift: comp.Redshift, Priors: map[string]adjoint.Prior{}}
		b := bundles[comp.Group+"."+comp.Name]
		if b != nil {
			a.Decoder = &adjoint.DecoderSpec{File: b.Path, Graph: b.Decoder, Interpolation: comp.Interpolation}
		}
		for i := range comp.Params {
			q := &comp.Params[i]
			prior, err := q.Prior.adjoint(b)
			if err != nil {
				return m, c.fail(comp.key(q.Name), "%v", err)
			}
			a.Priors[q.Name] = prior
		}
		m.Components = append(m.Components, a)
	}
	for _, l := range c.lone() {
		prior, err := l.prior.adjoint(nil)
		if err != nil {
			return m, c.fail(l.key, "%v", err)
		}
		if l.prior == c.Sky {
			m.Sky = &prior
		} else {
			m.NoiseScale = &prior
		}
	}
	m.StudentT = c.StudentT
	return m, nil
}

// adjoint is the prior as the posterior takes it; b is the decoder's bundle, if it is one's.
func (p *prior) adjoint(b *bundle) (adjoint.Prior, error) {
	var a adjoint.Prior
	switch p.Kind {
	case priorNormal:
		a = adjoint.Normal(p.A, p.B)
	case priorUniform:
		a = adjoint.Uniform(p.A, p.B)
	case priorLognormal:
		a = adjoint.LogNormal(p.A, p.B)
	case priorFixed:
		if b == nil && len(p.Fixed) != 1 || b != nil && len(p.Fixed) != 1 && len(p.Fixed) != b.Latents {
			return a, fmt.Errorf("found %d fixed values, expected one for each parameter", len(p.Fixed))
		}
		return adjoint.Fixed(p.Fixed...), nil
	case priorBundle:
		if !math.IsInf(p.Lo, -1) || !math.IsInf(p.Hi, 1) {
			return a, fmt.Errorf("found bounds beside the bundle's prior, expected none")
		}
		return adjoint.Multivariate(b.Mean, b.Cov, p.A), nil
	}
	if !math.IsInf(p.Lo, -1) || !math.IsInf(p.Hi, 1) {
		a = a.Bounded(p.Lo, p.Hi)
	}
	return a, nil
}

// start are the named parameters that a config and P.json state: the value in named, else truth, init or the prior's
// centre. path is P.json's, for messages.
func (p *problem) start(path string, named namedValues) ([]float64, error) {
	names := p.Post.Names()
	if err := checkNames(path, named, func(n string) bool { _, ok := p.index[n]; return ok }, names); err != nil {
		return nil, err
	}
	theta := make([]float64, len(names))
	for _, comp := range p.Config.components() {
		count, mean := 0, []float64(nil)
		if b := p.Bundles[comp.Group+"."+comp.Name]; b != nil {
			count, mean = b.Latents, b.Mean
		}
		for i := range comp.Params {
			q := &comp.Params[i]
			v, err := comp.values(q, count, mean, named)
			if err != nil {
				return nil, err
			}
			for k, x := range v {
				theta[p.index[comp.nameOf(q, k)]] = x
			}
		}
	}
	for _, l := range p.Config.lone() {
		i := p.index[l.name]
		if err := l.prior.start(theta[i:i+1], nil); err != nil {
			return nil, badInput("%s: %w", l.key, err)
		}
		if v, ok := named[l.name]; ok {
			theta[i] = v
		}
	}
	return theta, nil
}

// namesOf are the names of a parameter of a component: one, or one for each latent.
func (p *problem) namesOf(comp *component, q *param) []string {
	names := make([]string, 1)
	if b := p.Bundles[comp.Group+"."+comp.Name]; b != nil && q.Vector {
		names = make([]string, b.Latents)
	}
	for k := range names {
		names[k] = comp.nameOf(q, k)
	}
	return names
}

// stated are the parameters to which the config gives a truth.
func (p *problem) stated() map[string]bool {
	out := map[string]bool{}
	for _, comp := range p.Config.components() {
		for i := range comp.Params {
			q := &comp.Params[i]
			if q.Prior.Truth == nil {
				continue
			}
			for _, name := range p.namesOf(comp, q) {
				out[name] = true
			}
		}
	}
	for _, l := range p.Config.lone() {
		out[l.name] = l.prior.Truth != nil
	}
	return out
}

// setTruth writes theta as the truth of every parameter of the config.
func (p *problem) setTruth(theta []float64) {
	for _, comp := range p.Config.components() {
		for i := range comp.Params {
			q := &comp.Params[i]
			names := p.namesOf(comp, q)
			q.Prior.Truth = make([]float64, len(names))
			for k, name := range names {
				q.Prior.Truth[k] = theta[p.index[name]]
			}
			q.Prior.Init = nil
		}
	}
	for _, l := range p.Config.lone() {
		l.prior.Truth, l.prior.Init = []float64{theta[p.index[l.name]]}, nil
	}
}

// named gives values their names, in the order of the model.
func (p *problem) named(values []float64) orderedValues {
	return orderedValues{p.Post.Names(), values}
}
