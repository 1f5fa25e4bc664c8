package search

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
)

// problemOf is an image of 40 x 40 pixels of 0.125 arcsec, or of side, with a model; noise is what the config says.
func problemOf(t *testing.T, side int, noise float64, model string, pixel func(x, y, noise float64) float64) *problem.Problem {
	t.Helper()
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(11, 12))
	pix := make([]float64, side*side)
	for k := range pix {
		pix[k] = pixel((float64(k%side)-0.5*float64(side-1))*0.125, (float64(k/side)-0.5*float64(side-1))*0.125, 0.05*rng.NormFloat64())
	}
	if err := fits.Write(filepath.Join(dir, "a.fits"), fits.Out{Bitpix: -64, Axes: []int{side, side}, Pix: pix}); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("data: {image: a.fits, noise: %g, pixel_scale: 0.125}\n%s", noise, model)
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// arcs is about what a lens of 1.2 arcsec makes of a source.
func arcs(x, y float64) float64 {
	r, phi := math.Hypot(x, y), math.Atan2(y, x)
	return math.Exp(-0.5*math.Pow((r-1.2)/0.15, 2)-0.5*phi*phi) + 0.5*math.Exp(-0.5*math.Pow((r-1)/0.12, 2)-2*math.Pow(math.Abs(phi)-math.Pi, 2))
}

const simpleModel = "lens: [{type: sie}]\nsource: [{type: sersic}]\n"

// newTestSearch is a search with an empty record.
func newTestSearch(p *problem.Problem) *Climber {
	return newClimber(&Search{Problem: p, Options: Options{Iterations: 1}.Defaults(), Saved: &Record{Done: map[string]*StageEnd{}}, Save: func() error { return nil }, Compute: adjoint.Options{Threads: 1}})
}

// raisedByRuns are the doubts that tools/run adds, whose cases are there.
var raisedByRuns = []DoubtKind{Undetermined, OnBound, NotComputed}

