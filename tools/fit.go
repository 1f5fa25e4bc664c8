package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/mat"

	"lenskit/adjoint"
	"lenskit/internal/disk"
	"lenskit/samplers"
)

// FitOptions says what Fit fits and how.
type FitOptions struct {
	Input   string // config, or a FITS image described by Bare
	Bare    bareImage
	Output  string // folder; "": named after the input
	Search  searchOptions
	Compute adjoint.Options
	JSON    bool
	Locked  bool // the folder is this process's already
}

// Fit finds the maximum a posteriori of a config's model and leaves the folder of a run. It returns a notConverged error
// when the results are written but not to be trusted, and an interrupted one when ctx was cancelled and the state saved.
func Fit(ctx context.Context, opt FitOptions, stdout io.Writer, pr *progress) error {
	begun := time.Now()
	cfg, err := opt.config()
	if err != nil {
		return err
	}
	if cfg.Data.Image == "" {
		return withHint(cfg.fail("data", "has no image to fit, expected image: a FITS path"), "lenskit mock simulates one, and writes a config that names it")
	}
	dir := opt.folder()
	own := ownFolder
	if opt.Locked {
		own = func(_ context.Context, dir string) (func(), error) { return openFolder(dir) }
	}
	leave, err := own(ctx, dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := runFolder.checkFor(dir); err != nil {
		return err
	}
	p, err := newProblem(cfg, opt.Compute)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Obs.fittable(cfg); err != nil {
		return err
	}
	if p.Post.Dim() == 0 {
		return nothingFree(cfg)
	}
	notices := p.notices()
	for _, n := range notices {
		pr.say("%s", n)
	}
	opt.Search = opt.Search.defaults()
	check, err := newCheckpoint(dir, version(), cfg.text(dir), p.Inputs, opt.Search, opt.Compute.Device)
	if err != nil {
		return err
	}
	guard := guardOf(ctx)
	guard.onExit(pr.end)
	saved := &searchRecord{}
	found, notice, err := check.load(saved)
	switch {
	case err != nil:
		return err
	case notice != "":
		pr.warn("%s", notice)
	case found:
		pr.say("going on from %s after %s", check.path, seconds(time.Duration(saved.Seconds*float64(time.Second))))
	}
	if !found {
		saved = &searchRecord{}
		moved, err := p.makeRoom(dir, opt.Search)
		if err != nil {
			return err
		}
		if moved != "" {
			pr.warn("%s", moved)
		}
	}
	before := saved.Seconds
	elapsed := func() float64 { return before + time.Since(begun).Seconds() }
	s := &search{p: p, opt: opt.Search, run: opt.Compute, tell: tellOn(pr), saved: saved}
	s.save = func() error {
		saved.Seconds = elapsed()
		return check.save(saved)
	}
	if ctx.Err() == nil { // else the search ends before it begins, and the state is written as it is
		if err := s.save(); err != nil {
			return err
		}
	}
	// what a guard can say of the state of another goroutine is that there is one
	done := guard.during(func() error { return check.stop(ctx) })
	defer done()
	res, err := s.find(ctx)
	pr.end()
	if err != nil && ctx.Err() == nil {
		if err = searchError(err); exitCode(err) != exitNumerical {
			return err
		}
	} else if err != nil {
		saved.Seconds = elapsed()
		if err := check.force(saved); err != nil {
			return err
		}
		return stateSaved(ctx, check.path, len(saved.Done) == 0 && saved.Task == "")
	}
	saved.Seconds = elapsed()
	if err := check.force(saved); err != nil { // the search need not be made again if the rest is stopped
		return err
	}
	var rec *fitRecord
	var theta []float64
	if err == nil {
		rec, theta, err = p.record(res)
	}
	if err != nil {
		rec, theta = p.failed(err)
	}
	rec.Seconds, rec.Seed, rec.Options, rec.Notices = jsonFloat(elapsed()), opt.Search.Seed, opt.Search, notices
	if opt.Bare.Image == "" {
		rec.Inputs = append([]input{{opt.Input, cfg.sum}}, rec.Inputs...)
	}
	if cfg.sum != disk.SumOf([]byte(cfg.text(dir))) && sameFile(cfg.file, filepath.Join(dir, fileConfig)) {
		moved, err := moveAside(dir, []string{fileConfig}, "the config as it was read")
		if err != nil {
			return err
		}
		pr.warn("%s", moved)
	}
	if err := p.writeRun(dir, theta, rec); err != nil {
		return err
	}
	defer guard.trusting()() // all is written, and from here on nothing says that it is not
	if err := check.remove(); err != nil {
		return err
	}
	if opt.JSON {
		err = encodeJSON(stdout, rec)
	} else {
		err = rec.print(stdout, dir)
	}
	if err == nil && rec.Status != statusConverged {
		return notConverged("%s: %s: %s", dir, strings.ReplaceAll(rec.Status, "_", " "), rec.Reason)
	}
	return err
}

// nothingFree is the error of a model that leaves nothing to fit or to sample.
func nothingFree(c *config) error {
	return badInput("%s: nothing to fit: every parameter is fixed; lenskit eval tells its log density", c.file)
}

// failed is the record of a fit that could not be computed, and why: the parameters are the centres of their priors.
func (p *problem) failed(why error) (*fitRecord, []float64) {
	theta, unknown := laidOut(p.Post), make([]float64, len(p.Post.Names()))
	for i := range unknown {
		unknown[i] = math.NaN()
	}
	none := jsonFloat(math.NaN())
	rec := &fitRecord{
		Status: statusFailed, Reason: oneLine(why.Error()), Parameters: p.named(theta), Uncertainties: p.named(unknown),
		LogPosterior: none, Chi2: none, Pixels: p.Post.Pixels(), ReducedChi2: none, Inputs: p.Inputs, Versions: versions(),
	}
	if e, err := p.Post.Eval(theta, false); err == nil {
		rec.LogPosterior, rec.Chi2, rec.ReducedChi2 = jsonFloat(e.LogPosterior()), jsonFloat(e.Chi2), jsonFloat(e.Chi2/float64(e.Pixels))
	}
	return rec, theta
}

// stateSaved is the error of a run that was told to stop and has written its checkpoint.
func stateSaved(ctx context.Context, path string, nothing bool) error {
	if nothing {
		return interrupted("%v: nothing was computed yet, as %s records: run the same command again", context.Cause(ctx), path)
	}
	return interrupted("%v: state saved in %s: run the same command again to go on", context.Cause(ctx), path)
}

// config reads the config, or makes that of a bare image.
func (o *FitOptions) config() (*config, error) {
	if o.Bare.Image != "" {
		return bareConfig(o.Bare)
	}
	return loadConfig(o.Input)
}

// folder is the output folder: the one given, or the input's name with -fit in the current folder.
func (o *FitOptions) folder() string {
	if o.Output != "" {
		return o.Output
	}
	path, _ := splitExtension(o.Input)
	base := filepath.Base(path)
	for _, end := range []string{".gz", ".bz2", ".fz", filepath.Ext(strings.TrimSuffix(strings.TrimSuffix(base, ".gz"), ".bz2"))} {
		base = strings.TrimSuffix(base, end)
	}
	return base + "-fit"
}

// searchError gives an error of the search its exit code: a model that cannot be computed is a numerical failure.
func searchError(err error) error {
	var f *failure
	var r interface{ Recoverable() bool }
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, samplers.ErrRecoverable) || errors.As(err, &r) && r.Recoverable() {
		return numerical("%w", err)
	}
	return err
}

