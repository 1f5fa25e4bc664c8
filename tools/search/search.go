package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"
	"lenskit/adjoint"
	"lenskit/internal/task"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
	"lenskit/tools/problem"
)

// Check holds the options against their limits; place is where one of them stands, for messages.
func (o Options) Check(place func(name string) string) error {
	switch {
	case !slices.Contains([]string{"lm", "adam"}, o.Optimizer):
		return term.BadInput("%s: found %q, expected lm or adam", place("Optimizer"), o.Optimizer)
	case o.Iterations < 0 || o.Iterations > 1e8:
		return term.BadInput("%s: found %d, expected 0 to 100000000", place("Iterations"), o.Iterations)
	case o.Starts < 0 || o.Starts > 1e5:
		return term.BadInput("%s: found %d, expected 0 to 100000", place("Starts"), o.Starts)
	}
	return nil
}

// Failure gives an error of the search its exit code: a model that cannot be computed is a numerical failure.
func Failure(err error) error {
	var f *term.Failure
	var r interface{ Recoverable() bool }
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, samplers.ErrRecoverable) || errors.As(err, &r) && r.Recoverable() {
		return term.Numerical("%w", err)
	}
	return err
}

// OffBounds is a curvature in which a coordinate without any, as one has whose parameter sits on its bound, is apart from the
// others and as wide as its prior: it must not take the errors of the others with it.
func OffBounds(hess *mat.SymDense) *mat.SymDense {
	h := mat.NewSymDense(hess.SymmetricDim(), nil)
	h.CopySym(hess)
	for i := range h.SymmetricDim() {
		if h.At(i, i) > leastCurvature {
			continue
		}
		for j := range h.SymmetricDim() {
			h.SetSym(i, j, 0)
		}
		h.SetSym(i, i, 1)
	}
	return h
}

// BoundSigma is the share of its value below which the uncertainty of a parameter is no measurement: it sits on a bound.
const BoundSigma = 1e-9

// leastCurvature of a coordinate, whose prior has about 1 within its bounds.
const leastCurvature = 1e-9

// The stages of the search for the maximum a posteriori, and their budgets. See docs/decisions/0005.
const (
	coarseSide  = 64  // pixels along a side of the first stage
	middleSide  = 128 // of the second
	sketchSteps = 12  // Levenberg-Marquardt steps of every start
	coarseSteps = 30  // of the starts kept
	sourceSteps = 8   // of a source below a fixed lens
	jointSteps  = 25
	polishSteps = 400 // Adam steps in coordinates whitened by the curvature
	polishRate  = 0.3
	maxBasins   = 2
	sameBasin   = 0.05 // arcsec between the deflections of two ends of the first stage that count as one
	otherLens   = 0.02 // arcsec between those of two solutions that count as different
)

// Options steer the search.
type Options struct {
	Optimizer  string // "lm" (the default) or "adam", the paper's way
	Iterations int    // steps of the last stage; 0: the optimizer's default
	Starts     int    // draws from the priors; 0: 32
	Seed       uint64
}

func (o Options) Defaults() Options {
	if o.Optimizer == "" {
		o.Optimizer = "lm"
	}
	if o.Starts == 0 {
		o.Starts = 32
	}
	if o.Iterations == 0 {
		o.Iterations = map[string]int{"lm": 40, "adam": 10000}[o.Optimizer]
	}
	return o
}

// State is what a search tells while it runs.
type State struct {
	Stage        string
	Step, Steps  int
	Budget       bool    // Steps is the most it may take
	LogPosterior float64 // of the best point of the climb
	ReducedChi2  float64 // of the same; 0: not known
	Evaluations  int
}

// TellOn reports on pr what a search tells: each of its stages is one of the progress.
func TellOn(pr *term.Progress) func(State) {
	return func(s State) {
		if s.Stage != pr.Name {
			pr.Stage(s.Stage, s.Steps)
		}
		pr.Total, pr.Budget = s.Steps, s.Budget
		st := term.ProgressState{Step: s.Step, LogPost: s.LogPosterior, ReducedChi2: s.ReducedChi2, Evaluations: s.Evaluations}
		if s.ReducedChi2 == 0 {
			st.ReducedChi2 = math.NaN()
		}
		pr.Step(st)
	}
}

// Search finds the maximum a posteriori of a config's model without a start given by hand: simple sources on a small
// image from draws of the priors, then the decoder below the best lenses, then everything at full size.
type Search struct {
	Problem *problem.Problem
	Options Options
	Compute adjoint.Options // how posteriors are computed
	Tell    func(State)
	Saved   *Record
	Save    func() error // writes saved, or not when that was done a moment ago; called after each step

	free config.Named // the lens of the best evidence with a free source, where the lens shines

	label string // of the stage told, a group of climbs
	steps int    // how many steps the group has, or at most has
	most  bool   // the latter
	taken int    // by the climbs of the group that are done

	mu sync.Mutex
}

// Record is what a search needs to go on: the ends of the stages that are done and the state of the one at work.
type Record struct {
	Done        map[string]*StageEnd
	Task        string
	LM          *samplers.LMState   `json:",omitempty"`
	Adam        *samplers.AdamState `json:",omitempty"`
	Counted     int                 `json:",omitempty"` // of the evaluations of that state, those in Evaluations
	Evaluations int
	Iterations  int
	Seconds     float64
}

// StageEnd is the end of one climb.
type StageEnd struct {
	U       []float64
	LogProb float64
	Gain    float64 // what a full Newton step still promises
	Status  samplers.Status
	Reason  string
}

// Result is a maximum and what is to be thought of it.
type Result struct {
	U           []float64 // coordinates of the problem's posterior
	LogProb     float64   // log posterior of the named parameters
	Hess        *mat.SymDense
	Starts      []float64 // log posterior at which each start of the first stage ended
	Evaluations int
	Iterations  int
	Lensed      *Lensed  // of models in which the lens shines, too
	Doubts      []string // why the maximum is not to be trusted, the weightiest first; none when it is
	GivenUp     bool     // the first of these leaves nothing more to be said
}

