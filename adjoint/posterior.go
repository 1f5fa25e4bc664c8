package adjoint

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"

	"lenskit/physics"
)

const deviceReference = "reference"

// Validate checks what can be checked without a model.
func (o Options) Validate() error {
	if o.Threads < 0 {
		return fmt.Errorf("adjoint: options: found %d threads, expected 0 or more", o.Threads)
	}
	return nil
}

// Posterior is the log density of a model given an observation. It serves one goroutine at a time: take a Clone for
// each chain. Points at which the density cannot be computed give an error with a method Recoverable() bool that
// returns true.
type Posterior struct {
	model Model
	obs   Observation
	opt   Options

	// shared by clones, read only
	params  *params
	derived []*derived // of each component, nil for those without a decoder
	noise   *physics.Noise
	like    *likelihood
	grid    *physics.Grid
	notices []string
	lensed  *physics.Inversion // of the first of the clones, whose tables all share; nil where nothing is solved for

	pool    *physics.Pool
	scene   *scene
	chain   *chain
	full    *chain // of every pixel, made when first asked for
	jac     *jacobian
	inv     *inversion // of a model with lights that are solved for, else nil
	theta   []float64
	slope   []float64
	gBuffer []float64

	origin, originSlope []float64 // of LogProbHessFrom

	company *company // with which the networks run together; nil when alone
	member  int

	mapView, relaxedView, samplingView View
}

// New builds the posterior of a model given an observation. Close it to free the decoders' sessions and the threads.
func New(model Model, obs Observation, opt Options) (*Posterior, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if opt.Threads == 0 {
		opt.Threads = runtime.GOMAXPROCS(0)
	}
	obs.PSF.Sampling = max(obs.PSF.Sampling, 1)
	if obs.Supersampling == nil {
		obs.Supersampling = []int{obs.PSF.Sampling}
	}
	if obs.W <= 0 || obs.H <= 0 || len(obs.Data) != obs.W*obs.H {
		return nil, fmt.Errorf("adjoint: observation: found %d pixels, expected %d x %d", len(obs.Data), obs.W, obs.H)
	}
	noise, err := physics.NewNoise(obs.Data, obs.Sigma, obs.Mask)
	if err != nil {
		return nil, fmt.Errorf("adjoint: observation: %w", err)
	}
	p := &Posterior{model: model, obs: obs, opt: opt, noise: noise}
	parts := make([]*built, len(model.Components))
	p.derived = make([]*derived, len(model.Components))
	for i := range model.Components {
		c := &model.Components[i]
		if parts[i], err = c.build(); err != nil {
			return nil, fmt.Errorf("adjoint: model: %s.%s: %w", c.Group, c.Name, err)
		}
		if parts[i].shape != nil {
			if p.derived[i], err = c.network().derive(opt); err != nil {
				return nil, fmt.Errorf("adjoint: model: %s.%s: %w", c.Group, c.Name, err)
			}
		}
	}
	if p.params, err = newParams(&model, parts); err != nil {
		return nil, err
	}
	if p.like, err = newLikelihood(&model, noise, p.params); err != nil {
		return nil, err
	}
	// the PSF's margin decides which rays are needed, and those how large its plane is
	psf, notices, err := physics.NewPSF(obs.PSF, obs.W, obs.H, obs.PixelScale, nil)
	if err != nil {
		return nil, fmt.Errorf("adjoint: observation: %w", err)
	}
	p.notices = notices
	if strings.HasPrefix(opt.Device, "cuda") && !slices.ContainsFunc(parts, func(b *built) bool { return b.shape != nil }) {
		p.notices = append(p.notices, "the model has no network: the device cuda has nothing to do")
	}
	rx, ry := psf.Margin()
	if k, n := obs.PSF.Kernel, obs.PSF.Sampling; k != nil && (k.W > n*obs.W || k.H > n*obs.H) {
		return nil, fmt.Errorf("adjoint: observation: psf: found a kernel of %d x %d pixels, expected at most the image's %d x %d", k.W, k.H, n*obs.W, n*obs.H)
	}
	if p.grid, err = p.newGrid(noise.Used, rx, ry); err != nil {
		return nil, fmt.Errorf("adjoint: observation: %w", err)
	}
	if err := p.open(p.decoder); err != nil {
		return nil, err
	}
	if p.inv != nil {
		p.lensed = p.inv.op
	}
	return p, nil
}

// decoder opens that of a component for the posterior alone.
func (p *Posterior) decoder(component int) (decoder, error) {
	return newDecoder(p.derived[component], p.opt)
}

