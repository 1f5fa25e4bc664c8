package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lenskit/internal/disk"
	"lenskit/samplers"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

// Summary is summary.json.
type Summary struct {
	Parameters  Summaries      `json:"parameters"`
	Divergences int            `json:"divergences"`
	Draws       int            `json:"draws"` // kept, of each chain
	Chains      int            `json:"chains"`
	Seconds     term.JSONFloat `json:"seconds"`   // of sampling, warm-up included
	Gradients   int            `json:"gradients"` // of all chains, warm-up included
	// Verdict says what speaks against the draws; empty when nothing does.
	Verdict []string `json:"verdict"`
	// Limits are those of the parameters whose draws pile up at a bound of their prior.
	Limits map[string]*search.Limit `json:"limits,omitempty"`

	latents map[string]bool // parameters that are latents of a decoder

	Slowest             string           `json:"slowest_parameter"` // fewest effective draws, of all but the latents
	EffectivePerSecond  term.JSONFloat   `json:"slowest_ess_per_second"`
	GradientsPerDraw    term.JSONFloat   `json:"gradients_per_effective_draw"` // of the slowest parameter, warm-up left out
	Accept              term.JSONFloat   `json:"accept_stat"`
	StepSizes           []term.JSONFloat `json:"step_sizes,omitempty"`
	BFMI                []term.JSONFloat `json:"e_bfmi,omitempty"`
	WarmupDivergences   int              `json:"warmup_divergences"`
	WarmupGradients     int              `json:"warmup_gradients"` // of all chains
	MaxDepthReached     int              `json:"max_treedepth_reached"`
	Rejections          map[string]int   `json:"rejections,omitempty"`
	DivergentIterations []int            `json:"divergent_iterations,omitempty"` // warm-up included, chains in turn

	// Coordinates are those of the chains, and GaussianMisfit by how much the log density at a draw of the Gaussian that
	// they start from was typically off that Gaussian's.
	Coordinates    string         `json:"coordinates"`
	GaussianMisfit term.JSONFloat `json:"gaussian_misfit"`

	Approximation *quickSummary     `json:"approximation,omitempty"`
	Sampler       string            `json:"sampler"`
	Warmup        int               `json:"warmup"`
	Seed          uint64            `json:"seed"`
	Fit           string            `json:"fit"` // status of the fit it starts from
	Inputs        []rundir.Input    `json:"inputs"`
	Files         rundir.Sums       `json:"files"`         // the SHA-256 of the draws and of what is computed of them
	FitSum        string            `json:"fit_sha256"`    // of the fit.json of the fit that it starts from
	ConfigSum     string            `json:"config_sha256"` // of the config.yaml that the draws are of
	Versions      map[string]string `json:"versions"`
}

// quickSummary tells what a Gaussian approximation is worth.
type quickSummary struct {
	K           term.JSONFloat `json:"pareto_k"`
	ESS         term.JSONFloat `json:"effective_draws"`
	LogEvidence term.JSONFloat `json:"log_evidence"`
	ELBO        term.JSONFloat `json:"elbo"`
	Weighted    bool           `json:"weighted"`
	Trust       string         `json:"trust"`
}

// Summaries are a JSON object of the summaries of parameters in their order.
type Summaries []samplers.Summary

// Get is the summary of the parameter of a name, and whether there is one.
func (p Summaries) Get(name string) (samplers.Summary, bool) {
	i := slices.IndexFunc(p, func(s samplers.Summary) bool { return s.Name == name })
	if i < 0 {
		return samplers.Summary{}, false
	}
	return p[i], true
}

// named is a number of a summary with its name in JSON.
type named struct {
	name string
	v    *float64
}

func numbersOf(s *samplers.Summary) []named {
	return []named{{"mean", &s.Mean}, {"sd", &s.SD}, {"q5", &s.Q5}, {"q50", &s.Q50}, {"q95", &s.Q95}, {"ess_bulk", &s.ESSBulk}, {"ess_tail", &s.ESSTail},
		{"rhat", &s.RHat}, {"mcse_mean", &s.MCSEMean}, {"mcse_sd", &s.MCSESD}}
}