// TestEveryDoubtIsRaised: a kind without a case fails.
func TestEveryDoubtIsRaised(t *testing.T) {
	nan := math.NaN()
	begin := func(side int, noise float64, model string, pixel func(x, y, noise float64) float64) func(t *testing.T) Doubts {
		return func(t *testing.T) Doubts {
			why, err := precheck(problemOf(t, side, noise, model, pixel))
			if err != nil || why == nil {
				t.Fatalf("got %v, %v", why, err)
			}
			return Doubts{*why}
		}
	}
	climb := func(end StageEnd, followed bool) func(t *testing.T) Doubts {
		return func(t *testing.T) (d Doubts) {
			d.climb(&end, mostGain, 1e-3, followed)
			return d
		}
	}
	seen := func(change func(l *Lensed)) func(t *testing.T) Doubts {
		return func(t *testing.T) Doubts {
			l := Lensed{Images: 2, Second: 20, Magnification: 8, Radius: 1.2, Pixelised: 1.2, Misfit: 1, Explained: 0.99}
			if d := l.doubts(); len(d) > 0 {
				t.Fatalf("a good lens has the doubts %v", d)
			}
			change(&l)
			return l.doubts()
		}
	}
	knotted := knotsProblem(t, "sis")
	named := map[string]float64{"lens.sis.theta_E": 1.2, "lens.sis.center_x": 0, "lens.sis.center_y": 0, "source.sersic.amp": 0.2, "source.sersic.r_sersic": 0.2,
		"source.sersic.center_x": 0.25, "source.sersic.center_y": 0, "lens_light.sersic.amp": 0.5}
	// at is an end with parameters other than those.
	at := func(t *testing.T, changed config.Named) *StageEnd {
		t.Helper()
		u := make([]float64, knotted.Post.Dim())
		if err := knotted.Post.U(u, LaidOut(knotted.Post, changed, named)); err != nil {
			t.Fatal(err)
		}
		return &StageEnd{U: u, Status: samplers.Converged}
	}
	// judge is the verdict of the search where tried were found, the best first.
	judge := func(t *testing.T, tried ...*StageEnd) Doubts {
		_, d := newTestSearch(knotted).doubts(knotted.Post, tried[0], tried, 0)
		return d
	}
	moved := func(name string, u float64) func(t *testing.T) Doubts {
		return func(t *testing.T) Doubts {
			end := at(t, nil)
			end.U[knotted.Post.Free()[knotted.Index[name]]] = u
			return judge(t, end)
		}
	}
	// residuals are those of a good fit but for what change does to them.
	residuals := func(change func(img *adjoint.Images, shines func(k int) bool)) func(t *testing.T) Doubts {
		return func(t *testing.T) Doubts {
			img, err := knotted.Post.Images(LaidOut(knotted.Post, named))
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(21, 22))
			for k := range img.Residual.Pix {
				img.Residual.Pix[k] = rng.NormFloat64()
			}
			if d := misfits(knotted.Post, img); len(d) > 0 {
				t.Fatalf("a good fit has the doubts %v", d)
			}
			noise := knotted.Post.Noise()
			change(img, func(k int) bool { return math.Abs(img.Model.Pix[k]-img.LensLight.Pix[k])*noise.Weight[k] > 1 })
			return misfits(knotted.Post, img)
		}
	}
	scaled := func(f float64, where bool) func(img *adjoint.Images, shines func(k int) bool) {
		return func(img *adjoint.Images, shines func(k int) bool) {
			for k := range img.Residual.Pix {
				if shines(k) == where {
					img.Residual.Pix[k] *= f
				}
			}
		}
	}
	blindEvidence := func(t *testing.T) *inversion {
		f, err := newInversion(knotted.Obs, nil, nil, defaults())
		if err != nil {
			t.Fatal(err)
		}
		f.chi2 = nan
		return f
	}

	cases := map[DoubtKind][]func(t *testing.T) Doubts{
		outOfSteps: {
			climb(StageEnd{Status: samplers.OutOfSteps, Gain: 50}, true),
			climb(StageEnd{Status: samplers.OutOfSteps, Gain: 0.5}, true),
			climb(StageEnd{Status: samplers.OutOfSteps, Gain: 0.5}, false),
		},
		stalled: {climb(StageEnd{Status: samplers.Stalled, Gain: 50}, true), climb(StageEnd{Status: samplers.Converged, Gain: 50}, true)},
		gainUnknown: {
			climb(StageEnd{Status: samplers.Converged, Gain: nan}, true), climb(StageEnd{Status: samplers.Converged, Gain: math.MaxFloat64}, false),
			func(t *testing.T) (d Doubts) {
				d.climb(&StageEnd{Status: samplers.Converged, Gain: newtonGain(unknown{}, []float64{1})}, mostGain, 1e-3, false)
				return d
			},
		},
		stageError: {
			func(t *testing.T) Doubts { // where the source is seen cannot be told
				s := newTestSearch(knotted)
				if _, err := s.multiplies(blindEvidence(t), named); err != nil {
					t.Fatal(err)
				}
				return s.noted()
			},
			func(t *testing.T) Doubts { // no lens has an evidence
				s := newTestSearch(knotted)
				if _, _, err := s.largestEvidence(context.Background(), blindEvidence(t), knotted.Post, named, 2); err != nil {
					t.Fatal(err)
				}
				return s.noted()
			},
			func(t *testing.T) Doubts { // a parameter far beyond its bound has no curvature to whiten by
				s := newTestSearch(knotted)
				from := at(t, nil)
				from.U[knotted.Post.Free()[knotted.Index["lens.sis.theta_E"]]] = 60
				if end, err := s.polish(context.Background(), "basin 1", knotted.Post, from); err != nil || end != from {
					t.Fatalf("got %+v, %v", end, err)
				}
				return s.noted()
			},
		},
		startsLost: {func(t *testing.T) Doubts {
			s := newTestSearch(knotted)
			s.noteStarts([]*StageEnd{{LogProb: -1}, {LogProb: -math.MaxFloat64}, {LogProb: nan}})
			return s.noted()
		}},
		rivalUnknown: {func(t *testing.T) Doubts {
			other := at(t, nil)
			other.LogProb = nan
			return judge(t, at(t, nil), other)
		}, func(t *testing.T) Doubts {
			other := at(t, nil)
			other.U[knotted.Post.Free()[knotted.Index["lens.sis.theta_E"]]] = nan
			return judge(t, at(t, nil), other)
		}},
		rivalLens: {func(t *testing.T) Doubts { return judge(t, at(t, nil), at(t, config.Named{"lens.sis.theta_E": 1.4})) }},
		fewPixels: {begin(3, 0.05, simpleModel, func(x, y, noise float64) float64 { return arcs(x, y) + noise })},
		pixelTooLarge: {begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 {
			if math.Hypot(x-0.5, y-0.5) < 0.1 {
				return 1e30
			}
			return arcs(x, y) + noise
		})},
		flatImage:        {begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 { return 3 })},
		skyLevel:         {begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 { return arcs(x, y) + noise + 1e6 })},
		noiseUnderstated: {begin(40, 5e-5, simpleModel, func(x, y, noise float64) float64 { return arcs(x, y) + noise })},
		darkImage:        {begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 { return noise - 5 })},
		signTurned:       {begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 { return noise - arcs(x, y) })},
		noSignal: {
			begin(40, 0.05, simpleModel, func(x, y, noise float64) float64 { return noise }),
			begin(40, 0.01, simpleModel, func(x, y, noise float64) float64 { return noise }),
		},
		fixedBelowNoise: {begin(40, 0.05, "lens: [{type: sie}]\nsource: [{type: gaussian, priors: {amp: {fixed: 1e-5}, sigma: {fixed: 0.3}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\n",
			func(x, y, noise float64) float64 { return arcs(x, y) + noise })},
		noArcs: {func(t *testing.T) Doubts {
			p := problemOf(t, 40, 0.05, simpleModel+"lens_light: [{type: sersic}]\n", func(x, y, noise float64) float64 { return math.Exp(-math.Hypot(x, y)) + noise })
			s := newTestSearch(p)
			res, err := s.Find(context.Background())
			if err != nil || !res.GivenUp {
				t.Fatalf("got %+v, %v", res, err)
			}
			return res.Doubts
		}},
		noiseScale:   {residuals(scaled(2, false))},
		misfitImage:  {residuals(scaled(3, true))},
		misfitSource: {residuals(scaled(3, true))},
		unexplainedLight: {residuals(func(img *adjoint.Images, shines func(k int) bool) {
			for j := 6; j < 12; j++ {
				for i := 36; i < 42; i++ {
					img.Residual.Pix[j*img.Residual.W+i] += 3
				}
			}
		})},
		sourceDark: {
			residuals(func(img *adjoint.Images, shines func(k int) bool) { copy(img.Model.Pix, img.LensLight.Pix) }),
			seen(func(l *Lensed) { l.Explained = jsonNaN }),
			func(t *testing.T) Doubts { return (*Lensed)(nil).doubts() },
		},
		NotFinite: {
			residuals(func(img *adjoint.Images, shines func(k int) bool) { img.Residual.Pix[40*img.Residual.W+20] = nan }),
			seen(func(l *Lensed) { l.Radius = jsonNaN }), seen(func(l *Lensed) { l.Pixelised = jsonNaN }), seen(func(l *Lensed) { l.Second = jsonNaN }),
			func(t *testing.T) Doubts {
				end := at(t, nil)
				end.LogProb = math.Inf(-1)
				return judge(t, end)
			},
		},
		arcsMissed:     {seen(func(l *Lensed) { l.Explained = 0.5 })},
		arcsMisfit:     {seen(func(l *Lensed) { l.Misfit = 5 })},
		radiusOfSource: {seen(func(l *Lensed) { l.Pixelised = 1.3 })},
		oneImage:       {seen(func(l *Lensed) { l.Images = 1 })},
		faintImage:     {seen(func(l *Lensed) { l.Second = 3 })},
		magnification:  {seen(func(l *Lensed) { l.Magnification = 1.5 })},
		unlikelyLens:   {moved("lens.sis.theta_E", -3.5)},
		priorEdge:      {moved("source.sersic.n", 4.5)},
		modelError:     {moved("lens.sis.theta_E", nan)},
		faintLensLight: {func(t *testing.T) Doubts { return judge(t, at(t, config.Named{"lens_light.sersic.amp": 1e-9})) }},
		radiusHeld: {func(t *testing.T) Doubts {
			p := knotsProblem(t, "sis")
			p.Config.Data.Noise.Fraction = 0.01
			s := newTestSearch(p)
			res, err := s.find(context.Background(), []Stage{{fullStage, climbFullSize}, {heldStage, holdRadius}}, []Found{{From: decoderStage, End: at(t, nil), Radius: 1.6}})
			if err != nil {
				t.Fatal(err)
			}
			return res.Doubts
		}},
	}
	known := map[string]bool{AboutOptimiser: true, AboutData: true, AboutModel: true, AboutPhysics: true}
	codes := map[string]bool{}
	for kind := range doubtKinds {
		row := DoubtKinds[kind]
		if row.Code == "" || row.When == "" || !known[row.About] || codes[row.Code] {
			t.Errorf("kind %d: the row is %+v", kind, row)
		}
		codes[row.Code] = true
		if slices.Contains(raisedByRuns, kind) {
			continue
		}
		if len(cases[kind]) == 0 {
			t.Errorf("%s: no case raises it", row.Code)
		}
		for i, raise := range cases[kind] {
			t.Run(fmt.Sprintf("%s %d", row.Code, i), func(t *testing.T) {
				got := raise(t)
				k := slices.IndexFunc(got, func(d Doubt) bool { return d.Code == row.Code })
				if k < 0 {
					t.Fatalf("got %+v", got)
				}
				if got[k].About != row.About || got[k].Text == "" {
					t.Errorf("got %+v", got[k])
				}
				text, err := json.Marshal(got)
				if err != nil {
					t.Fatal(err)
				}
				ours := strings.ReplaceAll(string(text), "found NaN, expected between 0 and +Inf", "") // by physics
				for _, bad := range []string{"NaN", "Inf", "+308"} {
					if strings.Contains(ours, bad) {
						t.Errorf("%s in %s", bad, text)
					}
				}
				t.Logf("%s", text)
			})
		}
	}
}