// open makes what a Posterior does not share with its clones; decoder opens that of a component.
func (p *Posterior) open(decoder func(component int) (decoder, error)) (err error) {
	p.pool = physics.NewPool(p.opt.Threads)
	defer func() {
		if err != nil {
			p.pool.Close()
		}
	}()
	if p.scene, err = newScene(&p.model, p.params, decoder); err != nil {
		return err
	}
	psf, err := p.newPSF(p.grid.Box)
	if err != nil {
		p.scene.close()
		return err
	}
	n := len(p.params.names)
	p.chain = newChain(p.scene, p.grid, psf, p.noise, p.pool, n)
	p.chain.like = p.like
	if p.inv, err = newInversion(p, p.lensed); err != nil {
		p.scene.close()
		return err
	}
	p.chain.inv = p.inv
	p.theta, p.slope, p.gBuffer = make([]float64, n), make([]float64, n), make([]float64, n)
	p.mapView, p.relaxedView, p.samplingView = View{p: p}, View{p: p, relaxed: true}, View{p: p, sampling: true}
	return nil
}

// newGrid lays out the rays of the used pixels and of rx columns and ry rows around them.
func (p *Posterior) newGrid(used []bool, rx, ry int) (*physics.Grid, error) {
	g, err := physics.NewGrid(p.obs.W, p.obs.H, p.obs.PixelScale, used, rx, ry, p.obs.Supersampling)
	if err != nil {
		return nil, err
	}
	return g, g.Refine(p.obs.PSF.Sampling)
}

func (p *Posterior) newPSF(box physics.Box) (physics.PSF, error) {
	psf, _, err := physics.NewPSF(p.obs.PSF, box.W, box.H, p.obs.PixelScale, p.pool)
	if err != nil {
		return nil, fmt.Errorf("adjoint: observation: %w", err)
	}
	return psf, nil
}

// Clone makes a Posterior with buffers, threads and sessions of its own; what is only read is shared. threads is the
// clone's number of threads, 0 the original's.
func (p *Posterior) Clone(threads int) (*Posterior, error) {
	q := p.bare(threads)
	if err := q.open(q.decoder); err != nil {
		return nil, err
	}
	return q, nil
}

// bare is a clone to be opened.
func (p *Posterior) bare(threads int) *Posterior {
	q := &Posterior{model: p.model, obs: p.obs, opt: p.opt, params: p.params, derived: p.derived, noise: p.noise, like: p.like, grid: p.grid, notices: p.notices, lensed: p.lensed}
	if threads > 0 {
		q.opt.Threads = threads
	}
	return q
}

// batchFrom is the number of chains from which the networks of all are faster as one batch than by turns
// (docs/decisions/0006-lookup-for-sampling.md).
const batchFrom = 4

// Clones makes a Posterior for each of n chains, with threads threads between them (0: the original's). Where there are
// batchFrom or more and the networks take batches, those of all chains run as one: then together is true, the chains have
// to run at the same time, and each tells by Join and Leave whether the others are to wait for it.
func (p *Posterior) Clones(n, threads int) (clones []*Posterior, together bool, err error) {
	if threads <= 0 {
		threads = p.opt.Threads
	}
	batches, err := p.batches(n, threads)
	defer func() {
		if err != nil {
			for _, q := range clones {
				q.Close()
			}
			stopAll(batches) // of which some rows have no clone to close them
			clones = nil
		}
	}()
	if err != nil {
		return nil, false, err
	}
	for k := range n {
		q := p.bare(max(1, threads/n))
		open := q.decoder
		if batches != nil {
			open = func(component int) (decoder, error) {
				b := batches[component]
				q.company, q.member = b.company, k
				return &decoderRow{decoderBatch: b, row: k}, nil
			}
		}
		if err := q.open(open); err != nil {
			return clones, false, err
		}
		clones = append(clones, q)
	}
	return clones, batches != nil, nil
}