// MarshalJSON writes the object; what could not be computed is null.
func (p Summaries) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, s := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(s.Name)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteString(":{")
		for k, f := range numbersOf(&s) {
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:%s", f.name, term.NumberText(*f.v))
		}
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads the object, keeping its order; null is NaN.
func (p *Summaries) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	switch first, err := d.Token(); {
	case err != nil || first == nil:
		return err
	case first != json.Delim('{'):
		return &json.UnmarshalTypeError{Value: "no object", Type: reflect.TypeFor[map[string]samplers.Summary]()}
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var v map[string]term.JSONFloat
		if err := d.Decode(&v); err != nil {
			return err
		}
		s := samplers.Summary{Name: key.(string)}
		for _, f := range numbersOf(&s) {
			*f.v = math.NaN()
			if x, ok := v[f.name]; ok {
				*f.v = float64(x)
			}
		}
		*p = append(*p, s)
	}
	return nil
}

// ReadSummary reads the summary.json that Sample leaves in a folder.
func ReadSummary(dir string) (*Summary, error) {
	path := filepath.Join(dir, rundir.SummaryJSON)
	data, err := disk.Read(path, term.MaxRecord)
	if err != nil {
		return nil, fmt.Errorf("%w, expected the folder of a sampled run", err)
	}
	s := &Summary{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	return s, nil
}

// Draws are the draws that the files of a run hold, as far as all its chains have them.
type Draws struct {
	Names     []string
	X         [][][]float64 // chain, draw, parameter
	LogProb   [][]float64
	Divergent [][]bool
	Energy    [][]float64
	Accept    float64 // mean
	Sampler   string
	Weighted  bool
}

// ReadDraws reads the draws in dir: those of the named files of chains, or, where none is named, of those that the folder's
// summary.json tells.
func ReadDraws(dir string, names ...string) (*Draws, error) {
	if len(names) == 0 {
		told, err := run.DrawnIn(dir)
		if err != nil {
			return nil, err
		}
		if told != nil {
			names = told.Names
		}
	}
	if len(names) == 0 {
		return nil, term.BadInput("%s: found no samples.csv, expected the folder of a sampled run", dir)
	}
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	d := &Draws{}
	accepted, n := 0.0, 0
	for _, path := range paths {
		c, err := ReadChain(path)
		if err != nil {
			return nil, err
		}
		if d.Names == nil {
			d.Names = c.Names
			d.Sampler = c.Settings["method"]
			d.Weighted = c.Settings["weighted"] == "true"
		} else if !slices.Equal(d.Names, c.Names) {
			return nil, term.BadInput("%s: found other parameters than in %s", path, paths[0])
		}
		var div []bool
		var energy []float64
		for _, in := range c.Info {
			div = append(div, in.Divergent)
			energy = append(energy, in.Energy)
			accepted += in.AcceptStat
			n++
		}
		d.X, d.LogProb, d.Divergent, d.Energy = append(d.X, c.X), append(d.LogProb, c.LogProb), append(d.Divergent, div), append(d.Energy, energy)
	}
	if n > 0 {
		d.Accept = accepted / float64(n)
	}
	least := len(d.X[0])
	for _, x := range d.X {
		least = min(least, len(x))
	}
	for i := range d.X {
		d.X[i], d.LogProb[i], d.Divergent[i], d.Energy[i] = d.X[i][:least], d.LogProb[i][:least], d.Divergent[i][:least], d.Energy[i][:least]
	}
	return d, nil
}

// ReadChain reads the draws of one chain. Their parameters, and lp__ where there is one, are numbers that can be squared
// and added up.
func ReadChain(path string) (*samplers.StanDraws, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, term.BadInput("%w, expected the draws of a chain", err)
	}
	defer f.Close()
	if size > term.MaxTableFile {
		return nil, term.BadInput("%s: found %s, expected at most %s", path, disk.Size(size), disk.Size(term.MaxTableFile))
	}
	c, err := samplers.ReadStanCSV(f)
	if err != nil {
		return nil, term.BadInput("%s: %w", path, err)
	}
	for i, x := range c.X {
		for k, v := range x {
			if !(math.Abs(v) <= term.MaxMagnitude) {
				return nil, term.BadInput("%s: draw %d: %s is %g, expected a number of size up to %g", path, i+1, term.Shown(c.Names[k]), v, term.MaxMagnitude)
			}
		}
		if math.Abs(c.LogProb[i]) > term.MaxMagnitude {
			return nil, term.BadInput("%s: draw %d: lp__ is %g, expected a number of size up to %g", path, i+1, c.LogProb[i], term.MaxMagnitude)
		}
	}
	return c, nil
}