// Find searches. When ctx is cancelled it returns ctx's error, and the record holds what is needed to go on.
func (s *Search) Find(ctx context.Context) (*Result, error) {
	s.Options = s.Options.Defaults()
	if s.Saved.Done == nil {
		s.Saved.Done = map[string]*StageEnd{}
	}
	given, err := s.given()
	if err != nil {
		return nil, err
	}
	why, err := hopeless(s.Problem)
	if err != nil {
		return nil, err
	}
	var res *Result
	switch {
	case why != "":
		res, err = s.giveUp(ctx, given, why)
	case given != nil:
		start := &StageEnd{U: given}
		res, err = s.Settle(ctx, s.Problem.Post, s.Problem.Post, []*StageEnd{start}, start)
	default:
		if res, err = s.blind(ctx); errors.Is(err, errNoArcs) {
			res, err = s.giveUp(ctx, nil, errNoArcs.Error())
		}
	}
	if err != nil {
		return nil, err
	}
	res.Evaluations, res.Iterations = s.Saved.Evaluations, s.Saved.Iterations
	return res, nil
}

// blind searches from draws of the priors.
func (s *Search) blind(ctx context.Context) (*Result, error) {
	basins, starts, err := s.coarse(ctx)
	if err != nil {
		return nil, err
	}
	res, err := s.refine(ctx, s.Problem.Post, basins)
	if err != nil {
		return nil, err
	}
	res.Starts = starts
	return res, nil
}

// posterior builds the posterior of a variant of the config on a variant of the observation.
func (s *Search) posterior(cfg *config.Config, obs *observation.Observation, threads int) (*adjoint.Posterior, error) {
	m, err := problem.Model(cfg, s.Problem.Bundles)
	if err != nil {
		return nil, err
	}
	opt := s.Compute
	opt.Threads = threads
	return adjoint.New(m, problem.DataOf(obs), opt)
}

// basin is a lens that explains the image with a simple source.
type basin struct {
	theta    config.Named // of the simple model
	logProb  float64
	multiple bool // the brightest point of its free source is seen more than once
}

// coarse climbs from draws of the priors on a small image with simple sources, and returns the best ends that differ.
func (s *Search) coarse(ctx context.Context) ([]basin, []float64, error) {
	obs := s.Problem.Obs
	if hasLensLight(s.Problem.Config) {
		return s.staged(ctx)
	}
	return s.scan(ctx, scanOptions{
		cfg: simplified(s.Problem.Config, obs.Brightness), obs: obs.Coarsen(obs.Binning(coarseSide)),
		starts: s.Options.Starts, basins: maxBasins, fall: 0.4,
	})
}

// scanOptions say what is climbed from draws of the priors.
type scanOptions struct {
	cfg    *config.Config
	obs    *observation.Observation
	starts int
	basins int     // ends that are kept, at most
	fall   float64 // of ½ log χ² from the best end, down to which others are kept
	even   bool    // Einstein radii are not drawn, but spread evenly over their prior
}

// scan climbs from draws of the priors, and returns the best ends whose lenses differ.
func (s *Search) scan(ctx context.Context, o scanOptions) ([]basin, []float64, error) {
	workers := min(s.threads(), o.starts)
	posts := make([]*adjoint.Posterior, workers)
	for i := range posts {
		p, err := s.posterior(o.cfg, o.obs, 1)
		if err != nil {
			return nil, nil, err
		}
		defer p.Close()
		posts[i] = p
	}
	first := posts[0]
	s.group("starts", o.starts)
	ends := make([]*StageEnd, o.starts)
	done := 0
	climb := func(p *adjoint.Posterior, i, steps int, key string, from []float64) error {
		end, err := s.lmAlone(ctx, key, p, p.Relaxed(), from, steps)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		ends[i] = end
		done++
		best := math.Inf(-1)
		for _, e := range ends {
			if e != nil {
				best = math.Max(best, e.LogProb)
			}
		}
		s.report(State{Step: done, LogPosterior: best})
		return s.Save()
	}
	all := make([]int, o.starts)
	for i := range all {
		all[i] = i
	}
	err := sideBySide(ctx, workers, len(all), func(w, i int) error {
		p := posts[w]
		u, err := s.draw(p, &o, i)
		if err != nil {
			return err
		}
		return climb(p, i, sketchSteps, fmt.Sprintf("start %d", i), u)
	})
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	if best := ends[all[0]]; best.LogProb == -math.MaxFloat64 {
		return nil, nil, term.Numerical("none of %d starts can be computed: %s", o.starts, best.Reason)
	}
	kept := all[:(len(all)+2)/3]
	done = o.starts - len(kept)
	err = sideBySide(ctx, workers, len(kept), func(w, k int) error {
		i := kept[k]
		return climb(posts[w], i, coarseSteps, fmt.Sprintf("start %d kept", i), ends[i].U)
	})
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	starts := make([]float64, len(ends))
	for i, e := range ends {
		starts[i] = e.LogProb
	}
	var near []basin
	half := 0.5 * float64(first.Pixels())
	for _, i := range all {
		// LogProb falls by half·log(χ²) as χ² rises: 0.4 is a χ² half as large again
		if e := ends[i]; e.LogProb >= ends[all[0]].LogProb-o.fall*half {
			near = append(near, basin{theta: namedTheta(first, e.U), logProb: e.LogProb})
		}
	}
	out, err := s.distinct(near)
	if err != nil {
		return nil, nil, err
	}
	return out[:min(o.basins, len(out))], starts, nil
}

// threads is how many climbs may run side by side.
func (s *Search) threads() int {
	if s.Compute.Threads > 0 {
		return s.Compute.Threads
	}
	return runtime.GOMAXPROCS(0)
}

