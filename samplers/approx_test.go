package samplers

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"lenskit/internal/check"
)

func TestVariationalIsExactForAGaussian(t *testing.T) {
	q := newQuadratic(10, 1e3, rand.New(rand.NewPCG(2, 0)))
	want, _, _ := NewMetricHess(q.h, 0)
	start := &Gaussian{Mean: make([]float64, 10), Metric: NewMetric(10)}
	v, err := Variational(context.Background(), q, start, VariationalOptions{Steps: 3000}, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	a, b := v.Gaussian.Metric.Cov(), want.Cov()
	for i := range q.mean {
		sd := math.Sqrt(b.At(i, i))
		check.Close(t, "mean", v.Gaussian.Mean[i], q.mean[i], 0.02, sd-math.Abs(q.mean[i]))
		for j := range q.mean {
			check.Close(t, "covariance", a.At(i, j), b.At(i, j), 0.03, sd*math.Sqrt(b.At(j, j))-math.Abs(b.At(i, j)))
		}
	}
	// The bound is the evidence, log ∫ exp(−½uᵀHu) = log|A| + n/2 log 2π.
	check.Close(t, "ELBO", v.ELBO, want.LogDet()+5*math.Log(2*math.Pi), 0.05, 1)
	w, err := Importance(context.Background(), q, v.Gaussian, 2000, rand.New(rand.NewPCG(3, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if !(w.K < 0.5) || w.ESS < 1900 || !strings.Contains(w.Trust(), "can be trusted") {
		t.Errorf("%s", w.Trust())
	}
}

func TestMeanFieldHasTheConditionalWidths(t *testing.T) {
	// For a Gaussian the mean-field optimum has the mean and the variances 1/H_ii.
	q := newQuadratic(6, 20, rand.New(rand.NewPCG(2, 0)))
	start := &Gaussian{Mean: make([]float64, 6), Metric: NewMetric(6)}
	v, err := Variational(context.Background(), q, start, VariationalOptions{Family: MeanField, Steps: 2000, Samples: 16}, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for i, sd := range v.Gaussian.Metric.SD {
		want := 1 / math.Sqrt(q.h.At(i, i))
		check.Close(t, "mean", v.Gaussian.Mean[i], q.mean[i], 0.05, want)
		check.Close(t, "sd", sd, want, 0.05, 0)
	}
}

func TestImportanceSaysWhenTheApproximationIsBad(t *testing.T) {
	narrow, err := NewMetricDiag([]float64{0.3, 0.3, 0.3, 0.3, 0.3, 0.3})
	if err != nil {
		t.Fatal(err)
	}
	w, err := Importance(context.Background(), harmonic(6), &Gaussian{Mean: make([]float64, 6), Metric: narrow}, 2000, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if w.K < 0.7 || !strings.Contains(w.Trust(), "misses the posterior") {
		t.Error(w.Trust())
	}
	wide, _ := NewMetricDiag([]float64{1.5, 1.5, 1.5})
	w, err = Importance(context.Background(), harmonic(3), &Gaussian{Mean: []float64{0.5, 0, 0}, Metric: wide}, 4000, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	mean, sd := make([]float64, 3), make([]float64, 3)
	w.Moments(mean, sd)
	for k := range mean {
		check.Close(t, "mean", mean[k], 0, 0.08, 1)
		check.Close(t, "sd", sd[k], 1, 0.08, 0)
	}
	check.Close(t, "evidence", w.LogEvidence, 1.5*math.Log(2*math.Pi), 0.05, 1)
	x, sum := make([]float64, 3), 0.0
	rng := rand.New(rand.NewPCG(2, 2))
	for i := 0; i < 2000; i++ {
		w.Resample(x, rng)
		sum += x[0] / 2000
	}
	check.Close(t, "resampled mean", sum, 0, 0.12, 1)
	if _, err := Importance(context.Background(), halfNormal{}, &Gaussian{Mean: []float64{-100}, Metric: NewMetric(1)}, 10, rng); err == nil || !strings.Contains(err.Error(), "all 10 draws were rejected") {
		t.Errorf("got %v", err)
	}
}

// arvizReference is testdata/arviz.json, made by testdata/arviz_reference.py.
type arvizReference struct {
	Cases []struct {
		Name  string
		Draws [][]float64
		Want  map[string]float64
	}
	Energy  []float64
	BFMI    float64
	Weights []struct {
		Name     string
		Raw      []float64
		Smoothed []float64
		K        float64
	}
}

func TestDiagnosticsMatchArviZ(t *testing.T) {
	text, err := os.ReadFile("testdata/arviz.json")
	if err != nil {
		t.Fatal(err)
	}
	var ref arvizReference
	if err := json.Unmarshal(text, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Cases) < 5 || len(ref.Weights) < 3 {
		t.Fatalf("found %d cases and %d weights", len(ref.Cases), len(ref.Weights))
	}
	for _, c := range ref.Cases {
		for what, f := range map[string]func([][]float64) float64{
			"rhat": RHat, "ess_bulk": ESSBulk, "ess_tail": ESSTail, "ess_mean": ESSMean, "mcse_mean": MCSEMean, "mcse_sd": MCSESD,
			"mcse_q10": func(d [][]float64) float64 { return MCSEQuantile(d, 0.1) },
			"mcse_q50": func(d [][]float64) float64 { return MCSEQuantile(d, 0.5) },
			"mean":     func(d [][]float64) float64 { return Summarize("", d).Mean },
			"sd":       func(d [][]float64) float64 { return Summarize("", d).SD },
			"q5":       func(d [][]float64) float64 { return Summarize("", d).Q5 },
		} {
			want, ok := c.Want[what]
			if !ok && what == "rhat" && len(c.Draws) == 1 {
				continue
			}
			if !ok {
				t.Fatalf("%s: no %s", c.Name, what)
			}
			check.Close(t, c.Name+" "+what, f(c.Draws), want, 1e-9, 0)
		}
	}
	check.Close(t, "bfmi", BFMI(ref.Energy), ref.BFMI, 1e-10, 0)
	for _, w := range ref.Weights {
		lw := append([]float64(nil), w.Raw...)
		check.Close(t, w.Name+" k", PSIS(lw), w.K, 1e-8, 0)
		for i, v := range lw {
			if math.Abs(v-w.Smoothed[i]) > 1e-7 {
				t.Errorf("%s: weight %d: got %g, want %g", w.Name, i, v, w.Smoothed[i])
				break
			}
		}
	}
}

func TestDiagnosticsOfNonsense(t *testing.T) {
	if v := RHat([][]float64{{1, 2}, {3, 4}}); !math.IsNaN(v) {
		t.Errorf("R̂ of two draws: %v", v)
	}
	if v := ESSBulk([][]float64{{1, 2, 3, math.NaN(), 5, 6}}); !math.IsNaN(v) {
		t.Errorf("ESS with a NaN: %v", v)
	}
	if v := RHat(nil); !math.IsNaN(v) {
		t.Errorf("R̂ of nothing: %v", v)
	}
	s := Summarize("c", [][]float64{{2, 2, 2, 2}, {2, 2, 2, 2}})
	if !s.Constant || s.SD != 0 || len(Verdict([]Summary{s}, nil, nil)) != 0 {
		t.Errorf("constant: %+v: %v", s, Verdict([]Summary{s}, nil, nil))
	}
	s = Summarize("none", [][]float64{{}})
	if text := Verdict([]Summary{s}, nil, nil); len(text) != 1 || !strings.Contains(text[0], "R̂ of none cannot be computed") {
		t.Errorf("%v", text)
	}
	if k := PSIS(nil); !math.IsInf(k, 1) {
		t.Errorf("k̂ of nothing: %v", k)
	}
	if k := PSIS([]float64{1, 1, 1}); !math.IsInf(k, 1) {
		t.Errorf("k̂ of three: %v", k)
	}
}

func TestVerdictSpeaksPlainly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	good := [][]float64{check.Normals(rng, 1000), check.Normals(rng, 1000)}
	if text := Verdict([]Summary{Summarize("a", good)}, []Counts{{Draws: 1000}, {Draws: 1000}}, good); len(text) != 0 {
		t.Errorf("found %v", text)
	}
	shifted := [][]float64{good[0], nil}
	for _, v := range good[1] {
		shifted[1] = append(shifted[1], v+0.6)
	}
	slow := [][]float64{nil, nil}
	for c := range slow {
		x := 0.0
		for i := 0; i < 1000; i++ {
			x = 0.97*x + rng.NormFloat64()
			slow[c] = append(slow[c], x)
		}
	}
	text := Verdict([]Summary{Summarize("a", good), Summarize("source.decoder.z.7", shifted), Summarize("slow", slow)},
		[]Counts{{Draws: 1000, Divergences: 3}, {Draws: 1000, Saturated: 2}}, nil)
	want := []string{"R̂ of slow is 1.06 (and 1 more): run longer", "the bulk of source.decoder.z.7 has 27 effective draws, expected 200", "3 of 2000 draws diverged", "2 of 2000 trajectories reached the maximum tree depth"}
	all := strings.Join(text, "\n")
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("%q is not in\n%s", w, all)
		}
	}
}
