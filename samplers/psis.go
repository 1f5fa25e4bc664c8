package samplers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// PSIS smooths log importance weights in place by Pareto smoothing (Vehtari, Simpson, Gelman, Yao & Gabry 2024) and
// normalises them to Σ exp = 1. The largest weights, min(S/5, 3√S) of them, are replaced by the order statistics of the
// generalised Pareto distribution fitted to them. It returns the fit's shape k̂: below 0.5 the weights have a finite
// variance and can be trusted, up to 0.7 with care, beyond it they say little. k̂ is +Inf when the tail has fewer than 5
// weights.
func PSIS(logWeights []float64) (k float64) {
	n := len(logWeights)
	if n == 0 {
		return math.Inf(1)
	}
	top := slices.Max(logWeights)
	if math.IsInf(top, 0) || math.IsNaN(top) {
		return math.Inf(1)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
		logWeights[i] -= top
	}
	sort.SliceStable(order, func(a, b int) bool { return logWeights[order[a]] < logWeights[order[b]] })
	tail := int(math.Ceil(math.Min(float64(n)/5, 3*math.Sqrt(float64(n)))))
	k = math.Inf(1)
	if tail < n {
		// The tail is what lies above the weight before it.
		cut := math.Max(logWeights[order[n-tail-1]], math.Log(math.SmallestNonzeroFloat64)+36)
		first := n - tail
		for first < n && logWeights[order[first]] <= cut {
			first++
		}
		if tail = n - first; tail > 4 {
			base := math.Exp(cut)
			x := make([]float64, tail)
			for i := range x {
				x[i] = math.Exp(logWeights[order[first+i]]) - base
			}
			var sigma float64
			k, sigma = fitPareto(x)
			if !math.IsInf(k, 0) && !math.IsNaN(k) {
				for i := range x {
					p := (float64(i) + 0.5) / float64(tail)
					q := -sigma * math.Log1p(-p)
					if k != 0 {
						q = sigma * math.Expm1(-k*math.Log1p(-p)) / k
					}
					logWeights[order[first+i]] = math.Min(0, math.Log(q+base))
				}
			}
		}
	}
	sum := math.Log(sumExp(logWeights))
	for i := range logWeights {
		logWeights[i] -= sum
	}
	return k
}

// fitPareto estimates shape and scale of a generalised Pareto distribution from sorted x > 0 by the posterior mean of
// Zhang & Stephens (2009), with their shape drawn toward ½ with the weight of 10 values (Vehtari et al. 2024).
func fitPareto(x []float64) (k, sigma float64) {
	n := len(x)
	points := 30 + int(math.Sqrt(float64(n)))
	quartile := x[int(float64(n)/4+0.5)-1]
	b, like := make([]float64, points), make([]float64, points)
	shape := func(b float64) float64 {
		s := 0.0
		for _, v := range x {
			s += math.Log1p(-b * v)
		}
		return s / float64(n)
	}
	top := math.Inf(-1)
	for i := range b {
		b[i] = 1/x[n-1] + (1-math.Sqrt(float64(points)/(float64(i)+0.5)))/(3*quartile)
		s := shape(b[i])
		like[i] = float64(n) * (math.Log(-b[i]/s) - s - 1)
		top = math.Max(top, like[i])
	}
	mean, sum := 0.0, 0.0
	for i := range b {
		if w := math.Exp(like[i] - top); w > 0 {
			mean += w * b[i]
			sum += w
		}
	}
	mean /= sum
	k = shape(mean)
	sigma = -k / mean
	return (float64(n)*k + 5) / (float64(n) + 10), sigma
}

func sumExp(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += math.Exp(x)
	}
	return s
}

// Weighted are draws from an approximation with the weights that make them draws from the target.
type Weighted struct {
	X           [][]float64
	LogWeight   []float64 // smoothed, Σ exp = 1
	K           float64   // k̂ of PSIS
	ESS         float64   // 1 / Σ w²
	LogEvidence float64   // log ∫ p, from the raw weights
	Tally
}

// Importance draws n points from g and weighs them by the target. Rejected points get weight 0.
func Importance(ctx context.Context, t Target, g *Gaussian, n int, rng *rand.Rand) (*Weighted, error) {
	if t.Dim() != g.Dim() {
		return nil, fmt.Errorf("samplers: importance: approximation: found %d parameters, expected %d", g.Dim(), t.Dim())
	}
	if n < 1 {
		return nil, fmt.Errorf("samplers: importance: found %d draws, expected a positive number", n)
	}
	w := &Weighted{LogWeight: make([]float64, n)}
	for i := range w.LogWeight {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x := make([]float64, g.Dim())
		g.Draw(x, rng)
		w.X = append(w.X, x)
		lp, ok, err := w.logProb(t, nil, x)
		if err != nil {
			return nil, fmt.Errorf("samplers: importance: draw %d: %w", i, err)
		}
		w.LogWeight[i] = math.Inf(-1)
		if ok {
			lq, _ := g.LogProb(nil, x)
			w.LogWeight[i] = lp - lq
		}
	}
	top := slices.Max(w.LogWeight)
	if math.IsInf(top, -1) {
		return nil, fmt.Errorf("samplers: importance: all %d draws were rejected", n)
	}
	raw := 0.0
	for _, v := range w.LogWeight {
		raw += math.Exp(v - top)
	}
	w.LogEvidence = top + math.Log(raw/float64(n))
	w.K = PSIS(w.LogWeight)
	sq := 0.0
	for _, v := range w.LogWeight {
		sq += math.Exp(2 * v)
	}
	w.ESS = 1 / sq
	return w, nil
}

// Trust says in words what the weights are worth.
func (w *Weighted) Trust() string {
	switch {
	case w.K < 0.5:
		return fmt.Sprintf("k̂ is %.2f: the weights can be trusted (%.0f effective draws of %d)", w.K, w.ESS, len(w.X))
	case w.K < 0.7:
		return fmt.Sprintf("k̂ is %.2f: the weights are usable (%.0f effective draws of %d)", w.K, w.ESS, len(w.X))
	}
	return fmt.Sprintf("k̂ is %.2f, expected below 0.7: the approximation misses the posterior, sample instead", w.K)
}

// Resample writes a draw, by weight, into x.
func (w *Weighted) Resample(x []float64, rng *rand.Rand) {
	u := rng.Float64()
	for i, lw := range w.LogWeight {
		if u -= math.Exp(lw); u < 0 || i == len(w.X)-1 {
			copy(x, w.X[i])
			return
		}
	}
}

// Moments writes the weighted mean and standard deviation of each parameter into mean and sd.
func (w *Weighted) Moments(mean, sd []float64) {
	for k := range mean {
		mean[k], sd[k] = 0, 0
		for i, x := range w.X {
			mean[k] += math.Exp(w.LogWeight[i]) * x[k]
		}
		for i, x := range w.X {
			d := x[k] - mean[k]
			sd[k] += math.Exp(w.LogWeight[i]) * d * d
		}
		sd[k] = math.Sqrt(sd[k])
	}
}
