package problem

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"lenskit/adjoint"
	"lenskit/onnx/ort"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// Problem is a config with all that it names, ready to be computed.
type Problem struct {
	Config  *config.Config // a copy of its own: default priors of fluxes are scaled to the image
	Obs     *observation.Observation
	Bundles map[string]*config.Bundle // of each decoder, by group.name
	Model   adjoint.Model
	Post    *adjoint.Posterior
	Inputs  []rundir.Input // every file read but the config
	Index   map[string]int

	arcs    *observation.Arcs // where the model has a pixelised source and an image
	notices []string          // of the grids of these
	laidOut []string          // names of those whose grids the config has left out
}

// New reads the files of a config and builds its posterior. Close it. The config itself stays as it is: what the image says of
// its priors, the scale of fluxes and where the light of a bare image's lens is, stands in the problem's Config.
func New(c *config.Config, opt adjoint.Options) (*Problem, error) {
	c = c.Clone()
	obs, err := observation.Read(c)
	if err != nil {
		return nil, err
	}
	observation.ScalePriors(c, obs.Brightness)
	if err := followLight(c, obs); err != nil {
		return nil, err
	}
	p := &Problem{Config: c, Obs: obs, Bundles: map[string]*config.Bundle{}, Inputs: slices.Clone(obs.Inputs)}
	if err := p.preparePixels(); err != nil {
		return nil, err
	}
	for _, comp := range c.Components() {
		if !comp.HasDecoder() {
			continue
		}
		b, err := bundle(c, comp)
		if err != nil {
			return nil, err
		}
		p.Bundles[comp.Group+"."+comp.Name] = b
		if err := checkLatents(c, comp, b); err != nil {
			return nil, err
		}
		for _, in := range b.Inputs {
			p.record(in)
		}
	}
	if p.Model, err = Model(c, p.Bundles); err != nil {
		return nil, err
	}
	if p.Post, err = adjoint.New(p.Model, DataOf(obs), opt); err != nil {
		hint := "lenskit onnx inspect tells what a decoder holds"
		if errors.Is(err, ort.ErrNoLibrary) {
			hint = "lenskit doctor tells where onnxruntime is looked for"
		}
		return nil, term.WithHint(term.BadInput("%s: %w", c.File, err), "%s", hint)
	}
	p.Index = map[string]int{}
	for i, n := range p.Post.Names() {
		p.Index[n] = i
	}
	return p, nil
}

// Marginal is the posterior with what it tells of pixelised sources, nil where the model has none.
func (p *Problem) Marginal() *adjoint.Marginal {
	if !p.Config.HasPixels() {
		return nil
	}
	return &adjoint.Marginal{Posterior: p.Post}
}

// record notes a file that was read.
func (p *Problem) record(in rundir.Input) {
	if !slices.Contains(p.Inputs, in) {
		p.Inputs = append(p.Inputs, in)
	}
}

// Close frees the posterior.
func (p *Problem) Close() error { return p.Post.Close() }

// Notices are what was found amiss in the input and what was made of it.
func (p *Problem) Notices() []string {
	list := slices.Concat(p.Obs.Notices, p.notices, p.Post.Notices())
	for i, n := range list {
		list[i] = term.Plain(n)
	}
	return list
}

// bundle loads the bundle of a decoder.
func bundle(c *config.Config, comp *config.Component) (*config.Bundle, error) {
	path := comp.Model
	if path != "" {
		path = c.Path(path)
	}
	b, err := config.LoadBundle(path)
	if err != nil {
		key := comp.Key("model")
		if comp.Pixels.Decoder {
			key = comp.Key("envelope.model")
		}
		return nil, observation.WithPlace(c, key, err)
	}
	return b, nil
}

// checkLatents tells whether the lists of values for the latents of a decoder have its length.
func checkLatents(c *config.Config, comp *config.Component, b *config.Bundle) error {
	for i := range comp.Params {
		p := &comp.Params[i]
		if !p.Vector {
			continue
		}
		for what, v := range map[string][]float64{"fixed": p.Prior.Values, "truth": p.Prior.Truth, "init": p.Prior.Init} {
			if len(v) > 1 && len(v) != b.Latents || v != nil && len(v) == 0 {
				return c.Fail(comp.Key(p.Name), "%s has %d values, expected %d, the latents of %s", what, len(v), b.Latents, b.Path)
			}
		}
	}
	return nil
}

// DataOf is the observation as the posterior takes it.
func DataOf(o *observation.Observation) adjoint.Observation {
	return adjoint.Observation{W: o.W, H: o.H, PixelScale: o.Scale, Data: o.Data, Sigma: o.Sigma, Mask: o.Mask, PSF: o.PSF, Supersampling: o.Rays}
}

// Model is the config's model with the decoders of the bundles.
func Model(c *config.Config, bundles map[string]*config.Bundle) (adjoint.Model, error) {
	m := adjoint.Model{Cosmology: c.Cosmology}
	for _, comp := range c.Components() {
		a := adjoint.Component{Group: comp.Group, Name: comp.Name, Kind: comp.Type, Redshift: comp.Redshift, Priors: map[string]adjoint.Prior{}}
		b := bundles[comp.Group+"."+comp.Name]
		if b != nil {
			a.Decoder = &adjoint.DecoderSpec{File: b.Path, Graph: b.Decoder, Interpolation: comp.Interpolation}
		}
		if comp.Type == config.TypePixels {
			a.Kind, a.Pixelised, a.Decoder = adjoint.KindPixelised, pixelised(comp, a.Decoder), nil
		}
		a.Amplitudes = adjoint.Amplitudes(comp.Amplitudes)
		for i := range comp.Params {
			q := &comp.Params[i]
			if q.Prior.Family == "" { // an amplitude that is solved for
				continue
			}
			prior, err := priorOf(&q.Prior, b)
			if err != nil {
				return m, c.Fail(comp.Key(q.Name), "%v", err)
			}
			a.Priors[q.Name] = prior
		}
		m.Components = append(m.Components, a)
	}
	for _, l := range c.Scalars() {
		prior, err := priorOf(l.Prior, nil)
		if err != nil {
			return m, c.Fail(l.Key, "%v", err)
		}
		if l.Role == physics.RoleSky {
			m.Sky = &prior
		} else {
			m.NoiseScale = &prior
		}
	}
	m.StudentT = c.StudentT
	return m, nil
}