// sideBySide calls climb for each i below n, from so many workers at once.
func sideBySide(ctx context.Context, workers, n int, climb func(worker, i int) error) error {
	jobs := make(chan int, n)
	for i := range n {
		jobs <- i
	}
	close(jobs)
	errs := make([]error, workers)
	var g task.Group
	for w := range workers {
		g.Go(func() {
			for i := range jobs {
				if errs[w] != nil || ctx.Err() != nil {
					continue
				}
				errs[w] = climb(w, i)
			}
		})
	}
	g.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// given are the coordinates of the start that the config itself states, nil unless every free parameter has an init;
// amplitudes may lack it, they are fitted.
func (s *Search) given() ([]float64, error) {
	post, cfg := s.Problem.Post, s.Problem.Config
	theta := LaidOut(post)
	lacking := map[string]bool{}
	set := func(pr *config.Prior, role physics.Role, names ...string) bool {
		switch {
		case pr.Kind == config.PriorFixed:
		case pr.Init == nil:
			lacking[names[0]] = true
			return role.IsAmplitude()
		default:
			for k, name := range names {
				theta[s.Problem.Index[name]] = pr.Init[min(k, len(pr.Init)-1)]
			}
		}
		return true
	}
	for _, c := range cfg.Components() {
		for i := range c.Params {
			q := &c.Params[i]
			if !set(&q.Prior, q.Role, s.Problem.NamesOf(c, q)...) {
				return nil, nil
			}
		}
	}
	if cfg.Sky != nil && !set(cfg.Sky, physics.RoleSky, "sky") || len(lacking) == post.Dim() {
		return nil, nil
	}
	if err := post.U(make([]float64, post.Dim()), theta); err != nil {
		return nil, term.BadInput("%s: init: %v", cfg.File, err)
	}
	fitAmplitudes(post, theta, func(q *adjoint.Param) bool { return lacking[q.Name] })
	return coordinates(post, theta)
}

// isEinsteinRadius tells whether a parameter is the Einstein radius of a galaxy's mass profile.
func isEinsteinRadius(q *adjoint.Param) bool { return q.Role == physics.RoleEinsteinRadius }

// draw makes start i: a draw from the priors, parameters with an init at it for the first, and amplitudes fitted.
func (s *Search) draw(p *adjoint.Posterior, o *scanOptions, i int) ([]float64, error) {
	cfg := o.cfg
	rng := rand.New(rand.NewPCG(s.Options.Seed, uint64(i)))
	u := make([]float64, p.Dim())
	for k := range u {
		u[k] = math.Max(-2, math.Min(2, rng.NormFloat64()))
	}
	if o.even {
		for k := range p.Params() {
			if f := p.Free()[k]; f >= 0 && isEinsteinRadius(&p.Params()[k]) {
				u[f] = distuv.UnitNormal.Quantile((float64(i) + 0.5) / float64(o.starts))
			}
		}
	}
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, u)
	if i == 0 {
		set := map[string]float64{}
		for _, c := range cfg.Components() {
			for k := range c.Params {
				if v := c.Params[k].Prior.Init; len(v) == 1 && !c.Params[k].Vector {
					set[c.Key(c.Params[k].Name)] = v[0]
				}
			}
		}
		for k, name := range p.Names() {
			if v, ok := set[name]; ok {
				theta[k] = v
			}
		}
		if err := p.U(u, theta); err != nil {
			return nil, term.BadInput("%s: init: %v", cfg.File, err)
		}
	}
	fitAmplitudes(p, theta, nil)
	return coordinates(p, theta)
}

// fitAmplitudes sets the free amplitudes (of profiles, decoders and the sky) among theta to their least-squares values,
// where these lie within the priors. only, unless nil, selects among them.
func fitAmplitudes(p *adjoint.Posterior, theta []float64, only func(q *adjoint.Param) bool) {
	var which []int
	for k := range p.Params() {
		if q := &p.Params()[k]; p.Free()[k] >= 0 && q.Role.IsAmplitude() && (only == nil || only(q)) {
			which = append(which, k)
		}
	}
	noise := p.Noise()
	n := len(noise.Data)
	zero := append([]float64(nil), theta...)
	for _, k := range which {
		zero[k] = 0
	}
	base := make([]float64, n)
	if len(which) == 0 || p.ModelImage(base, zero) != nil {
		return
	}
	cols := make([][]float64, len(which))
	for c, k := range which {
		one := append([]float64(nil), zero...)
		one[k] = 1
		cols[c] = make([]float64, n)
		if p.ModelImage(cols[c], one) != nil {
			return
		}
		for i := range cols[c] {
			cols[c][i] = (cols[c][i] - base[i]) * noise.Weight[i]
		}
	}
	a := mat.NewSymDense(len(which), nil)
	b := mat.NewVecDense(len(which), nil)
	for c := range cols {
		for d := c; d < len(cols); d++ {
			v := 0.0
			for i, x := range cols[c] {
				v += x * cols[d][i]
			}
			if c == d {
				v = v*(1+1e-9) + 1e-300
			}
			a.SetSym(c, d, v)
		}
		v := 0.0
		for i, x := range cols[c] {
			v += x * (noise.Data[i] - base[i]) * noise.Weight[i]
		}
		b.SetVec(c, v)
	}
	if slices.ContainsFunc(which, func(k int) bool { return p.Params()[k].Role == physics.RoleTermAmplitude }) {
		positiveAmplitudes(p, theta, which, a, b)
		return
	}
	var chol mat.Cholesky
	var x mat.VecDense
	if !chol.Factorize(a) || chol.SolveVecTo(&x, b) != nil {
		return
	}
	old := append([]float64(nil), theta...)
	u := make([]float64, p.Dim())
	for c, k := range which {
		theta[k] = x.AtVec(c)
		// beyond 2.5 sigma of its prior an amplitude is no help: the start's shape is wrong
		if p.U(u, theta) != nil || math.Abs(u[p.Free()[k]]) > 2.5 {
			theta[k] = old[k]
		}
	}
}

// positiveAmplitudes sets amplitudes, those of expansions among them, to the best that are not negative. Those that end at
// zero are set to what their priors hold least likely.
func positiveAmplitudes(p *adjoint.Posterior, theta []float64, which []int, a *mat.SymDense, b *mat.VecDense) {
	x, free := make([]float64, len(which)), -1
	for c, k := range which {
		if p.Params()[k].Role == physics.RoleSky {
			free = c
		}
	}
	observation.NonNegative(x, a, b, free)
	least := make([]float64, len(theta))
	u := make([]float64, p.Dim())
	for i := range u {
		u[i] = -3
	}
	p.Theta(least, u)
	for c, k := range which {
		if theta[k] = x[c]; c != free {
			theta[k] = math.Max(x[c], least[k])
		}
	}
}

