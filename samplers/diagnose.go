package samplers

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"

	"lenskit/internal/stats"
)

// Diagnostics of Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and localization:
// an improved R̂". Draws are given as draws[chain][draw], all chains of one length, at least 4 draws each; what cannot
// be computed is NaN.

// RHat is the larger of the rank-normalised split R̂ of the draws and of their distances from the median. It is 1 when
// the chains agree in place and width.
func RHat(draws [][]float64) float64 {
	s := split(draws)
	if !usable(s) {
		return math.NaN()
	}
	mid := median(flatten(s))
	folded := mapDraws(s, func(v float64) float64 { return math.Abs(v - mid) })
	return math.Max(potential(rankNormal(s)), potential(rankNormal(folded)))
}

// ESSBulk is the effective number of draws for the middle of the distribution.
func ESSBulk(draws [][]float64) float64 {
	s := split(draws)
	if !usable(s) {
		return math.NaN()
	}
	return ess(rankNormal(s))
}

// ESSTail is the smaller effective number of draws of the 5 and 95 % quantiles.
func ESSTail(draws [][]float64) float64 {
	return math.Min(ESSQuantile(draws, 0.05), ESSQuantile(draws, 0.95))
}

// ESSMean is the effective number of draws for the mean.
func ESSMean(draws [][]float64) float64 {
	s := split(draws)
	if !usable(s) {
		return math.NaN()
	}
	return ess(s)
}

// ESSQuantile is the effective number of draws for the quantile at p.
func ESSQuantile(draws [][]float64, p float64) float64 {
	s := split(draws)
	if !usable(s) {
		return math.NaN()
	}
	q := stats.Quantile(sorted(flatten(draws)), p)
	return ess(mapDraws(s, func(v float64) float64 {
		if v <= q {
			return 1
		}
		return 0
	}))
}

// MCSEMean is the Monte Carlo standard error of the mean.
func MCSEMean(draws [][]float64) float64 {
	_, sd := meanSD(flatten(draws))
	return sd / math.Sqrt(ESSMean(draws))
}

// MCSESD is the Monte Carlo standard error of the standard deviation, by the delta method from that of the variance.
func MCSESD(draws [][]float64) float64 {
	mean, _ := meanSD(flatten(draws))
	c := mapDraws(draws, func(v float64) float64 { return (v - mean) * (v - mean) })
	all := flatten(c)
	m2, m4 := 0.0, 0.0
	for _, v := range all {
		m2 += v
		m4 += v * v
	}
	m2 /= float64(len(all))
	m4 /= float64(len(all))
	return math.Sqrt((m4 - m2*m2) / ESSMean(c) / m2 / 4)
}

// MCSEQuantile is the Monte Carlo standard error of the quantile at p: half the distance of the draws at the 16 and 84 %
// points of the Beta distribution of the quantile's level.
func MCSEQuantile(draws [][]float64, p float64) float64 {
	n := ESSQuantile(draws, p)
	if math.IsNaN(n) {
		return math.NaN()
	}
	a, b := n*p+1, n*(1-p)+1
	all := sorted(flatten(draws))
	size := float64(len(all))
	lo := mathext.InvRegIncBeta(a, b, 0.1586553)*size - 1
	hi := mathext.InvRegIncBeta(a, b, 0.8413447)*size - 1
	i := int(math.Floor(math.Max(lo, 0)))
	j := int(math.Ceil(math.Min(hi, size-1)))
	return (all[j] - all[i]) / 2
}

// BFMI is the energy Bayesian fraction of missing information of one chain (Betancourt 2016): below 0.3 the momenta are
// drawn too timidly for the tails of the energy.
func BFMI(energy []float64) float64 {
	if len(energy) < 4 {
		return math.NaN()
	}
	mean, num, den := 0.0, 0.0, 0.0
	for _, e := range energy {
		mean += e
	}
	mean /= float64(len(energy))
	for i, e := range energy {
		if i > 0 {
			d := e - energy[i-1]
			num += d * d
		}
		den += (e - mean) * (e - mean)
	}
	return num / den
}

// Summary tells about one parameter's draws. What cannot be computed is NaN, which encoding/json refuses.
type Summary struct {
	Name       string  `json:"-"`
	Mean       float64 `json:"mean"`
	SD         float64 `json:"sd"`
	Q5         float64 `json:"q5"`
	Q50        float64 `json:"q50"`
	Q95        float64 `json:"q95"`
	MCSEMean   float64 `json:"mcse_mean"`
	MCSESD     float64 `json:"mcse_sd"`
	ESSBulk    float64 `json:"ess_bulk"`
	ESSTail    float64 `json:"ess_tail"`
	RHat       float64 `json:"rhat"`
	Constant   bool    `json:"-"` // all draws are the same: nothing to diagnose
	Draws      int     `json:"-"`
	ChainCount int     `json:"-"`
}