// Get are the draws of the parameter of a name, one chain after the other, and whether there is one.
func (d *Draws) Get(name string) ([]float64, bool) {
	k := slices.Index(d.Names, name)
	if k < 0 {
		return nil, false
	}
	return slices.Concat(d.column(k)...), true
}

// column gathers parameter k by chain.
func (d *Draws) column(k int) [][]float64 {
	out := make([][]float64, len(d.X))
	for c := range d.X {
		out[c] = make([]float64, len(d.X[c]))
		for i, x := range d.X[c] {
			out[c][i] = x[k]
		}
	}
	return out
}

// finish writes what a run leaves beside its draws; summary.json comes last of the files, so that where it is, all is.
func (r *sampling) finish() (*Summary, error) {
	spent := r.elapsed()
	names := r.fileNames()
	if r.quick != nil {
		names = []string{filepath.Base(rundir.ChainFile(r.dir, 0, 1))}
	}
	d, err := ReadDraws(r.dir, names...)
	if err != nil {
		return nil, err
	}
	sum := &Summary{Draws: len(d.X[0]), Chains: len(d.X), Seconds: term.JSONFloat(spent), Sampler: r.opt.Sampler, Warmup: r.opt.Warmup, Seed: r.opt.Seed,
		Fit: r.at.fit.Status, Inputs: r.p.Inputs, Versions: run.Versions(), Verdict: []string{}, Limits: map[string]*search.Limit{}, latents: r.p.Latents(), Accept: term.JSONFloat(d.Accept),
		Coordinates: r.saved.Coordinates.describe(), GaussianMisfit: term.JSONFloat(r.saved.Misfit)}
	bounds := search.Bounds(r.p)
	for k, n := range d.Names {
		sum.Parameters = append(sum.Parameters, samplers.Summarize(n, d.column(k)))
		if l := search.PiledUp(slices.Concat(d.column(k)...), bounds[r.p.Index[n]]); l != nil {
			sum.Limits[n] = l
		}
	}
	if r.at.fit.Status != run.Converged {
		sum.Verdict = append(sum.Verdict, fmt.Sprintf("the fit it starts from is %s: %s", strings.ReplaceAll(r.at.fit.Status, "_", " "), r.at.fit.Reason))
	}
	if q := r.quick; q != nil {
		sum.Approximation = &quickSummary{q.K, q.ESS, q.LogEvidence, q.ELBO, q.Weighted, q.Trust}
		sum.Gradients, sum.Rejections, sum.Warmup = q.Evaluations, q.Rejections, 0
		sum.Verdict = append(sum.Verdict, q.Doubts...)
		for i := range sum.Parameters {
			s := &sum.Parameters[i]
			s.RHat, s.ESSBulk, s.ESSTail, s.MCSEMean, s.MCSESD = math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()
			if q.Weighted {
				s.ESSBulk = float64(q.ESS)
			}
		}
	} else {
		r.judge(sum, d)
	}
	if err := r.writeSourceMoments(d); err != nil {
		return nil, err
	}
	if err := drawCorner(r.dir, names); err != nil {
		return nil, err
	}
	if err := drawTrace(r.dir, names); err != nil {
		return nil, err
	}
	if err := run.DrawMoments(r.dir); err != nil {
		return nil, err
	}
	if sum.Files, err = rundir.SumsOf(r.dir, append(names, rundir.SamplesFITS)...); err != nil {
		return nil, err
	}
	sum.FitSum, sum.ConfigSum = r.at.fit.Sum, r.config
	if err := rundir.WriteJSON(filepath.Join(r.dir, rundir.SummaryJSON), sum); err != nil {
		return nil, err
	}
	return sum, nil
}