// coordinates are those of theta, at most 5 from the origin so that no search starts on a bound.
func coordinates(p *adjoint.Posterior, theta []float64) ([]float64, error) {
	u := make([]float64, p.Dim())
	if err := p.U(u, theta); err != nil {
		return nil, err
	}
	for k, v := range u {
		u[k] = math.Max(-5, math.Min(5, v))
	}
	return u, nil
}

// namedTheta is the named parameters at coordinates u.
func namedTheta(p *adjoint.Posterior, u []float64) config.Named {
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, u)
	out := config.Named{}
	for k, name := range p.Names() {
		out[name] = theta[k]
	}
	return out
}

// LaidOut is the parameters of a posterior as the first of named that has them says; the others, and those that are fixed,
// stand at the origin.
func LaidOut(p *adjoint.Posterior, named ...config.Named) []float64 {
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, make([]float64, p.Dim()))
	for k, name := range p.Names() {
		for _, n := range named {
			if v, ok := n[name]; ok && p.Free()[k] >= 0 {
				theta[k] = v
				break
			}
		}
	}
	return theta
}

// apart is how far two lenses are apart: the rms difference of their deflections in arcsec over the inner half of the
// used part of the image. Parameters would not do: an angle and half a turn more, or the axis ratio of a round lens, tell nothing.
func (s *Search) apart(a, b config.Named) (float64, error) {
	const n = 16
	half := 0.5 * max(s.Problem.Obs.HalfSides())
	x, y := make([]float64, n*n), make([]float64, n*n)
	for k := range x {
		x[k] = half * (2*(float64(k%n)+0.5)/n - 1)
		y[k] = half * (2*(float64(k/n)+0.5)/n - 1)
	}
	var ax, ay [2][]float64
	for i, v := range []config.Named{a, b} {
		ax[i], ay[i] = make([]float64, n*n), make([]float64, n*n)
		lens, err := s.Problem.Config.Deflection("", v, nil)
		if err != nil {
			return 0, err
		}
		for _, l := range lens {
			l.Deflect(ax[i], ay[i], x, y)
		}
	}
	sum := 0.0
	for k := range x {
		dx, dy := ax[0][k]-ax[1][k], ay[0][k]-ay[1][k]
		sum += dx*dx + dy*dy
	}
	return math.Sqrt(sum / (n * n)), nil
}

func coordinatesOf(p *adjoint.Posterior, match func(q *adjoint.Param) bool) []int {
	var out []int
	for k := range p.Params() {
		if f := p.Free()[k]; f >= 0 && match(&p.Params()[k]) {
			out = append(out, f)
		}
	}
	return out
}

func isSource(q *adjoint.Param) bool { return q.Group == adjoint.GroupSource }

func isLens(q *adjoint.Param) bool { return q.Group == adjoint.GroupLens }

// refine takes the basins to the full model: at middle size with the sources traced back, then at full size.
func (s *Search) refine(ctx context.Context, full *adjoint.Posterior, basins []basin) (*Result, error) {
	k := s.Problem.Obs.Binning(middleSide)
	middle := s.Problem.Obs.Coarsen(k)
	post := full
	if k > 1 {
		p, err := s.posterior(s.Problem.Config, middle, s.Compute.Threads)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		post = p
	}
	src, err := s.newSources(middle)
	if err != nil {
		return nil, err
	}
	defer src.close()
	var best *StageEnd
	var ends []*StageEnd
	steps := 8*sourceSteps + 3*jointSteps
	if s.free != nil {
		steps = 3*sourceSteps + 2*jointSteps
	}
	for i, b := range basins {
		s.climbs(fmt.Sprintf("lens %d of %d", i+1, len(basins)), steps)
		end, err := s.place(ctx, post, src, fmt.Sprintf("basin %d", i+1), b)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
		if best == nil || end.LogProb > best.LogProb {
			best = end
		}
	}
	placed := ends[0] // DeleteFunc moves the others
	return s.Settle(ctx, post, full, slices.DeleteFunc(ends, func(e *StageEnd) bool {
		return best.LogProb-e.LogProb > 30 // closer ones are only told apart at full size
	}), placed)
}

// Settle takes ends at middle size to their maxima at full size, and judges the best. placed is the end of the first basin,
// that of a free source where there is one, whether it is among them or not.
func (s *Search) Settle(ctx context.Context, post, full *adjoint.Posterior, ends []*StageEnd, placed *StageEnd) (*Result, error) {
	var tried []*StageEnd
	for i, e := range ends {
		label := "full size"
		if len(ends) > 1 {
			label = fmt.Sprintf("full size, lens %d of %d", i+1, len(ends))
		}
		s.climbs(label, map[string]int{"lm": 2*s.Options.Iterations + 2*polishSteps, "adam": s.Options.Iterations + polishSteps}[s.Options.Optimizer])
		end, err := s.finish(ctx, post, full, fmt.Sprintf("basin %d", i+1), e)
		if err != nil {
			return nil, err
		}
		end, err = s.turned(ctx, end, func(ctx context.Context, u []float64) (*StageEnd, error) {
			return s.lm(ctx, fmt.Sprintf("basin %d: other copy", i+1), full, full.MAP(), u, jointSteps)
		})
		if err != nil {
			return nil, err
		}
		tried = append(tried, end)
	}
	sort.SliceStable(tried, func(a, b int) bool { return tried[a].LogProb > tried[b].LogProb })
	top := tried[0]
	res := &Result{}
	res.Lensed, res.Doubts = s.doubts(full, top, tried)
	hold := slices.ContainsFunc(full.Params(), func(q adjoint.Param) bool { return isEinsteinRadius(&q) })
	if hold && s.Problem.Config.Data.Noise.Fraction > 0 && res.Lensed.disagrees() {
		held, err := s.between(ctx, full, top, placed, res.Lensed)
		if err == nil {
			held, err = s.turned(ctx, held, func(ctx context.Context, u []float64) (*StageEnd, error) {
				return s.heldRadius(ctx, "between: other copy", full, full.MAP(), u)
			})
		}
		if err != nil {
			return nil, err
		}
		top = held
		res.Doubts = append(res.Doubts, "the lens given is not that of the maximum: its Einstein radius is held at what both sources allow")
	}
	return res, s.curve(res, full, top)
}

