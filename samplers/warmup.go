package samplers

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// Stage is a part of the warm-up: so many draws, in all of which the step size is tuned. With Metric the draws are
// collected too, and at the stage's end the metric is estimated from them and the step size searched anew.
type Stage struct {
	Draws  int
	Metric bool
}

// StanStages is Stan's windowed warm-up of so many draws: a start of 75, windows of 25, 50, 100, … that estimate the
// metric, an end of 50; the last window takes what is left (Stan Reference Manual, "HMC algorithm parameters"). A short
// warm-up gives 15 % to the start and 10 % to the end; below 20 draws only the step size is tuned.
func StanStages(warmup int) []Stage {
	start, window, end := 75, 25, 50
	if warmup < 20 {
		return StepStages(warmup)
	}
	if start+window+end > warmup {
		start, end = int(0.15*float64(warmup)), int(0.1*float64(warmup))
		window = warmup - start - end
	}
	stages := []Stage{{Draws: start}}
	for left := warmup - start - end; left > 0; window *= 2 {
		// A window takes all that is left when the next, twice as long, would not fit after it.
		if last := len(stages) > 1 && left <= 3*window; last || left < window {
			window = left
		}
		stages = append(stages, Stage{Draws: window, Metric: true})
		left -= window
	}
	return append(stages, Stage{Draws: end})
}

// StepStages is a warm-up that tunes the step size only and keeps the metric.
func StepStages(warmup int) []Stage {
	if warmup <= 0 {
		return nil
	}
	return []Stage{{Draws: warmup}}
}

// Moments gathers mean and (co)variance of draws by Welford's recurrence.
type Moments struct {
	Count int
	Mean  []float64
	Sum   []float64 // of squares (N long) or of products (N×N, lower triangle) about the mean
	dense bool
}

func newMoments(n int, dense bool) *Moments {
	size := n
	if dense {
		size = n * n
	}
	return &Moments{Mean: make([]float64, n), Sum: make([]float64, size), dense: dense}
}

// add takes one draw; d is scratch.
func (m *Moments) add(x, d []float64) {
	m.Count++
	n := len(x)
	for i, v := range x {
		d[i] = v - m.Mean[i]
		m.Mean[i] += d[i] / float64(m.Count)
	}
	if !m.dense {
		for i, v := range x {
			m.Sum[i] += d[i] * (v - m.Mean[i])
		}
		return
	}
	for i, v := range x {
		r := v - m.Mean[i]
		row := m.Sum[i*n : i*n+i+1]
		for j := range row {
			row[j] += r * d[j]
		}
	}
}

// metric estimates the metric: the sample (co)variance S of N draws, drawn toward the covariance of prior with the
// weight of so many draws, (N S + weight·AAᵀ)/(N + weight). It is nil when that is not positive definite.
func (m *Moments) metric(prior *Metric, weight float64) *Metric {
	n, count := len(m.Mean), float64(m.Count)
	if m.Count < 2 {
		return nil
	}
	a, b := count/(count+weight)/(count-1), weight/(count+weight)
	if !m.dense {
		sd := make([]float64, n)
		prior.Variances(sd)
		for i := range sd {
			sd[i] = math.Sqrt(a*m.Sum[i] + b*sd[i])
		}
		g, err := NewMetricDiag(sd)
		if err != nil {
			return nil
		}
		return g
	}
	cov := prior.Cov()
	for i := 0; i < n; i++ {
		for j := 0; j <= i; j++ {
			cov.SetSym(i, j, a*m.Sum[i*n+j]+b*cov.At(i, j))
		}
	}
	return denseOrNil(cov)
}

func denseOrNil(cov *mat.SymDense) *Metric {
	g, err := NewMetricCov(cov)
	if err != nil || !allFinite(g.Lower) {
		return nil
	}
	return g
}