// Summarize describes the draws of one parameter.
func Summarize(name string, draws [][]float64) Summary {
	all := flatten(draws)
	s := Summary{Name: name, Draws: len(all), ChainCount: len(draws)}
	s.Mean, s.SD = meanSD(all)
	order := sorted(all)
	s.Q5, s.Q50, s.Q95 = stats.Quantile(order, 0.05), stats.Quantile(order, 0.5), stats.Quantile(order, 0.95)
	s.Constant = len(order) > 0 && order[0] == order[len(order)-1]
	s.MCSEMean, s.MCSESD = MCSEMean(draws), MCSESD(draws)
	s.ESSBulk, s.ESSTail, s.RHat = ESSBulk(draws), ESSTail(draws), RHat(draws)
	return s
}

// Thresholds of Verdict, from the paper above and the Stan manual.
const (
	maxRHat     = 1.01
	minESSChain = 100 // per chain
	minBFMI     = 0.3
)

// Verdict says in words what speaks against the draws; none when nothing does. energy holds the energies of each
// chain; counts may hold one entry per chain, of which only the sums are used.
func Verdict(params []Summary, counts []Counts, energy [][]float64) []string {
	var out []string
	chains := 1
	for _, p := range params {
		chains = max(chains, p.ChainCount)
	}
	if worst := worstOf(params, func(s Summary) float64 { return s.RHat }, maxRHat); len(worst) > 0 {
		w := worst[0]
		advice := "run longer"
		if w.RHat > 1.5 {
			advice = "the chains are in different places: look for a second mode, or start closer"
		}
		out = append(out, fmt.Sprintf("R̂ of %s is %.2f%s: %s", w.Name, ceil2(w.RHat), others(len(worst)-1), advice))
	}
	low := float64(minESSChain * chains)
	for _, e := range []struct {
		what string
		of   func(Summary) float64
	}{{"bulk", func(s Summary) float64 { return s.ESSBulk }}, {"tail", func(s Summary) float64 { return s.ESSTail }}} {
		if worst := worstOf(params, func(s Summary) float64 { return -e.of(s) }, -low); len(worst) > 0 {
			w := worst[0]
			out = append(out, fmt.Sprintf("the %s of %s has %.0f effective draws, expected %.0f%s: run %.1f times longer", e.what, w.Name, e.of(w), low, others(len(worst)-1), math.Max(1.1, low/math.Max(1, e.of(w)))))
		}
	}
	var bad, draws, deep int
	for _, c := range counts {
		bad += c.Divergences
		draws += c.Draws
		deep += c.Saturated
	}
	if bad > 0 {
		out = append(out, fmt.Sprintf("%d of %d draws diverged: the posterior has corners that the steps miss; raise the target acceptance, or change the parameters", bad, draws))
	}
	if deep > 0 {
		out = append(out, fmt.Sprintf("%d of %d trajectories reached the maximum tree depth: the metric does not fit the posterior; warm up longer or with a dense metric", deep, draws))
	}
	for i, e := range energy {
		if b := BFMI(e); b < minBFMI {
			out = append(out, fmt.Sprintf("E-BFMI of chain %d is %.2f, expected %.1f or more: the tails are explored slowly; change the parameters or run longer", i+1, b, minBFMI))
		}
	}
	for _, p := range params {
		if !p.Constant && math.IsNaN(p.RHat) {
			out = append(out, fmt.Sprintf("R̂ of %s cannot be computed: expected at least 4 finite draws in each chain", p.Name))
			break
		}
	}
	return out
}

// worstOf are the parameters for which f exceeds limit, the worst first.
func worstOf(params []Summary, f func(Summary) float64, limit float64) []Summary {
	var out []Summary
	for _, p := range params {
		if !p.Constant && f(p) > limit {
			out = append(out, p)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return f(out[i]) > f(out[j]) })
	return out
}