// curve sets the result at an end, with the curvature there.
func (s *Search) curve(res *Result, full *adjoint.Posterior, top *StageEnd) error {
	res.U, res.LogProb, res.Hess = top.U, top.LogProb, mat.NewSymDense(full.Dim(), nil)
	grad := make([]float64, full.Dim())
	if _, err := full.MAP().LogProbHess(grad, res.Hess, top.U); err != nil {
		return term.Numerical("the curvature at the maximum cannot be computed: %v", err)
	}
	return nil
}

// giveUp ends a search that has nothing to find: a few steps from the given start, or the centre of the priors with its
// amplitudes fitted.
func (s *Search) giveUp(ctx context.Context, given []float64, why string) (*Result, error) {
	post := s.Problem.Post
	u := given
	if u == nil {
		theta := LaidOut(post)
		fitAmplitudes(post, theta, nil)
		var err error
		if u, err = coordinates(post, theta); err != nil {
			return nil, err
		}
	}
	s.climbs("a few steps", sketchSteps)
	end, err := s.lm(ctx, "given up", post, post.MAP(), u, sketchSteps)
	switch {
	case err != nil && ctx.Err() == nil && term.ExitCode(Failure(err)) == term.ExitNumerical:
		return nil, term.Numerical("%s", why)
	case err != nil:
		return nil, err
	}
	res := &Result{Doubts: []string{why}, GivenUp: true}
	return res, s.curve(res, post, end)
}

// place puts the full sources below the lens of a basin at middle size and climbs with everything free.
func (s *Search) place(ctx context.Context, post *adjoint.Posterior, src *sources, key string, b basin) (*StageEnd, error) {
	theta := LaidOut(post, b.theta)
	from := &StageEnd{LogProb: math.Inf(-1)}
	if len(src.decoders) == 0 {
		u, err := coordinates(post, theta)
		if err != nil {
			return nil, err
		}
		return s.lm(ctx, key+": everything", post, s.joint(post), u, jointSteps)
	}
	widths := src.widths()
	if hasLensLight(s.Problem.Config) && len(widths) == 5 {
		widths = []float64{widths[0], widths[2], widths[4]} // the middle of a large image is quick enough to be taken as it is
	}
	ends, err := s.below(ctx, post, src, key, theta, b.theta, widths)
	if err != nil {
		return nil, err
	}
	for i, e := range ends[:min(2, len(ends))] {
		key := fmt.Sprintf("%s: everything %d", key, i+1)
		var end *StageEnd
		if s.free != nil {
			// while source and light settle, a radius that is free may leave its basin
			end, err = s.heldRadius(ctx, key, post, s.joint(post), e.U)
		} else {
			end, err = s.lm(ctx, key, post, s.joint(post), e.U, jointSteps)
		}
		if err != nil {
			return nil, err
		}
		if end.LogProb > from.LogProb {
			from = end
		}
	}
	if s.free != nil {
		return from, nil // the lens that a free source has found is as good as one found with the decoder
	}
	// once more through the better lens
	post.Theta(theta, from.U)
	named := namedTheta(post, from.U)
	widths = nil
	if w := named[src.decoders[0].comp.KeyOf(physics.RoleSize)]; w > 0 {
		widths = []float64{0.75 * w, w, 1.3 * w}
	}
	ends, err = s.below(ctx, post, src, key+" again", theta, named, widths)
	if err != nil {
		return nil, err
	}
	end, err := s.lm(ctx, key+" again: everything", post, s.joint(post), ends[0].U, jointSteps)
	if err != nil {
		return nil, err
	}
	if end.LogProb > from.LogProb {
		from = end
	}
	return from, nil
}

// joint is the density that is climbed with everything free. The relaxed one is flat in a factor of the noise; where the
// light of the lens was fitted first, the start is good enough to do without.
func (s *Search) joint(post *adjoint.Posterior) samplers.Lagged {
	if s.Problem.Config.NoiseScale != nil && hasLensLight(s.Problem.Config) {
		return post.MAP()
	}
	return post.Relaxed()
}

// below fits the decoder sources under the fixed lens of theta, from the image traced back at each width, and returns
// the ends, best first.
func (s *Search) below(ctx context.Context, post *adjoint.Posterior, src *sources, key string, theta []float64, named config.Named, widths []float64) ([]*StageEnd, error) {
	starts, err := src.trace(post, theta, named, widths)
	if err != nil {
		return nil, err
	}
	var ends []*StageEnd
	for i, u := range starts {
		end, err := s.lmPart(ctx, fmt.Sprintf("%s: source %d", key, i+1), post, post.Relaxed(), isSource, u, sourceSteps)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
	}
	sort.SliceStable(ends, func(a, b int) bool { return ends[a].LogProb > ends[b].LogProb })
	return ends, nil
}

// finish takes an end at middle size to the maximum at full size.
func (s *Search) finish(ctx context.Context, post, full *adjoint.Posterior, key string, e *StageEnd) (*StageEnd, error) {
	var err error
	if post != full {
		if e, err = s.polish(ctx, key+" at half size", post, e); err != nil {
			return nil, err
		}
	}
	if s.Options.Optimizer == "adam" {
		end, err := s.adam(ctx, key+": Adam", full, full.MAP(), e.U, nil, samplers.AdamOptions{Steps: s.Options.Iterations, Rate: 0.05, Final: 0.02, Window: max(500, s.Options.Iterations/10), Tol: 0.1})
		if err != nil {
			return nil, err
		}
		whole := *end // Adam does not know the curvature
		whole.Gain = newtonGain(full.MAP(), end.U)
		return &whole, nil
	}
	end, err := s.lm(ctx, key+": full size", full, full.MAP(), e.U, s.Options.Iterations)
	if err != nil {
		return nil, err
	}
	if end, err = s.polish(ctx, key, full, end); err != nil {
		return nil, err
	}
	return s.lm(ctx, key+": last steps", full, full.MAP(), end.U, s.Options.Iterations)
}

