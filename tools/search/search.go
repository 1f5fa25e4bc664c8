package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
	"lenskit/tools/problem"
)

// Search finds the maximum a posteriori of a config's model without a start given by hand, by the strategies of strategy.go.
type Search struct {
	Problem  *problem.Problem
	Options  Options
	Settings Settings        // zero: DefaultSettings
	Compute  adjoint.Options // how posteriors are computed
	Tell     func(State)
	Saved    *Record
	Save     func() error // writes saved, or not when that was done a moment ago; called after each step
}

// Record is what a search needs to go on: the ends of the stages that are done and the state of the one at work.
type Record struct {
	Done        map[string]*StageEnd
	Task        string
	LM          *samplers.LMState   `json:",omitempty"`
	Adam        *samplers.AdamState `json:",omitempty"`
	BFGS        *samplers.BFGSState `json:",omitempty"`
	Counted     int                 `json:",omitempty"` // of the evaluations of that state, those in Evaluations
	Evaluations int
	Iterations  int
	Seconds     float64
	Doubts      []Doubt `json:",omitempty"` // about parts of the search that were left out
}

// Result is a maximum and what is to be thought of it.
type Result struct {
	U           []float64 // coordinates of the problem's posterior
	LogProb     float64   // log posterior of the named parameters
	Hess        *mat.SymDense
	Starts      []float64 // log posterior at which each start of the first stage ended
	Evaluations int
	Iterations  int
	Lensed      *Lensed // of models in which the lens shines, too
	Doubts      Doubts  // why the maximum is not to be trusted, the weightiest first; none when it is
	GivenUp     bool    // the first of these leaves nothing more to be said
}

// Find searches. When ctx is cancelled it returns ctx's error, and the record holds what is needed to go on.
func (s *Search) Find(ctx context.Context) (*Result, error) {
	c := newClimber(s)
	defer c.close()
	given, err := s.given()
	if err != nil {
		return nil, err
	}
	why, err := precheck(s.Problem)
	if err != nil {
		return nil, err
	}
	var res *Result
	switch {
	case why != nil:
		res, err = c.giveUp(ctx, given, *why)
	case given != nil:
		res, err = c.find(ctx, s.strategyOfStart(), []Found{{From: "config", End: &StageEnd{U: given}}})
	default:
		if res, err = c.find(ctx, s.strategy(), nil); errors.Is(err, errNoArcs) {
			res, err = c.giveUp(ctx, nil, NewDoubt(noArcs, none, none, "%v", errNoArcs))
		} else if err == nil {
			res.Starts = s.Saved.starts()
		}
	}
	if err != nil {
		return nil, err
	}
	res.Evaluations, res.Iterations = s.Saved.Evaluations, s.Saved.Iterations
	return res, nil
}

// Settle takes a start, coordinates of the posterior, to the maximum at full size, and judges it.
func (s *Search) Settle(ctx context.Context, u []float64) (*Result, error) {
	c := newClimber(s)
	defer c.close()
	return c.find(ctx, s.strategyOfStart(), []Found{{From: "config", End: &StageEnd{U: u}}})
}

// find takes what is found through the stages of a strategy and judges the end.
func (c *Climber) find(ctx context.Context, strategy []Stage, found []Found) (*Result, error) {
	found, err := c.through(ctx, strategy, found)
	if err != nil {
		return nil, err
	}
	full, tried := c.Problem.Post, endsFrom(fullStage, found) // a stage may have changed the problem's grids
	top, res := tried[0], &Result{}
	res.Lensed, res.Doubts = c.doubts(full, top, tried, found[0].Radius)
	if held := endsFrom(heldStage, found); len(held) > 0 {
		top = held[0]
		res.Doubts.add(radiusHeld, none, none, "the lens given is not that of the maximum: its Einstein radius is held at what both sources allow")
	}
	res.Doubts = append(res.Doubts, c.noted()...)
	return res, c.curve(res, full, top)
}

