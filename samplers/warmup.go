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

// metric estimates the metric from the sample (co)variance S of N draws; nil when it is not positive definite.
//
// Without a known metric, S is drawn toward 10⁻³·I with the weight of 5 draws, as in Stan. With one, S is taken in its
// coordinates and drawn toward the identity: a diagonal with the weight of 5 draws, a full matrix by the oracle
// approximating shrinkage of Chen, Wiesel, Eldar & Hero (2010), eq. 23, which keeps the known metric as long as the draws
// do not speak against it. That rule is for independent draws; those of a chain are counted as a quarter of their number.
func (m *Moments) metric(known *Metric) *Metric {
	if m.Count < 2 {
		return nil
	}
	n, count := len(m.Mean), float64(m.Count)
	a, b := count/(count+5)/(count-1), 5/(count+5)
	if !m.dense {
		v := make([]float64, n)
		if known != nil {
			known.Variances(v)
		} else {
			fill(v, 1e-3)
		}
		for i := range v {
			v[i] = math.Sqrt(a*m.Sum[i] + b*v[i])
		}
		g, err := NewMetricDiag(v)
		if err != nil {
			return nil
		}
		return g
	}
	cov := mat.NewSymDense(n, nil)
	if known == nil {
		for i := 0; i < n; i++ {
			for j := 0; j <= i; j++ {
				cov.SetSym(i, j, a*m.Sum[i*n+j])
			}
			cov.SetSym(i, i, cov.At(i, i)+b*1e-3)
		}
		return denseOrNil(cov)
	}
	// W = A⁻¹ S A⁻ᵀ, column by column and then row by row.
	w := mat.NewDense(n, n, nil)
	col := make([]float64, n)
	for j := 0; j < n; j++ {
		for i := range col {
			col[i] = m.Sum[max(i, j)*n+min(i, j)] / (count - 1)
		}
		known.Solve(col, col)
		w.SetRow(j, col) // W's first half, transposed
	}
	trace, square := 0.0, 0.0
	for j := 0; j < n; j++ {
		mat.Col(col, j, w)
		known.Solve(col, col)
		for i := 0; i <= j; i++ {
			cov.SetSym(i, j, col[i])
		}
	}
	for i := 0; i < n; i++ {
		trace += cov.At(i, i)
		for j := 0; j < n; j++ {
			square += cov.At(i, j) * cov.At(i, j)
		}
	}
	p := float64(n)
	keep := 1.0
	if spread := square - trace*trace/p; spread > 0 {
		keep = math.Min(1, ((1-2/p)*square+trace*trace)/((count/4+1-2/p)*spread))
	}
	for i := 0; i < n; i++ {
		for j := i; j < n; j++ {
			cov.SetSym(i, j, (1-keep)*cov.At(i, j))
		}
		cov.SetSym(i, i, cov.At(i, i)+keep*trace/p)
	}
	g := denseOrNil(cov)
	if g == nil {
		return nil
	}
	// A' = A chol(W).
	for j := 0; j < n; j++ {
		for i := range col {
			col[i] = g.Lower[i*n+j]
		}
		known.Push(col, col)
		for i := range col {
			g.Lower[i*n+j] = col[i]
		}
	}
	return g
}

func denseOrNil(cov *mat.SymDense) *Metric {
	g, err := NewMetricCov(cov)
	if err != nil || !allFinite(g.Lower) {
		return nil
	}
	return g
}

func fill(v []float64, x float64) {
	for i := range v {
		v[i] = x
	}
}