// newtonGain is by how much a full Newton step is expected to raise a log density; beyond all numbers where that cannot be
// told.
func newtonGain(t samplers.Curved, u []float64) float64 {
	grad, hess := make([]float64, len(u)), mat.NewSymDense(len(u), nil)
	if _, err := t.LogProbHess(grad, hess, u); err != nil {
		return math.MaxFloat64
	}
	m, _, err := samplers.NewMetricHess(OffBounds(hess), 1e-10)
	if err != nil {
		return math.MaxFloat64
	}
	m.Pull(grad, slices.Clone(grad))
	gain := 0.5 * floats.Dot(grad, grad)
	if !term.Finite(gain) {
		return math.MaxFloat64
	}
	return gain
}

// polish takes Adam steps in coordinates in which the Gauss-Newton matrix is the identity: the landscape is rough on a
// small scale (the decoder's ReLUs, the borders of source pixels), where Levenberg-Marquardt stalls and Adam does not.
func (s *Search) polish(ctx context.Context, key string, post *adjoint.Posterior, e *StageEnd) (*StageEnd, error) {
	grad, hess := make([]float64, post.Dim()), mat.NewSymDense(post.Dim(), nil)
	if _, err := post.MAP().LogProbHess(grad, hess, e.U); err != nil {
		return nil, err
	}
	metric, _, err := samplers.NewMetricHess(hess, 1e-10)
	if err != nil {
		return e, nil // a direction without curvature: nothing to whiten by
	}
	end, err := s.adam(ctx, key+": polish", post, post.MAP(), e.U, metric,
		samplers.AdamOptions{Steps: polishSteps, Rate: polishRate, Final: 0.05, Beta2: 0.99, Window: 150, Tol: 0.5})
	if err != nil || end.LogProb > e.LogProb {
		return end, err
	}
	return e, nil
}

// done is the end of a climb in so many coordinates that was made before, nil where it was not.
func (s *Search) done(key string, dim int) *StageEnd {
	if end := s.Saved.Done[key]; end != nil && len(end.U) == dim {
		return end
	}
	return nil
}

// lm climbs by Levenberg-Marquardt, or returns the end of that climb when it was done before.
func (s *Search) lm(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	if end := s.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewLMState(from)
	if s.Saved.Task == key && s.Saved.LM.Fits(t.Dim()) {
		state = s.Saved.LM
	}
	s.begin(key, state, nil)
	res, err := samplers.LevenbergMarquardt(ctx, t, state, s.lmOptions(steps), func(st *samplers.LMState) error {
		s.report(State{Step: st.Iteration, LogPosterior: st.LogProb, ReducedChi2: reducedChi2(post)})
		s.count(st.Evaluations)
		return s.Save()
	})
	return s.ended(ctx, key, res, err)
}

// lmPart is lm with those parameters free that free names and the others held where from has them.
func (s *Search) lmPart(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, free func(q *adjoint.Param) bool, from []float64, steps int) (*StageEnd, error) {
	only := &subset{full: t, which: coordinatesOf(post, free), base: from}
	end, err := s.lm(ctx, key, post, only, only.part(from), steps)
	if err != nil {
		return nil, err
	}
	whole := *end // the saved one is of the free coordinates
	whole.U = only.whole(end.U)
	return &whole, nil
}