// record turns a search's result into that of a run, and returns the named parameters.
func (p *problem) record(res *searchResult) (*fitRecord, []float64, error) {
	theta := make([]float64, len(p.Post.Names()))
	p.Post.Theta(theta, res.U)
	e, err := p.Post.Eval(theta, false)
	if err != nil {
		return nil, nil, numerical("%s: %w", p.Config.file, err)
	}
	sigma := make([]float64, len(theta))
	for i := range sigma {
		sigma[i] = math.NaN()
	}
	if g, err := samplers.Laplace(res.U, offBounds(res.Hess), 0); err == nil {
		p.Post.NamedSigma(sigma, covariance(g.Metric), res.U)
	}
	rec := &fitRecord{
		Status: statusConverged, Reason: "every check passed",
		Parameters: p.named(theta), Uncertainties: p.named(sigma),
		LogPosterior: jsonFloat(e.LogPosterior()), Chi2: jsonFloat(e.Chi2), Pixels: e.Pixels, ReducedChi2: jsonFloat(e.Chi2 / float64(e.Pixels)),
		Iterations: res.Iterations, Evaluations: res.Evaluations, Inputs: p.Inputs, Versions: versions(), Lensing: res.Lensed,
	}
	for _, v := range res.Starts {
		rec.Starts = append(rec.Starts, jsonFloat(v))
	}
	rec.Limits = p.limitsAt(res.U, theta, sigma)
	var undetermined []string
	for i, f := range p.Post.Free() {
		name := p.Post.Names()[i]
		switch {
		case f < 0:
		case sigma[i] <= boundSigma*math.Abs(theta[i]):
			rec.onBound = append(rec.onBound, name)
		case !(sigma[i] > 0) || !finite(sigma[i]):
			undetermined = append(undetermined, name)
		}
	}
	if why := notFinite(rec); why != "" {
		rec.Status, rec.Reason = statusFailed, why
		return rec, theta, nil
	}
	if res.GivenUp {
		rec.Status, rec.Reason = statusNotConverged, res.Doubts[0]
		return rec, theta, nil
	}
	if len(undetermined) > 0 {
		res.Doubts = append(res.Doubts, "the data do not determine "+undetermined[0])
	}
	if len(rec.onBound) > 0 {
		res.Doubts = append(res.Doubts, rec.onBound[0]+" sits on a bound of its prior")
	}
	if len(res.Doubts) > 0 {
		rec.Status, rec.Reason = statusNotConverged, res.Doubts[0]
		if len(res.Doubts) > 1 {
			rec.Reason += "; also: " + strings.Join(res.Doubts[1:], "; ")
		}
	}
	return rec, theta, nil
}