var jsonNaN = term.JSONFloat(math.NaN())

// unknown is a target whose curvature cannot be computed.
type unknown struct{}

func (unknown) Dim() int { return 1 }

func (unknown) LogProb(grad, x []float64) (float64, error) { return 0, nil }

func (unknown) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	return 0, errors.New("no curvature")
}

// TestAClimbThatEndsAtAMaximumHasNoDoubt: nor has one that was stopped by its limit of steps where Levenberg-Marquardt itself
// would have stopped, or one that stalled where χ² does not count.
func TestAClimbThatEndsAtAMaximumHasNoDoubt(t *testing.T) {
	for _, c := range []struct {
		end      StageEnd
		followed bool
	}{
		{StageEnd{Status: samplers.Converged, Gain: 1e-5}, true},
		{StageEnd{Status: samplers.Stalled, Gain: 1}, true},
		{StageEnd{Status: samplers.OutOfSteps, Gain: 1e-4}, true},
		{StageEnd{Status: samplers.Stalled, Gain: 50}, false},
	} {
		var d Doubts
		if d.climb(&c.end, mostGain, 1e-3, c.followed); len(d) > 0 {
			t.Errorf("%+v: got %v", c.end, d)
		}
	}
}

// TestWhatWasLeftOutIsKept: the notes of a search that was stopped are those of one that was not, in the same order, each once.
func TestWhatWasLeftOutIsKept(t *testing.T) {
	s := newTestSearch(nil)
	s.leftOut("b", errors.New("second"))
	s.leftOut("a", errors.New("first\nline"))
	s = newClimber(&Search{Saved: viaJSON(t, s.Saved)})
	s.leftOut("b", errors.New("second"))
	got := s.noted()
	if want := "a part of the search was left out (a): first line; also: a part of the search was left out (b): second"; got.Reason() != want {
		t.Errorf("got %q, want %q", got.Reason(), want)
	}
}