// priorOf is the prior as the posterior takes it; b is the decoder's bundle, if it is one's.
func priorOf(p *config.Prior, b *config.Bundle) (physics.Prior, error) {
	switch p.Family {
	case physics.FamilyFixed:
		if b == nil && len(p.Values) != 1 || b != nil && len(p.Values) != 1 && len(p.Values) != b.Latents {
			return p.Prior, fmt.Errorf("found %d fixed values, expected one for each parameter", len(p.Values))
		}
	case physics.FamilyDecoder:
		if !math.IsInf(p.Lo, -1) || !math.IsInf(p.Hi, 1) {
			return p.Prior, fmt.Errorf("found bounds beside the bundle's prior, expected none")
		}
		return physics.Multivariate(b.Mean, b.Cov, p.A), nil
	}
	return p.Prior, nil
}

// Start are the named parameters that a config and P.json state: the value in named, else truth, init or the prior's
// centre. path is P.json's, for messages.
func (p *Problem) Start(path string, named config.Named) ([]float64, error) {
	names := p.Post.Names()
	if err := config.CheckNames(path, named, func(n string) bool { _, ok := p.Index[n]; return ok }, names); err != nil {
		return nil, err
	}
	theta := make([]float64, len(names))
	for _, comp := range p.Config.Components() {
		count, mean := 0, []float64(nil)
		if b := p.Bundles[comp.Group+"."+comp.Name]; b != nil {
			count, mean = b.Latents, b.Mean
		}
		for i := range comp.Params {
			q := &comp.Params[i]
			v, err := comp.Values(q, count, mean, named)
			if err != nil {
				return nil, err
			}
			for k, x := range v {
				theta[p.Index[comp.NameOf(q, k)]] = x
			}
		}
	}
	for _, l := range p.Config.Scalars() {
		i := p.Index[l.Name]
		if err := l.Prior.Start(theta[i:i+1], nil); err != nil {
			return nil, term.BadInput("%s: %w", l.Key, err)
		}
		if v, ok := named[l.Name]; ok {
			theta[i] = v
		}
	}
	return theta, nil
}

// NamesOf are the names of a parameter of a component: one, or one for each latent.
func (p *Problem) NamesOf(comp *config.Component, q *config.Param) []string {
	names := make([]string, 1)
	if b := p.Bundles[comp.Group+"."+comp.Name]; b != nil && q.Vector {
		names = make([]string, b.Latents)
	}
	for k := range names {
		names[k] = comp.NameOf(q, k)
	}
	return names
}

// Stated are the parameters to which the config gives a truth.
func (p *Problem) Stated() map[string]bool {
	out := map[string]bool{}
	for _, comp := range p.Config.Components() {
		for i := range comp.Params {
			q := &comp.Params[i]
			if q.Prior.Truth == nil {
				continue
			}
			for _, name := range p.NamesOf(comp, q) {
				out[name] = true
			}
		}
	}
	for _, l := range p.Config.Scalars() {
		out[l.Name] = l.Prior.Truth != nil
	}
	return out
}

// SetTruth writes theta as the truth of every parameter of the config.
func (p *Problem) SetTruth(theta []float64) {
	for _, comp := range p.Config.Components() {
		for i := range comp.Params {
			q := &comp.Params[i]
			names := p.NamesOf(comp, q)
			q.Prior.Truth = make([]float64, len(names))
			for k, name := range names {
				q.Prior.Truth[k] = theta[p.Index[name]]
			}
			q.Prior.Init = nil
		}
	}
	for _, l := range p.Config.Scalars() {
		l.Prior.Truth, l.Prior.Init = []float64{theta[p.Index[l.Name]]}, nil
	}
}

// Scalar is the value of the parameter of a role that belongs to no component among named parameters theta, and whether the model
// has one.
func (p *Problem) Scalar(role physics.Role, theta []float64) (v float64, ok bool) {
	i := slices.IndexFunc(p.Post.Params(), func(q adjoint.Param) bool { return q.Role == role })
	if i < 0 {
		return 0, false
	}
	return theta[i], true
}

// Named gives values their names, in the order of the model.
func (p *Problem) Named(values []float64) term.OrderedValues {
	return term.OrderedValues{Names: p.Post.Names(), Values: values}
}

// Latents are the names of the latents of all decoders.
func (p *Problem) Latents() map[string]bool {
	out := map[string]bool{}
	for _, q := range p.Post.Params() {
		if q.Role == physics.RoleLatent {
			out[q.Name] = true
		}
	}
	return out
}

func (p *Problem) meanRays() float64 {
	sum := 0.0
	for k := range p.Obs.Data {
		n := float64(p.Obs.Rays[min(k, len(p.Obs.Rays)-1)])
		sum += n * n
	}
	return sum / float64(len(p.Obs.Data))
}