// lmAlone is lm for climbs that run side by side: they are not resumed in their middle.
func (s *Search) lmAlone(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	s.mu.Lock()
	end := s.done(key, t.Dim())
	s.mu.Unlock()
	if end != nil {
		return end, nil
	}
	res, err := samplers.LevenbergMarquardt(ctx, t, samplers.NewLMState(from), s.lmOptions(steps), nil)
	if err != nil {
		if ctx.Err() == nil && res == nil {
			// a start from which nothing can be computed is no start
			res, err = &samplers.Result{X: from, LogProb: -math.MaxFloat64, Status: samplers.Stalled, Reason: term.Plain(err.Error())}, nil
		} else {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Saved.Evaluations += res.Evaluations
	s.Saved.Iterations += res.Iterations
	end = &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	s.Saved.Done[key] = end
	return end, nil
}

// lmOptions are those of a climb. Where the lens shines its profiles, not the noise, limit the fit.
func (s *Search) lmOptions(steps int) samplers.LMOptions {
	o := samplers.LMOptions{Steps: steps, TolGain: 1e-3, Patience: 3}
	if hasLensLight(s.Problem.Config) {
		o.TolGain = 0.1
	}
	return o
}

// adam climbs by Adam, or returns the end of that climb when it was done before.
func (s *Search) adam(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Target, from []float64, metric *samplers.Metric, opt samplers.AdamOptions) (*StageEnd, error) {
	if end := s.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewAdamState(from)
	if s.Saved.Task == key && s.Saved.Adam.Fits(t.Dim()) {
		state = s.Saved.Adam
	}
	s.begin(key, nil, state)
	chi2, best := 0.0, math.Inf(-1) // of the best point; after a resume not known until there is a better one
	if state.Started {
		best = state.BestLogProb
	}
	res, err := samplers.Adam(ctx, t, state, metric, opt, func(st *samplers.AdamState) error {
		if st.BestLogProb > best && st.LogProb == st.BestLogProb {
			chi2, best = reducedChi2(post), st.BestLogProb
		}
		s.report(State{Step: st.Step, LogPosterior: st.BestLogProb, ReducedChi2: chi2})
		s.count(st.Evaluations)
		return s.Save()
	})
	return s.ended(ctx, key, res, err)
}

// ended notes the end of a climb.
func (s *Search) ended(ctx context.Context, key string, res *samplers.Result, err error) (*StageEnd, error) {
	if err != nil {
		return nil, err
	}
	end := &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	s.Saved.Done[key] = end
	s.begin("", nil, nil)
	s.Saved.Iterations += res.Iterations
	s.taken += res.Iterations
	return end, nil
}

// begin notes the climb at work, which may have been at work when the search was stopped.
func (s *Search) begin(key string, lm *samplers.LMState, adam *samplers.AdamState) {
	if s.Saved.Task != key || s.Saved.LM != lm || s.Saved.Adam != adam {
		s.Saved.Counted = 0
	}
	s.Saved.Task, s.Saved.LM, s.Saved.Adam = key, lm, adam
}

// count adds what the climb at work has evaluated since it was last called. What a step has cost counts once it is made, so
// that a stop in its middle leaves the counts as they were.
func (s *Search) count(now int) {
	s.Saved.Evaluations += now - s.Saved.Counted
	s.Saved.Counted = now
}

// group begins a stage for those who watch, of so many steps.
func (s *Search) group(label string, steps int) {
	s.label, s.steps, s.taken, s.most = label, steps, 0, false
}

// climbs begins a stage of climbs of at most so many steps in all; those that converge take fewer.
func (s *Search) climbs(label string, steps int) {
	s.group(label, steps)
	s.most = true
}

func (s *Search) report(st State) {
	if s.Tell != nil {
		st.Stage, st.Budget, st.Steps = s.label, s.most, max(s.steps, s.taken+st.Step)
		st.Step += s.taken
		st.Evaluations = s.Saved.Evaluations
		s.Tell(st)
	}
}

// reducedChi2 is that of the point that the posterior was last evaluated at.
func reducedChi2(p *adjoint.Posterior) float64 { return p.Chi2() / float64(p.Pixels()) }

// subset is a Curved target with only some of its coordinates free.
type subset struct {
	full  samplers.Lagged
	which []int
	base  []float64
}

func (t *subset) Dim() int { return len(t.which) }

func (t *subset) part(u []float64) []float64 {
	out := make([]float64, len(t.which))
	for i, k := range t.which {
		out[i] = u[k]
	}
	return out
}

func (t *subset) whole(x []float64) []float64 {
	out := append([]float64(nil), t.base...)
	for i, k := range t.which {
		out[k] = x[i]
	}
	return out
}

func (t *subset) LogProb(grad, x []float64) (float64, error) {
	u := t.whole(x)
	if grad == nil {
		return t.full.LogProb(nil, u)
	}
	g := make([]float64, len(t.base))
	lp, err := t.full.LogProb(g, u)
	copy(grad, t.part(g))
	return lp, err
}

func (t *subset) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	return t.cut(grad, hess, func(g []float64, h *mat.SymDense) (float64, error) { return t.full.LogProbHess(g, h, t.whole(x)) })
}

func (t *subset) LogProbHessFrom(grad []float64, hess *mat.SymDense, x, origin []float64) (float64, error) {
	return t.cut(grad, hess, func(g []float64, h *mat.SymDense) (float64, error) {
		return t.full.LogProbHessFrom(g, h, t.whole(x), t.whole(origin))
	})
}

// cut takes the free coordinates' part of a gradient and a curvature.
func (t *subset) cut(grad []float64, hess *mat.SymDense, whole func(g []float64, h *mat.SymDense) (float64, error)) (float64, error) {
	g, h := make([]float64, len(t.base)), mat.NewSymDense(len(t.base), nil)
	lp, err := whole(g, h)
	copy(grad, t.part(g))
	for i, a := range t.which {
		for j := i; j < len(t.which); j++ {
			hess.SetSym(i, j, h.At(a, t.which[j]))
		}
	}
	return lp, err
}

// doubts says why a maximum is not to be trusted.
func (s *Search) doubts(post *adjoint.Posterior, top *StageEnd, tried []*StageEnd) (seen *Lensed, out []string) {
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, top.U)
	named := namedTheta(post, top.U)
	lit := hasLensLight(s.Problem.Config)
	followed := !lit || s.Problem.Config.Data.Noise.Fraction == 0 // χ² counts
	limit := mostGain
	if !followed {
		limit = rivalDoubt
	}
	switch {
	case top.Status == samplers.OutOfSteps && !(top.Gain <= limit):
		out = append(out, fmt.Sprintf("the climb was stopped by its limit of steps where a full step still promises to raise the log posterior by %.3g", top.Gain))
	case !(top.Gain <= limit) && followed:
		out = append(out, fmt.Sprintf("the climb stalled where a full step still promises to raise the log posterior by %.3g", top.Gain))
	}
	img, err := post.Images(theta)
	if err != nil {
		return nil, append(out, term.Plain(err.Error()))
	}
	if lit {
		if seen, err = s.lensing(post, named, img); err != nil {
			return nil, append(out, term.Plain(err.Error()))
		}
		out = append(out, seen.doubts()...)
		out = append(out, s.strange(post, named, top)...)
	}
	if followed {
		s.Problem.Standardise(img.Residual.Pix, theta)
		out = append(out, misfits(post, img)...)
	}
	for k, name := range post.Names() {
		f, q := post.Free()[k], &post.Params()[k]
		if f < 0 || q.Role == physics.RoleLatent || q.Kind == adjoint.KindDecoder && q.Role == physics.RoleAmplitude || q.Group == adjoint.GroupLensLight {
			continue // a decoder's brightness trades with its latents, profiles of the lens's light with each other
		}
		if math.Abs(top.U[f]) > edge {
			out = append(out, fmt.Sprintf("%s = %.4g ended at the edge of its prior", name, theta[k]))
		}
	}
	for _, other := range tried[1:] {
		d, err := s.apart(named, namedTheta(post, other.U))
		if err != nil {
			out = append(out, fmt.Sprintf("a lens that does nearly as well cannot be compared: %s", term.Plain(err.Error())))
			continue
		}
		gap := top.LogProb - other.LogProb
		if r := seen.radiusOf(s, namedTheta(post, other.U)); r > 0 && math.Abs(r/float64(seen.Radius)-1) > mostChange && gap < rivalDoubt {
			out = append(out, fmt.Sprintf("another lens with an Einstein radius of %.3f arcsec does nearly as well: its log posterior is only %.2g lower", r, gap))
		} else if !lit && d > otherLens && gap < 3 {
			out = append(out, fmt.Sprintf("another lens, whose deflections differ by %.2g arcsec, does nearly as well: its log posterior is only %.2g lower", d, gap))
		}
	}
	if lit && len(out) > 0 && faintLens(post, img, named["sky"]) {
		out = slices.Insert(out, 0, "the model's lens hardly shines: is the lens's light subtracted already? Then say --no-lens-light (in a config, leave out lens_light)")
	}
	return seen, out
}

// faintLens tells whether the lens has less light than a tenth of the arcs', or none above the noise.
func faintLens(post *adjoint.Posterior, img *adjoint.Images, sky float64) bool {
	noise := post.Noise()
	light, arcs, top := 0.0, 0.0, 0.0
	for k, used := range noise.Used {
		if used {
			l := img.LensLight.Pix[k]
			light += l
			arcs += img.Model.Pix[k] - l - sky
			top = math.Max(top, l*noise.Weight[k])
		}
	}
	return light < 0.1*arcs || top < 1
}