// notFinite tells which of the numbers that matter is none, "" where all are.
func notFinite(r *fitRecord) string {
	for i, v := range r.Parameters.values {
		if !finite(v) {
			return r.Parameters.names[i] + " is not a finite number at the maximum"
		}
	}
	if !finite(float64(r.LogPosterior)) || !finite(float64(r.Chi2)) {
		return "log posterior and χ² are not finite numbers at the maximum"
	}
	return ""
}

// offBounds is a curvature in which a coordinate without any, as one has whose parameter sits on its bound, is apart from the
// others and as wide as its prior: it must not take the errors of the others with it.
func offBounds(hess *mat.SymDense) *mat.SymDense {
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

// boundSigma is the share of its value below which the uncertainty of a parameter is no measurement: it sits on a bound.
const boundSigma = 1e-9

// leastCurvature of a coordinate, whose prior has about 1 within its bounds.
const leastCurvature = 1e-9

// covariance is A Aᵀ of a metric.
func covariance(m *samplers.Metric) *mat.SymDense {
	a := mat.NewDense(m.N, m.N, nil)
	unit, col := make([]float64, m.N), make([]float64, m.N)
	for k := range m.N {
		clear(unit)
		unit[k] = 1
		m.Push(col, unit)
		a.SetCol(k, col)
	}
	var c mat.SymDense
	c.SymOuterK(1, a)
	return &c
}

// print writes the record for people: a line each for the lens and the other parameters but the latents.
func (r *fitRecord) print(w io.Writer, dir string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: log posterior %s, χ²/N %s (%d pixels), %s\n", strings.ReplaceAll(r.Status, "_", " "), decimals(float64(r.LogPosterior), 2), decimals(float64(r.ReducedChi2), 4), r.Pixels,
		seconds(time.Duration(float64(r.Seconds)*float64(time.Second))))
	width := 0
	for _, n := range r.Parameters.names {
		if !strings.Contains(n, ".z.") {
			width = max(width, len(n))
		}
	}
	latents := 0
	for i, n := range r.Parameters.names {
		v, s := r.Parameters.values[i], r.Uncertainties.values[i]
		switch {
		case strings.Contains(n, ".z."):
			latents++
		case r.Limits[n] != nil && r.Limits[n].near:
			fmt.Fprintf(&b, "  %-*s  %s ± %s, %v\n", width, n, withDigits(v, s), withDigits(s, s), r.Limits[n])
		case r.Limits[n] != nil:
			fmt.Fprintf(&b, "  %-*s  %s (on a bound), %v\n", width, n, withDigits(r.Limits[n].bound, 0), r.Limits[n])
		case slices.Contains(r.onBound, n):
			fmt.Fprintf(&b, "  %-*s  %s (on a bound)\n", width, n, withDigits(v, 0))
		case s == 0:
			fmt.Fprintf(&b, "  %-*s  %s (fixed)\n", width, n, withDigits(v, 0))
		default:
			fmt.Fprintf(&b, "  %-*s  %s ± %s\n", width, n, withDigits(v, s), withDigits(s, s))
		}
	}
	if latents > 0 {
		fmt.Fprintf(&b, "  and %d latents of the decoder\n", latents)
	}
	for _, f := range []string{fileFitPNG, fileFitFITS, fileFitJSON} {
		fmt.Fprintln(&b, filepath.Join(dir, f))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Sizes from which numbers are written by few digits and a power of ten: those of the table, and those that have decimals of their own.
const (
	largeNumber = 1e6
	hugeNumber  = 1e9
)

// withDigits writes v to two digits of its uncertainty s, a large v to at most nine digits.
func withDigits(v, s float64) string {
	if !(s > 0) || math.IsInf(s, 0) {
		return fmt.Sprintf("%.6g", v)
	}
	digits := 1 - int(math.Floor(math.Log10(s)))
	if a := math.Abs(v); a >= largeNumber && !math.IsInf(a, 0) {
		return fmt.Sprintf("%.*g", max(3, min(9, int(math.Floor(math.Log10(a)))+digits+1)), v)
	}
	if digits < 0 || digits > 12 {
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// decimals writes v to so many decimals, a huge one to six digits.
func decimals(v float64, n int) string {
	if math.Abs(v) >= hugeNumber {
		return fmt.Sprintf("%.6g", v)
	}
	return fmt.Sprintf("%.*f", n, v)
}
