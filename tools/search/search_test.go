package search

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// A frame with the pixels of the image itself, behind no lens, gets the image back.
func TestTracebackThroughNoLensIsTheImage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	o := &observation.Observation{W: 12, H: 12, Scale: 0.1, Sigma: []float64{1}, Data: check.Normals(rng, 144)}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	back := newTraceback(o, nil, make([]float64, 144))
	got := back.image(12, 12, 0, 0, 1.2, make([]float64, 144), 0.3)
	for i := range got {
		// a pixel of weight 1 leans on the guess, zero, with 0.3
		check.Close(t, "pixel", got[i], o.Data[i]/1.3, 1e-9, 1)
	}
}

// cutOff is a target in whose every few evaluations the run is told to stop.
type cutOff struct {
	samplers.Lagged
	left *int
	stop func()
}

func (c cutOff) LogProb(grad, x []float64) (float64, error) {
	if *c.left--; *c.left == 0 {
		c.stop()
	}
	return c.Lagged.LogProb(grad, x)
}

// A climb stopped between the trials of its steps ends at the same point with the same counts as one that is not stopped.
func TestStoppedClimbsCountEachEvaluationOnce(t *testing.T) {
	p := knotsProblem(t, "sie")
	from := make([]float64, p.Post.Dim())
	for i := range from {
		from[i] = 0.5
	}
	climbs := map[string]func(c *Climber, ctx context.Context, target samplers.Lagged) (*StageEnd, error){
		"lm": func(c *Climber, ctx context.Context, target samplers.Lagged) (*StageEnd, error) {
			return c.lm(ctx, "climb", p.Post, target, from, 12)
		},
		"adam": func(c *Climber, ctx context.Context, target samplers.Lagged) (*StageEnd, error) {
			return c.adam(ctx, "climb", p.Post, target, from, nil, samplers.AdamOptions{Steps: 40})
		},
		"bfgs": func(c *Climber, ctx context.Context, target samplers.Lagged) (*StageEnd, error) {
			return c.bfgs(ctx, "climb", p.Post, target, from)
		},
		"evidence": func(c *Climber, ctx context.Context, target samplers.Lagged) (*StageEnd, error) {
			named := namedTheta(p.Post, make([]float64, p.Post.Dim()))
			ends, err := c.invert(ctx, p.Config, p.Obs, []Found{{Theta: named}})
			if err != nil {
				return nil, err
			}
			target.LogProb(nil, from) // which may stop what is done
			return &StageEnd{LogProb: ends[0].LogProb}, ctx.Err()
		},
	}
	for name, climb := range climbs {
		record := func() *Record { return &Record{Done: map[string]*StageEnd{}} }
		whole := newClimber(&Search{Problem: p, Saved: record(), Save: func() error { return nil }, Compute: adjoint.Options{Threads: 1}})
		want, err := climb(whole, context.Background(), p.Post.MAP())
		if err != nil {
			t.Fatal(err)
		}
		parts, stops := record(), 0
		for {
			ctx, cancel := context.WithCancel(context.Background())
			left := 2 + stops%3
			s := newClimber(&Search{Problem: p, Saved: viaJSON(t, parts), Save: func() error { return nil }, Compute: adjoint.Options{Threads: 1}})
			if name == "evidence" { // is not made of evaluations of the target
				time.AfterFunc(time.Duration(1+stops)*200*time.Millisecond, cancel)
			}
			got, err := climb(s, ctx, cutOff{p.Post.MAP(), &left, cancel})
			cancelled := ctx.Err() != nil
			cancel()
			parts = s.Saved
			if err == nil {
				if got.LogProb != want.LogProb || s.Saved.Evaluations != whole.Saved.Evaluations || s.Saved.Iterations != whole.Saved.Iterations {
					t.Errorf("%s, stopped %d times: got %v after %d evaluations and %d steps, want %v, %d and %d", name, stops, got.LogProb, s.Saved.Evaluations,
						s.Saved.Iterations, want.LogProb, whole.Saved.Evaluations, whole.Saved.Iterations)
				}
				break
			}
			if stops++; !cancelled || stops > 300 {
				t.Fatalf("%s, stop %d: %v", name, stops, err)
			}
		}
		t.Logf("%s: stopped %d times", name, stops)
	}
}

// viaJSON is v as it is read back.
func viaJSON(t *testing.T, v *Record) *Record {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := &Record{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFrameWidthsFollowThePrior(t *testing.T) {
	comp := config.Component{Group: "source", Name: "galaxy", Params: config.DefaultParams("source", "decoder")}
	cfg := &config.Config{File: "c.yaml"}
	size := &comp.ByRole(physics.RoleSize).Prior
	for _, row := range []struct {
		prior physics.Prior
		want  []float64
	}{
		{physics.Fixed(4), []float64{4}},
		{physics.Uniform(0, 20), []float64{1, math.Sqrt(19), 19}},
		{physics.Normal(5, 1), []float64{3.4, math.Sqrt(3.4 * 6.6), 6.6}},
		{physics.Normal(5, 1).Bounded(4, 6), []float64{4, math.Sqrt(24), 6}},
		{physics.LogNormal(math.Log(5), 0.25), []float64{5 * math.Exp(-0.4), 5, 5 * math.Exp(0.4)}},
	} {
		size.Prior = row.prior
		got, err := frameWidths(cfg, &comp, 3)
		if err != nil || len(got) != len(row.want) {
			t.Fatalf("%+v: got %v (%v), want %v", row.prior, got, err, row.want)
		}
		for k := range got {
			check.Close(t, "width", got[k], row.want[k], 1e-12, 0)
		}
	}
	size.Prior = physics.Prior{Family: physics.FamilyDecoder, A: 1}
	if _, err := frameWidths(cfg, &comp, 3); err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), `c.yaml: source.galaxy.s: found the prior "bundle"`) {
		t.Errorf("the latents' prior: got %v", err)
	}
}