// misfits holds the residuals against those of pure noise. The noise map may be off by a factor, as those of drizzled or
// photon-starved images are: the pixels in which no source shines tell it. A source or lens that cannot follow the data
// shows in the pixels where the source does, and arcs that the model lacks as patches of residuals of one sign.
func misfits(post *adjoint.Posterior, img *adjoint.Images) []string {
	noise := post.Noise()
	lit := make([]bool, len(noise.Used))
	var shine, dark tally
	for i, used := range noise.Used {
		if !used {
			continue
		}
		r := img.Residual.Pix[i]
		if math.Abs(img.Model.Pix[i]-img.LensLight.Pix[i])*noise.Weight[i] > 1 {
			lit[i] = true
			shine.add(r)
		} else {
			dark.add(r)
		}
	}
	if shine.n == 0 {
		return []string{"the model has no light of the source above the noise"}
	}
	var out []string
	scale, doubt := 1.0, 0.0 // of the noise, and the variance of that scale
	if dark.n >= darkEnough {
		scale, doubt = dark.mean(), 2/float64(dark.n)
	}
	if !(scale <= maxNoiseScale) {
		out = append(out, fmt.Sprintf("reduced χ² where no source shines is %.3g: the noise is larger than stated, or light is missing from the model", scale))
		scale = 1
	}
	all := tally{shine.n + dark.n, shine.chi2 + dark.chi2}
	for _, c := range []struct {
		what string
		tally
	}{{"of the image", all}, {"where the source shines", shine}} {
		if limit := scale * (1 + 3*math.Sqrt(2/float64(c.n)+doubt)); !(c.mean() <= limit) {
			out = append(out, fmt.Sprintf("reduced χ² %s is %.4g, expected at most %.4g by the pixels without source", c.what, c.mean(), limit))
		}
	}
	if n, x, y := unexplained(post, img, lit, math.Sqrt(scale)); n > 0 {
		out = append(out, fmt.Sprintf("%d patches of light are not explained, the worst at x = %.2f, y = %.2f arcsec", n, x, y))
	}
	return out
}

// mostGain is how much of log posterior a full step may promise at a maximum.
const mostGain = 2.0

// darkEnough is the number of pixels without source from which these measure the noise.
const darkEnough = 300

// maxNoiseScale is the reduced χ² of those pixels up to which the noise map alone is taken to be off.
const maxNoiseScale = 1.5

// tally sums squared residuals.
type tally struct {
	n    int
	chi2 float64
}

func (t *tally) add(r float64) {
	t.n++
	t.chi2 += r * r
}

func (t *tally) mean() float64 { return t.chi2 / float64(t.n) }

// unexplained counts the patches of pixels without source whose mean residual is more than six times what noise of the
// given standard deviation makes, and tells where the worst is.
func unexplained(post *adjoint.Posterior, img *adjoint.Images, lit []bool, sigma float64) (count int, x, y float64) {
	const side, limit = 6, 6
	w, h, scale := img.Residual.W, img.Residual.H, img.Residual.Scale
	used := post.Noise().Used
	worst := 0.0
	for J := 0; J < h; J += side {
		for I := 0; I < w; I += side {
			n, sum := 0, 0.0
			for j := J; j < min(J+side, h); j++ {
				for i := I; i < min(I+side, w); i++ {
					if k := j*w + i; used[k] && !lit[k] {
						n++
						sum += img.Residual.Pix[k]
					}
				}
			}
			if n < side*side/2 {
				continue
			}
			t := math.Abs(sum) / (sigma * math.Sqrt(float64(n)))
			if t > limit {
				count++
			}
			if t > limit && t > worst {
				worst = t
				x = (float64(I) + 0.5*(side-1) - 0.5*float64(w-1)) * scale
				y = (float64(J) + 0.5*(side-1) - 0.5*float64(h-1)) * scale
			}
		}
	}
	return count, x, y
}

// simpleLight is the profile that stands in for a decoder.
const simpleLight = "sersic"

// simpleCentre names the centre of the first source as the simple model has it.
func (s *Search) simpleCentre() (x, y string) {
	src := s.Problem.Config.Source[0]
	if src.Type == "decoder" {
		src.Params = config.DefaultParams(src.Group, simpleLight)
	}
	return src.KeyOf(physics.RoleCentreX), src.KeyOf(physics.RoleCentreY)
}

// simplified is the config with a Sersic profile in place of each decoder.
func simplified(c *config.Config, brightness float64) *config.Config {
	s := *c
	replace := func(list []config.Component) []config.Component {
		out := append([]config.Component(nil), list...)
		for i := range out {
			d := &out[i]
			if d.Type != "decoder" {
				continue
			}
			centre := map[physics.Role]config.Prior{}
			var peak *config.Prior
			for _, p := range d.Params {
				if p.Role == physics.RoleAmplitude {
					peak = &p.Prior
				}
				if (p.Role == physics.RoleCentreX || p.Role == physics.RoleCentreY) && p.Prior.Kind != config.PriorFixed {
					centre[p.Role] = p.Prior
				}
			}
			r := config.Component{Group: d.Group, Name: d.Name, Type: simpleLight, Redshift: d.Redshift, Params: config.DefaultParams(d.Group, simpleLight)}
			for k := range r.Params {
				p := &r.Params[k].Prior
				if r.Params[k].Role == physics.RoleAmplitude && peak != nil && peak.Kind == config.PriorLognormal {
					// at its half-light radius a galaxy has about a fifth of its peak, seen through pixels
					*p = *peak
					p.A -= math.Log(5)
				}
				if q, ok := centre[r.Params[k].Role]; ok && q.Kind == config.PriorNormal {
					// galaxies need not stand in the middle of their frames
					*p = config.Normal(q.A, math.Hypot(q.B, 0.15))
				}
			}
			out[i] = r
		}
		return out
	}
	s.Source, s.LensLight = replace(c.Source), replace(c.LensLight)
	s.NoiseScale, s.StudentT = nil, 0 // far from the truth, a better model is the cure of a misfit
	observation.ScalePriors(&s, brightness)
	return &s
}