// TestAMinimiserThatUsesUpItsEvaluationsIsNotBroken: they are a budget, other ends with an error are none.
func TestAMinimiserThatUsesUpItsEvaluationsIsNotBroken(t *testing.T) {
	f := optimize.Problem{Func: func(x []float64) float64 { return x[0] * x[0] }}
	res, err := optimize.Minimize(f, []float64{3}, &optimize.Settings{FuncEvaluations: 5}, &optimize.NelderMead{})
	if broken(res, err) != nil {
		t.Errorf("got %v of %v", broken(res, err), res.Status)
	}
	bad := errors.New("bad")
	if broken(nil, bad) != bad || broken(&optimize.Result{Status: optimize.Failure}, bad) != bad {
		t.Error("an error is lost")
	}
}

var update = flag.Bool("update", false, "write the table of docs/verdict.md anew")

// TestTheTableOfDoubtsIsDocumented: docs/verdict.md has each code, what it is about and when it is raised.
func TestTheTableOfDoubtsIsDocumented(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "verdict.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| code | about | raised where |\n|---|---|---|\n"
	before, after, found := strings.Cut(string(text), head)
	if !found {
		t.Fatalf("docs/verdict.md has no table\n%s", head)
	}
	for strings.HasPrefix(after, "|") {
		_, after, _ = strings.Cut(after, "\n")
	}
	page := before + head
	for _, k := range DoubtKinds {
		page += fmt.Sprintf("| `%s` | %s | %s |\n", k.Code, k.About, k.When)
	}
	if page += after; *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != page {
		t.Errorf("docs/verdict.md has another table than DoubtKinds: run with -update and look at the change")
	}
}