// judge fills in what the chains tell of themselves.
func (r *sampling) judge(sum *Summary, d *Draws) {
	var counts []samplers.Counts
	for _, c := range r.chains {
		n := c.Counts()
		counts = append(counts, n)
		sum.Divergences += n.Divergences
		sum.WarmupDivergences += n.WarmupDivergences
		sum.MaxDepthReached += n.Saturated
		sum.Gradients += n.Gradients
		s := c.Save()
		sum.WarmupGradients += s.WarmupTally.Evaluations
		sum.StepSizes = append(sum.StepSizes, term.JSONFloat(c.StepSize()))
		for why, k := range n.Rejections {
			if sum.Rejections == nil {
				sum.Rejections = map[string]int{}
			}
			sum.Rejections[why] += k
		}
		for _, p := range c.Divergences() {
			sum.DivergentIterations = append(sum.DivergentIterations, p.Iteration)
		}
	}
	for _, e := range d.Energy {
		sum.BFMI = append(sum.BFMI, term.JSONFloat(samplers.BFMI(e)))
	}
	least := math.Inf(1)
	for _, s := range sum.Parameters {
		if !sum.latents[s.Name] && s.ESSBulk < least {
			least, sum.Slowest = s.ESSBulk, s.Name
		}
	}
	sum.EffectivePerSecond, sum.GradientsPerDraw = term.JSONFloat(least/float64(sum.Seconds)), term.JSONFloat(float64(sum.Gradients-sum.WarmupGradients)/least)
	sum.Verdict = append(sum.Verdict, samplers.Verdict(sum.Parameters, counts, d.Energy)...)
}

// print writes the summary for people.
func (s *Summary) print(w io.Writer, dir string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d draws of each of %d chains, %d gradients, %s\n", s.Sampler, s.Draws, s.Chains, s.Gradients, term.Seconds(time.Duration(float64(s.Seconds)*float64(time.Second))))
	width, latents := len("parameter"), 0
	for _, p := range s.Parameters {
		if s.latents[p.Name] {
			latents++
		} else {
			width = max(width, len(p.Name))
		}
	}
	whole := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return strconv.Itoa(int(math.Round(v)))
	}
	fmt.Fprintf(&b, "  %-*s  %12s  %10s  %12s  %12s  %6s  %6s  %6s\n", width, "parameter", "mean", "sd", "5 %", "95 %", "ESS", "tail", "R̂")
	worst := samplers.Summary{RHat: math.Inf(-1), ESSBulk: math.Inf(1)}
	for _, p := range s.Parameters {
		if s.latents[p.Name] {
			worst.RHat, worst.ESSBulk = math.Max(worst.RHat, p.RHat), math.Min(worst.ESSBulk, p.ESSBulk)
			continue
		}
		rhat := "–"
		if !math.IsNaN(p.RHat) {
			rhat = fmt.Sprintf("%.3f", p.RHat)
		}
		fmt.Fprintf(&b, "  %-*s  %12s  %10s  %12s  %12s  %6s  %6s  %6s\n", width, p.Name, term.WithDigits(p.Mean, p.SD), term.WithDigits(p.SD, p.SD), term.WithDigits(p.Q5, p.SD), term.WithDigits(p.Q95, p.SD),
			whole(p.ESSBulk), whole(p.ESSTail), rhat)
		if l := s.Limits[p.Name]; l != nil {
			fmt.Fprintf(&b, "  %-*s  on a bound of its prior: %v\n", width, "", l)
		}
	}
	if latents > 0 {
		fmt.Fprintf(&b, "  and %d latents of the decoder", latents)
		if !math.IsNaN(worst.RHat) {
			fmt.Fprintf(&b, ": ESS at least %s, R̂ at most %.3f", whole(worst.ESSBulk), worst.RHat)
		}
		b.WriteByte('\n')
	}
	switch {
	case s.Approximation != nil && s.Approximation.Weighted:
		fmt.Fprintln(&b, s.Approximation.Trust)
	case s.Approximation == nil:
		fmt.Fprintf(&b, "acceptance %.2f, %d divergences, %.1f gradients an effective draw of %s\n", float64(s.Accept), s.Divergences, float64(s.GradientsPerDraw), s.Slowest)
	}
	for _, v := range s.Verdict {
		fmt.Fprintln(&b, "warning: "+v)
	}
	if len(s.Verdict) == 0 {
		fmt.Fprintln(&b, "nothing speaks against the draws")
	}
	for _, f := range []string{rundir.SummaryJSON, rundir.CornerPNG, rundir.TracePNG, rundir.MomentsPNG, rundir.SamplesFITS} {
		fmt.Fprintln(&b, filepath.Join(dir, f))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