func others(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

// ceil2 rounds up to two digits, so that 1.012 does not read 1.01.
func ceil2(v float64) float64 { return math.Ceil(v*100-1e-9) / 100 }

// split halves each chain; of an odd number of draws the middle one is left out.
func split(draws [][]float64) [][]float64 {
	var out [][]float64
	for _, c := range draws {
		h := len(c) / 2
		out = append(out, c[:h], c[len(c)-h:])
	}
	return out
}

// usable reports whether the half chains are long enough, of one length and finite.
func usable(s [][]float64) bool {
	for _, c := range s {
		if len(c) < 2 || len(c) != len(s[0]) || !allFinite(c) {
			return false
		}
	}
	return len(s) > 0
}

// rankNormal replaces each draw by the normal quantile of its rank among all (Blom's (r − 3/8)/(S + 1/4)), ties by their
// mean rank.
func rankNormal(s [][]float64) [][]float64 {
	type place struct {
		v    float64
		c, i int
	}
	var all []place
	out := make([][]float64, len(s))
	for c, chain := range s {
		out[c] = make([]float64, len(chain))
		for i, v := range chain {
			all = append(all, place{v, c, i})
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		switch {
		case a.v < b.v:
			return -1
		case a.v > b.v:
			return 1
		}
		return 0
	})
	n := float64(len(all))
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].v == all[i].v {
			j++
		}
		rank := 0.5 * float64(i+1+j)
		z := distuv.UnitNormal.Quantile((rank - 0.375) / (n + 0.25))
		for ; i < j; i++ {
			out[all[i].c][all[i].i] = z
		}
	}
	return out
}

// potential is √(var⁺/W) of chains taken as they are.
func potential(s [][]float64) float64 {
	n := float64(len(s[0]))
	within, means := 0.0, make([]float64, len(s))
	for i, c := range s {
		m, sd := meanSD(c)
		means[i] = m
		within += sd * sd / float64(len(s))
	}
	_, between := meanSD(means)
	return math.Sqrt((n-1)/n + between*between/within)
}

// ess is the effective number of draws of chains taken as they are: autocorrelations combined over chains, summed in
// pairs while these are positive and made to fall (Geyer 1992), bounded by S log₁₀ S.
func ess(s [][]float64) float64 {
	m, n := len(s), len(s[0])
	total := float64(m * n)
	lo, hi := math.Inf(1), math.Inf(-1)
	within := 0.0
	means := make([]float64, m)
	centred := make([][]float64, m)
	for i, c := range s {
		mean, sd := meanSD(c)
		means[i] = mean
		within += sd * sd / float64(m)
		centred[i] = make([]float64, n)
		for k, v := range c {
			centred[i][k] = v - mean
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
	}
	if hi-lo < 1e-15 {
		return total
	}
	plus := within * float64(n-1) / float64(n)
	if m > 1 {
		_, sd := meanSD(means)
		plus += sd * sd
	}
	rho := func(lag int) float64 {
		a := 0.0
		for _, c := range centred {
			sum := 0.0
			for k, v := range c[:n-lag] {
				sum += v * c[k+lag]
			}
			a += sum / float64(n)
		}
		return 1 - (within-a/float64(m))/plus
	}
	// τ = −1 + 2 Σ (ρ_2t + ρ_2t+1) over the pairs kept; of the first pair left out, a positive even term is added.
	even, odd := 1.0, rho(1)
	sum, last := 0.0, math.Inf(1)
	for lag := 2; lag < n-2 && even+odd > 0; lag += 2 {
		last = math.Min(last, even+odd)
		sum += last
		even, odd = rho(lag), rho(lag+1)
	}
	tau := -1 + 2*sum + math.Max(0, even)
	tau = math.Max(tau, 1/math.Log10(total))
	return total / tau
}

func flatten(draws [][]float64) []float64 {
	var all []float64
	for _, c := range draws {
		all = append(all, c...)
	}
	return all
}

func mapDraws(draws [][]float64, f func(float64) float64) [][]float64 {
	out := make([][]float64, len(draws))
	for i, c := range draws {
		out[i] = make([]float64, len(c))
		for k, v := range c {
			out[i][k] = f(v)
		}
	}
	return out
}

// meanSD are the mean and the standard deviation (divisor n−1).
func meanSD(v []float64) (mean, sd float64) {
	if len(v) == 0 {
		return math.NaN(), math.NaN()
	}
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	for _, x := range v {
		sd += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(sd / float64(len(v)-1))
}

func sorted(v []float64) []float64 {
	out := append([]float64(nil), v...)
	sort.Float64s(out)
	return out
}

func median(v []float64) float64 {
	o := sorted(v)
	return (o[(len(o)-1)/2] + o[len(o)/2]) / 2
}

// String is one line: name, mean ± sd, ESS and R̂.
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %12.6g ± %-10.4g  ess %6.0f / %-6.0f R̂ %.3f", s.Name, s.Mean, s.SD, s.ESSBulk, s.ESSTail, s.RHat)
	return b.String()
}