// batches opens a batch for the network of each component, nil where there is none to be had.
func (p *Posterior) batches(n, threads int) (map[int]*decoderBatch, error) {
	out := map[int]*decoderBatch{}
	if n < batchFrom || p.opt.Device == deviceReference {
		return nil, nil
	}
	opt := p.opt
	opt.Threads = threads
	c := newCompany(n, threads)
	for i, d := range p.derived {
		if d == nil {
			continue
		}
		g := d.batched(n)
		if g == nil {
			stopAll(out)
			return nil, nil
		}
		b, err := newDecoderBatch(d, g, c, opt)
		if err != nil {
			return out, err
		}
		out[i] = b
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// Join makes the posteriors that run together with this one wait for it, Leave lets them go on without: a chain joins
// before its first draw and leaves after its last.
func (p *Posterior) Join() {
	if p.company != nil {
		p.company.join(p.member)
	}
}

// Leave undoes Join.
func (p *Posterior) Leave() {
	if p.company != nil {
		p.company.leave(p.member)
	}
}

// Close frees sessions and threads.
func (p *Posterior) Close() error {
	if p.pool == nil {
		return nil
	}
	p.pool.Close()
	p.pool = nil
	return p.scene.close()
}

// Names lists the named parameters, the fixed ones included. The slice is the Posterior's own.
func (p *Posterior) Names() []string { return p.params.names }

// Params says what each of Names is, in their order. The slice is the Posterior's own.
func (p *Posterior) Params() []Param { return p.params.about }

// Free tells the coordinate of each named parameter, -1 when it is fixed. Latents with a common prior share the
// coordinates of all of them.
func (p *Posterior) Free() []int { return p.params.freeOf }

// Dim is the number of free coordinates.
func (p *Posterior) Dim() int { return p.params.dim }

// Notices say what was changed in the observation, the PSF normalised or centred, which networks run one image at a
// time, and whose images do not follow their latents.
func (p *Posterior) Notices() []string {
	list := slices.Clone(p.notices)
	for i, d := range p.derived {
		// a network whose batch is fixed at 1 mixes nothing
		if d == nil || d.unbound.Inputs[0].Shape[0].Known() {
			continue
		}
		if why := d.alone(); why != nil {
			c := &p.model.Components[i]
			list = append(list, fmt.Sprintf("%s.%s: the network mixes the images of a batch: they run one at a time (%s)", c.Group, c.Name, why))
		}
	}
	for _, name := range p.deafDecoders() {
		list = append(list, name+": the gradient of the decoder by its latents is zero wherever it was tried: the data cannot tell them, and they stay where their prior has them")
	}
	return list
}

// Noise tells which pixels are used, and how many were left out and why.
func (p *Posterior) Noise() *physics.Noise { return p.noise }

// Pixels is the number of pixels compared with data.
func (p *Posterior) Pixels() int { return p.noise.Pixels }

// Theta writes the named parameters at coordinates u to theta. The origin gives each its prior's median. Like U it touches
// no buffer of the Posterior, so that goroutines may share one for these two.
func (p *Posterior) Theta(theta, u []float64) {
	p.params.push(theta, nil, u)
}

// U writes the coordinates of the named parameters theta to u; fixed parameters are not looked at. A value on a bound
// gets a coordinate of ±8; one outside its prior's support is an error that names it.
func (p *Posterior) U(u, theta []float64) error { return p.params.pull(u, theta) }

// View is one of a Posterior's densities over u, as a target of samplers. It shares the Posterior's buffers.
type View struct {
	p                 *Posterior
	sampling, relaxed bool
}

// MAP is the density of the named parameters at θ(u): p(d|θ) p(θ).
func (p *Posterior) MAP() *View { return &p.mapView }

// Relaxed is MAP with −½χ² replaced by −½N(1 + ln(χ²/N)) where χ² exceeds the number of pixels N: the gradient of a bad
// fit is divided by χ²/N, so that far from the maximum the misfit cannot drown the prior. With Student's t, the deviance
// stands in the place of χ², and that of a true model in the place of N. Where a source is solved for the misfit is small
// for most lenses, and Relaxed is MAP.
func (p *Posterior) Relaxed() *View { return &p.relaxedView }

// Chi2 is χ² = Σ ((d − m)/σ)² at the point last evaluated, with the stated σ whatever the likelihood.
func (p *Posterior) Chi2() float64 { return p.chain.fit.chi2 }

// Sampling is the density of u: p(d|θ) p(θ) |dθ/du|, with a standard normal for the prior's share.
func (p *Posterior) Sampling() *View { return &p.samplingView }

// LogProb is that of Sampling.
func (p *Posterior) LogProb(grad, u []float64) (float64, error) {
	return p.samplingView.LogProb(grad, u)
}

// LogProbHess is that of Sampling.
func (p *Posterior) LogProbHess(grad []float64, hess *mat.SymDense, u []float64) (float64, error) {
	return p.samplingView.LogProbHess(grad, hess, u)
}

// Dim is the number of free coordinates.
func (v *View) Dim() int { return v.p.params.dim }

// LogProb returns the log density at u and writes its gradient to grad unless that is nil.
func (v *View) LogProb(grad, u []float64) (float64, error) {
	p := v.p
	if len(u) != p.params.dim || grad != nil && len(grad) != p.params.dim {
		panic("adjoint: LogProb: coordinates of another model")
	}
	ll, err := p.logLikelihood(u, grad != nil)
	if err != nil {
		return 0, err
	}
	factor := 1.0
	if v.relaxed && p.inv == nil {
		ll, factor = p.like.relax(&p.chain.fit)
	}
	if grad != nil {
		p.params.pushAdj(grad, p.chain.gTheta, p.slope)
		if factor != 1 {
			for i := range grad {
				grad[i] *= factor
			}
			if f, slope := p.scaleCoordinate(); f >= 0 {
				grad[f] += slope * p.like.unrelaxed(factor)
			}
		}
	}
	lp := 0.0
	if v.sampling {
		for i, x := range u {
			lp -= 0.5 * x * x
			if grad != nil {
				grad[i] -= x
			}
		}
		lp -= float64(len(u)) * logSqrt2Pi
	} else {
		lp = p.params.logPrior(grad, p.theta, p.slope, u)
	}
	if !finite(ll+lp) || grad != nil && !allFinite(grad) {
		return 0, rejected("log likelihood %g, log prior %g, or their gradient, is not finite", ll, lp)
	}
	return ll + lp, nil
}

// scaleCoordinate is the coordinate of log s, s being the factor of the noise, and d log s/du at the point last
// evaluated; -1 when it is not free.
func (p *Posterior) scaleCoordinate() (free int, slope float64) {
	at := p.like.scaleAt
	if at < 0 || p.params.freeOf[at] < 0 {
		return -1, 0
	}
	return p.params.freeOf[at], p.slope[at] / p.chain.fit.s
}

// logLikelihood evaluates at u; theta and slope are left in p, the gradient by θ in the chain.
func (p *Posterior) logLikelihood(u []float64, grad bool) (float64, error) {
	p.params.push(p.theta, p.slope, u)
	return p.likelihoodOf(p.theta, grad, false)
}

func (p *Posterior) likelihoodOf(theta []float64, grad, all bool) (float64, error) {
	if !allFinite(theta) {
		return 0, rejected("the parameters are not finite")
	}
	if err := p.scene.set(theta); err != nil {
		return 0, err
	}
	fit := &p.chain.fit
	if err := p.like.at(fit, theta); err != nil {
		return 0, err
	}
	p.chain.forward()
	if p.inv != nil {
		if err := p.inv.solve(theta, grad); err != nil {
			return 0, err
		}
	}
	p.chain.misfit(grad)
	ll := fit.value()
	if !finite(ll) {
		return 0, rejected("the log likelihood is %g", ll)
	}
	if grad {
		if err := p.chain.reverse(all); err != nil {
			return 0, err
		}
		p.like.gradient(p.chain.gTheta, fit)
		if p.inv != nil {
			if err := p.inv.gradient(); err != nil {
				return 0, err
			}
		}
	}
	return ll, nil
}

// Evaluation is a Posterior at named parameters.
type Evaluation struct {
	LogLikelihood float64 // with its constants: −½χ² − Σ log(σ√2π) where the noise is Gaussian and as stated
	LogPrior      float64 // of the free parameters by name; -Inf outside the bounds
	Chi2          float64 // Σ ((d − m)/σ)², with the stated σ whatever the likelihood
	Pixels        int
	// Gradients of the log posterior and of the log likelihood by every named parameter, fixed ones included; nil when
	// not asked for.
	Grad, GradLikelihood []float64
}

// LogPosterior is the density of the named parameters, up to the evidence.
func (e *Evaluation) LogPosterior() float64 { return e.LogLikelihood + e.LogPrior }

// Eval evaluates at named parameters, in the order of Names. They may lie outside their priors, and fixed ones may
// differ from where they are fixed.
func (p *Posterior) Eval(theta []float64, grad bool) (Evaluation, error) {
	if len(theta) != len(p.params.names) {
		panic("adjoint: Eval: parameters of another model")
	}
	ll, err := p.likelihoodOf(theta, grad, true)
	if err != nil {
		return Evaluation{}, err
	}
	e := Evaluation{LogLikelihood: ll, Chi2: p.Chi2(), Pixels: p.noise.Pixels}
	if grad {
		e.GradLikelihood = append([]float64(nil), p.chain.gTheta...)
		e.Grad = append([]float64(nil), p.chain.gTheta...)
	}
	e.LogPrior = p.params.logPriorNamed(e.Grad, theta)
	return e, nil
}

// NamedSigma writes to sigma the standard deviations of the named parameters that a covariance of u, at u, stands for;
// fixed ones have 0. It is exact where θ(u) is linear and otherwise to first order.
func (p *Posterior) NamedSigma(sigma []float64, cov mat.Symmetric, u []float64) {
	p.params.push(p.theta, p.slope, u)
	clear(sigma)
	for _, s := range p.params.scalars {
		sigma[s.at] = math.Abs(p.slope[s.at]) * math.Sqrt(math.Max(cov.At(s.free, s.free), 0))
	}
	for _, b := range p.params.blocks {
		n := b.prior.n
		row := make([]float64, n)
		for i := range n {
			clear(row)
			unit := make([]float64, n)
			unit[i] = 1
			b.prior.pushAdj(row, unit) // ∂z_i/∂u
			v := 0.0
			for j := range n {
				for k := range n {
					v += row[j] * cov.At(b.free+j, b.free+k) * row[k]
				}
			}
			sigma[b.at+i] = math.Sqrt(math.Max(v, 0))
		}
	}
}