// starts are the log posteriors at which the climbs from draws have ended.
func (r *Record) starts() []float64 {
	var out []float64
	for {
		end := r.Done[fmt.Sprintf("start %d kept", len(out))]
		if end == nil {
			end = r.Done[fmt.Sprintf("start %d", len(out))]
		}
		if end == nil {
			return out
		}
		out = append(out, end.LogProb)
	}
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

// curve sets the result at an end, with the curvature there.
func (s *Search) curve(res *Result, full *adjoint.Posterior, top *StageEnd) error {
	res.U, res.LogProb, res.Hess = top.U, top.LogProb, mat.NewSymDense(full.Dim(), nil)
	grad := make([]float64, full.Dim())
	_, err := full.MAP().LogProbHess(grad, res.Hess, top.U)
	if err == nil && s.Problem.Config.HasPixels() && !res.GivenUp {
		err = res.wholeCurvature(full.MAP(), grad)
	}
	if err != nil {
		return term.Numerical("the curvature at the maximum cannot be computed: %v", err)
	}
	return nil
}

// wholeCurvature puts the whole curvature in the place of the Gauss-Newton matrix, which lacks the cross terms of the lens and of
// what is integrated over, and holds the gradient against it. Where it is that of no maximum, the matrix stays.
func (r *Result) wholeCurvature(t *adjoint.View, grad []float64) error {
	whole := mat.NewSymDense(len(grad), nil)
	if err := t.Hessian(whole, r.U); err != nil {
		return err
	}
	var chol mat.Cholesky
	step := mat.NewVecDense(len(grad), nil)
	if g := mat.NewVecDense(len(grad), grad); !chol.Factorize(whole) || chol.SolveVecTo(step, g) != nil {
		r.Doubts.add(gainUnknown, none, mostLength, "the climb ended where the log posterior does not fall in every direction")
		return nil
	}
	r.Hess.CopySym(whole)
	if length := math.Sqrt(floats.Dot(grad, step.RawVector().Data)); r.Doubts.finite("the gradient at the maximum", length) && length > mostLength {
		r.Doubts.add(stalled, 0.5*length*length, 0.5*mostLength*mostLength, "the climb ended where a full step is still %.2g standard deviations long", length)
	}
	return nil
}

// mostLength is how many standard deviations a full step may be long at a maximum of an evidence, whose gradient is exact.
const mostLength = 0.3

// lensed is what speaks for lensing at an end, whose images are given. radius is that of the lens of a pixelised source.
func (s *Search) lensed(post *adjoint.Posterior, end *StageEnd, img *adjoint.Images, radius float64) (*Lensed, error) {
	seen, err := s.lensing(post, namedTheta(post, end.U), img)
	if seen != nil {
		seen.Pixelised = term.JSONFloat(radius)
	}
	return seen, err
}

// doubts says why a maximum is not to be trusted.
func (c *Climber) doubts(post *adjoint.Posterior, top *StageEnd, tried []*StageEnd, radius float64) (seen *Lensed, out Doubts) {
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, top.U)
	named := namedTheta(post, top.U)
	lit := hasLensLight(c.Problem.Config)
	followed := !lit || c.Problem.Config.Data.Noise.Fraction == 0 // χ² counts
	limit := mostGain
	if !followed {
		limit = rivalDoubt
	}
	out.climb(top, limit, c.lmOptions(0).TolGain, followed)
	out.finite("the log posterior of the maximum", top.LogProb)
	img, err := post.Images(theta)
	if err != nil {
		out.add(modelError, none, none, "%s", term.Plain(err.Error()))
		return nil, out
	}
	if lit {
		if seen, err = c.lensed(post, top, img, radius); err != nil {
			out.add(modelError, none, none, "%s", term.Plain(err.Error()))
			return nil, out
		}
		out = append(out, seen.doubts()...)
		out = append(out, c.unlikely(post, named, top)...)
	}
	if followed {
		c.Problem.Standardise(img.Residual.Pix, theta)
		out = append(out, misfits(post, img)...)
	}
	for k, name := range post.Names() {
		f, q := post.Free()[k], &post.Params()[k]
		if f < 0 || q.Role == physics.RoleLatent || q.Kind == adjoint.KindDecoder && q.Role == physics.RoleAmplitude || q.Group == adjoint.GroupLensLight {
			continue // a decoder's brightness trades with its latents, profiles of the lens's light with each other
		}
		if out.finite(name, top.U[f]) && math.Abs(top.U[f]) > edge {
			out.add(priorEdge, math.Abs(top.U[f]), edge, "%s = %.4g ended at the edge of its prior", name, theta[k])
		}
	}
	for _, other := range tried[1:] {
		d, err := c.deflectionDistance(named, namedTheta(post, other.U))
		if err != nil {
			out.add(rivalUnknown, none, none, "a lens that does nearly as well cannot be compared: %s", term.Plain(err.Error()))
			continue
		}
		gap := top.LogProb - other.LogProb
		r := seen.radiusOf(c.Search, namedTheta(post, other.U))
		if !term.Finite(d) || !term.Finite(gap) || !term.Finite(r) {
			out.add(rivalUnknown, none, none, "another lens cannot be compared: how far it is from the maximum is not a finite number")
		} else if r > 0 && math.Abs(r/float64(seen.Radius)-1) > mostChange && gap < rivalDoubt {
			out.add(rivalLens, gap, rivalDoubt, "another lens with an Einstein radius of %.3f arcsec does nearly as well: its log posterior is only %.2g lower", r, gap)
		} else if !lit && d > otherLens && gap < 3 {
			out.add(rivalLens, gap, 3, "another lens, whose deflections differ by %.2g arcsec, does nearly as well: its log posterior is only %.2g lower", d, gap)
		}
	}
	if lit && len(out) > 0 && faintLens(post, img, skyOf(post, named)) {
		out = slices.Insert(out, 0, NewDoubt(faintLensLight, none, none, "the model's lens hardly shines: is the lens's light subtracted already? Then say --no-lens-light (in a config, leave out lens_light)"))
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
func misfits(post *adjoint.Posterior, img *adjoint.Images) (out Doubts) {
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
		out.add(sourceDark, none, none, "the model has no light of the source above the noise")
		return out
	}
	scale, doubt := 1.0, 0.0 // of the noise, and the variance of that scale
	if dark.n >= darkEnough {
		scale, doubt = dark.mean(), 2/float64(dark.n)
	}
	if !out.finite("reduced χ² where no source shines", scale) {
		scale = 1
	} else if scale > maxNoiseScale {
		out.add(noiseScale, scale, maxNoiseScale, "reduced χ² where no source shines is %.3g: the noise is larger than stated, or light is missing from the model", scale)
		scale = 1
	}
	all := tally{shine.n + dark.n, shine.chi2 + dark.chi2}
	for _, c := range []struct {
		what string
		kind DoubtKind
		tally
	}{{"of the image", misfitImage, all}, {"where the source shines", misfitSource, shine}} {
		if limit := scale * (1 + 3*math.Sqrt(2/float64(c.n)+doubt)); out.finite("reduced χ² "+c.what, c.mean()) && !(c.mean() <= limit) {
			out.add(c.kind, c.mean(), limit, "reduced χ² %s is %.4g, expected at most %.4g by the pixels without source", c.what, c.mean(), limit)
		}
	}
	if n, x, y := unexplained(post, img, lit, math.Sqrt(scale)); n > 0 {
		out.add(unexplainedLight, float64(n), 0, "%d patches of light are not explained, the worst at x = %.2f, y = %.2f arcsec", n, x, y)
	}
	return out
}

// mostGain is how much of log posterior a full step may promise at a maximum.
const mostGain = 2.0

// otherLens is how many arcsec the deflections of two solutions that count as different lenses are apart.
const otherLens = 0.02

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
