package run

import (
	"context"
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
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// Options says what Fit fits and how. The zero value of every field but Input is its default.
type Options struct {
	Input   string              // path of a config, or of a FITS image described by Bare
	Bare    problem.BareOptions // of an image that comes without a config; its Image is set where Input is one
	Output  string              // folder; "": the input's name with -fit, in the current folder
	Search  search.Options      // the optimiser, its budget and its seed
	Compute adjoint.Options     // device and threads; the zero value is the processor with all its cores
	JSON    bool                // stdout gets fit.json in place of a table
	Locked  bool                // the folder is this process's already
}

// What Fit and its like return, besides errors of input, of disks and of numbers: errors.Is tells them.
var (
	// ErrNotConverged: the results are written, and something speaks against them, which the record's Reason tells.
	ErrNotConverged = term.ErrNotConverged
	// ErrInterrupted: the context was cancelled and the state is saved; the same call goes on from it.
	ErrInterrupted = term.ErrInterrupted
)

// Fit finds the maximum a posteriori of a config's model and leaves the folder of a run, whose record ReadRecord reads. It
// returns an ErrNotConverged when the results are written but not to be trusted, and an ErrInterrupted when ctx was cancelled
// and the state saved. The table of results, or their JSON, goes to stdout; a nil pr is silent.
func Fit(ctx context.Context, opt Options, stdout io.Writer, pr *term.Progress) error {
	pr = pr.OrSilent()
	begun := time.Now()
	cfg, err := opt.Config()
	if err != nil {
		return err
	}
	if cfg.Data.Image == "" {
		return term.WithHint(cfg.Fail("data", "has no image to fit, expected image: a FITS path"), "lenskit mock simulates one, and writes a config that names it")
	}
	dir := opt.Folder()
	own := rundir.Own
	if opt.Locked {
		own = func(_ context.Context, dir string) (func(), error) { return rundir.Open(dir) }
	}
	leave, err := own(ctx, dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := rundir.RunFolder.CheckFor(dir); err != nil {
		return err
	}
	p, err := problem.New(cfg, opt.Compute)
	if err != nil {
		return err
	}
	defer p.Close()
	cfg = p.Config
	if err := p.Obs.Fittable(cfg); err != nil {
		return err
	}
	if p.Post.Dim() == 0 {
		return NothingFree(cfg)
	}
	notices := p.Notices()
	for _, n := range notices {
		pr.Say("%s", n)
	}
	opt.Search = opt.Search.Defaults()
	check, err := rundir.NewCheckpoint(dir, term.Version(), cfg.Text(dir), p.Inputs, opt.Search, opt.Compute.Device)
	if err != nil {
		return err
	}
	guard := term.GuardOf(ctx)
	guard.OnExit(pr.End)
	saved := &search.Record{}
	found, notice, err := check.Load(saved)
	switch {
	case err != nil:
		return err
	case notice != "":
		pr.Warn("%s", notice)
	case found:
		pr.Say("going on from %s after %s", check.Path, term.Seconds(time.Duration(saved.Seconds*float64(time.Second))))
	}
	if !found {
		saved = &search.Record{}
		moved, err := makeRoom(p, dir, opt.Search)
		if err != nil {
			return err
		}
		if moved != "" {
			pr.Warn("%s", moved)
		}
	}
	before := saved.Seconds
	elapsed := func() float64 { return before + time.Since(begun).Seconds() }
	s := &search.Search{Problem: p, Options: opt.Search, Settings: cfg.Settings(), Compute: opt.Compute, Tell: search.TellOn(pr), Saved: saved}
	s.Save = func() error {
		saved.Seconds = elapsed()
		return check.Save(saved)
	}
	if ctx.Err() == nil { // else the search ends before it begins, and the state is written as it is
		if err := s.Save(); err != nil {
			return err
		}
	}
	// what a guard can say of the state of another goroutine is that there is one
	done := guard.During(func() error { return check.Stop(ctx) })
	defer done()
	res, err := s.Find(ctx)
	pr.End()
	if err != nil && ctx.Err() == nil {
		if err = search.Failure(err); term.ExitCode(err) != term.ExitNumerical {
			return err
		}
	} else if err != nil {
		saved.Seconds = elapsed()
		if err := check.Force(saved); err != nil {
			return err
		}
		return rundir.StateSaved(ctx, check.Path, len(saved.Done) == 0 && saved.Task == "")
	}
	saved.Seconds = elapsed()
	if err := check.Force(saved); err != nil { // the search need not be made again if the rest is stopped
		return err
	}
	var rec *Record
	var theta []float64
	if err == nil {
		rec, theta, err = RecordOf(p, res)
	}
	if err != nil {
		rec, theta = failed(p, err)
	}
	rec.Seconds, rec.Seed, rec.Options, rec.Notices = term.JSONFloat(elapsed()), opt.Search.Seed, opt.Search, notices
	settings := s.Settings
	if !cfg.HasPixels() {
		settings = settings.WithoutPixels()
	}
	rec.Settings = &settings
	if opt.Bare.Image == "" {
		rec.Inputs = append([]rundir.Input{{Path: opt.Input, SHA256: cfg.Sum}}, rec.Inputs...)
	}
	if cfg.Sum != disk.SumOf([]byte(cfg.Text(dir))) && rundir.SameFile(cfg.File, filepath.Join(dir, rundir.ConfigYAML)) {
		moved, err := rundir.MoveAside(dir, []string{rundir.ConfigYAML}, "the config as it was read")
		if err != nil {
			return err
		}
		pr.Warn("%s", moved)
	}
	rec.latents, rec.solved = p.Latents(), p.Solved()
	missed, err := p.MissedAt(theta)
	if err != nil {
		return err
	}
	for _, n := range missed {
		pr.Say("%s", n)
	}
	rec.Notices = append(rec.Notices, missed...)
	if err := Write(p, dir, theta, rec); err != nil {
		return err
	}
	defer guard.Trusting()() // all is written, and from here on nothing says that it is not
	if err := check.Remove(); err != nil {
		return err
	}
	if opt.JSON {
		err = rundir.EncodeJSON(stdout, rec)
	} else {
		err = rec.print(stdout, dir)
	}
	if err == nil && rec.Status != Converged {
		return term.NotConverged("%s: %s: %s", dir, strings.ReplaceAll(rec.Status, "_", " "), rec.Reason)
	}
	return err
}

// NothingFree is the error of a model that leaves nothing to fit or to sample.
func NothingFree(c *config.Config) error {
	return term.BadInput("%s: nothing to fit: every parameter is fixed; lenskit eval tells its log density", c.File)
}

// failed is the record of a fit that could not be computed, and why: the parameters are the centres of their priors.
func failed(p *problem.Problem, why error) (*Record, []float64) {
	theta, unknown := search.LaidOut(p.Post), make([]float64, len(p.Post.Names()))
	for i := range unknown {
		unknown[i] = math.NaN()
	}
	rec := &Record{
		Parameters: p.Named(theta), Uncertainties: p.Named(unknown), LogPosterior: term.JSONFloat(none), Chi2: term.JSONFloat(none),
		Pixels: p.Post.Pixels(), ReducedChi2: term.JSONFloat(none), Inputs: p.Inputs, Versions: Versions(),
	}
	rec.judge(Failed, search.Doubts{search.NewDoubt(search.NotComputed, none, none, "%s", term.OneLine(why.Error()))})
	if e, err := p.Post.Eval(theta, false); err == nil {
		rec.LogPosterior, rec.Chi2, rec.ReducedChi2 = term.JSONFloat(e.LogPosterior()), term.JSONFloat(e.Chi2), term.JSONFloat(e.Chi2/float64(e.Pixels))
	}
	return rec, theta
}

// Config reads the config, or makes that of a bare image.
func (o *Options) Config() (*config.Config, error) {
	if o.Bare.Image != "" {
		return problem.Bare(o.Bare)
	}
	return config.Load(o.Input)
}

// Folder is the output folder: the one given, or the input's name with -fit in the current folder.
func (o *Options) Folder() string {
	if o.Output != "" {
		return o.Output
	}
	path, _ := fits.SplitExtension(o.Input)
	base := filepath.Base(path)
	for _, end := range []string{".gz", ".bz2", ".fz", filepath.Ext(strings.TrimSuffix(strings.TrimSuffix(base, ".gz"), ".bz2"))} {
		base = strings.TrimSuffix(base, end)
	}
	return base + "-fit"
}

// RecordOf turns a search's result into that of a run, and returns the named parameters.
func RecordOf(p *problem.Problem, res *search.Result) (*Record, []float64, error) {
	theta := make([]float64, len(p.Post.Names()))
	p.Post.Theta(theta, res.U)
	e, err := p.Post.Eval(theta, false)
	if err != nil {
		return nil, nil, term.Numerical("%s: %w", p.Config.File, err)
	}
	sigma := make([]float64, len(theta))
	for i := range sigma {
		sigma[i] = math.NaN()
	}
	if !finiteCurvature(res.Hess) {
		res.Doubts = append(res.Doubts, search.NewDoubt(search.NotFinite, none, none, "the curvature at the maximum is not finite"))
	} else if g, err := samplers.Laplace(res.U, search.OffBounds(res.Hess), 0); err == nil { // else nothing is determined
		p.Post.NamedSigma(sigma, covariance(g.Metric), res.U)
	}
	if m := p.Marginal(); m != nil { // amplitudes that are no free parameters
		var sd []float64
		if theta, sd, err = m.Amplitudes(theta); err != nil {
			return nil, nil, term.Numerical("%s: %w", p.Config.File, err)
		}
		for i, v := range sd {
			if v > 0 {
				sigma[i] = v
			}
		}
	}
	rec := &Record{
		Parameters: p.Named(theta), Uncertainties: p.Named(sigma),
		LogPosterior: term.JSONFloat(e.LogPosterior()), Chi2: term.JSONFloat(e.Chi2), Pixels: e.Pixels, ReducedChi2: term.JSONFloat(e.Chi2 / float64(e.Pixels)),
		Iterations: res.Iterations, Evaluations: res.Evaluations, Inputs: p.Inputs, Versions: Versions(), Lensing: res.Lensed,
	}
	for _, v := range res.Starts {
		rec.Starts = append(rec.Starts, term.JSONFloat(v))
	}
	rec.Limits = search.LimitsAt(p, res.U, theta, sigma)
	var undetermined []string
	for i, f := range p.Post.Free() {
		name := p.Post.Names()[i]
		switch {
		case f < 0:
		case sigma[i] <= search.BoundSigma*math.Abs(theta[i]):
			rec.onBound = append(rec.onBound, name)
		case !(sigma[i] > 0) || !term.Finite(sigma[i]):
			undetermined = append(undetermined, name)
		}
	}
	if why := notFinite(rec); why != "" {
		rec.judge(Failed, search.Doubts{search.NewDoubt(search.NotFinite, none, none, "%s", why)})
		return rec, theta, nil
	}
	if res.GivenUp {
		rec.judge(NotConverged, res.Doubts[:1])
		return rec, theta, nil
	}
	if len(undetermined) > 0 {
		res.Doubts = append(res.Doubts, search.NewDoubt(search.Undetermined, none, none, "the data do not determine %s", undetermined[0]))
	}
	if len(rec.onBound) > 0 {
		name := rec.onBound[0]
		res.Doubts = append(res.Doubts, search.NewDoubt(search.OnBound, theta[p.Index[name]], none, "%s sits on a bound of its prior", name))
	}
	rec.judge(NotConverged, res.Doubts)
	return rec, theta, nil
}

// judge gives a record the status of a fit with doubts, or that of one without.
func (r *Record) judge(doubted string, doubts search.Doubts) {
	r.Status, r.Reason, r.Doubts = Converged, "every check passed", search.Doubts{}
	if len(doubts) > 0 {
		r.Status, r.Reason, r.Doubts = doubted, doubts.Reason(), doubts
	}
}

// none is the value of a doubt without one.
var none = math.NaN()

// notFinite tells which of the numbers that matter is none, "" where all are.
func notFinite(r *Record) string {
	for i, v := range r.Parameters.Values {
		if !term.Finite(v) {
			return r.Parameters.Names[i] + " is not a finite number at the maximum"
		}
	}
	if !term.Finite(float64(r.LogPosterior)) || !term.Finite(float64(r.Chi2)) {
		return "log posterior and χ² are not finite numbers at the maximum"
	}
	return ""
}

// finiteCurvature tells whether every element of a curvature is a finite number.
func finiteCurvature(h *mat.SymDense) bool {
	for i := range h.SymmetricDim() {
		for j := range i + 1 {
			if !term.Finite(h.At(i, j)) {
				return false
			}
		}
	}
	return true
}

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
func (r *Record) print(w io.Writer, dir string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: log posterior %s, χ²/N %s (%d pixels), %s\n", strings.ReplaceAll(r.Status, "_", " "), term.Decimals(float64(r.LogPosterior), 2), term.Decimals(float64(r.ReducedChi2), 4), r.Pixels,
		term.Seconds(time.Duration(float64(r.Seconds)*float64(time.Second))))
	width := 0
	for _, n := range r.Parameters.Names {
		if !r.latents[n] {
			width = max(width, len(n))
		}
	}
	latents := 0
	for i, n := range r.Parameters.Names {
		v, s := r.Parameters.Values[i], r.Uncertainties.Values[i]
		switch {
		case r.latents[n]:
			latents++
		case r.Limits[n] != nil && r.Limits[n].Near:
			fmt.Fprintf(&b, "  %-*s  %s ± %s, %v\n", width, n, term.WithDigits(v, s), term.WithDigits(s, s), r.Limits[n])
		case r.Limits[n] != nil:
			fmt.Fprintf(&b, "  %-*s  %s (on a bound), %v\n", width, n, term.WithDigits(r.Limits[n].Bound, 0), r.Limits[n])
		case slices.Contains(r.onBound, n):
			fmt.Fprintf(&b, "  %-*s  %s (on a bound)\n", width, n, term.WithDigits(v, 0))
		case r.solved[n]:
			fmt.Fprintf(&b, "  %-*s  %s (solved for)\n", width, n, term.WithDigits(v, 0))
		case s == 0:
			fmt.Fprintf(&b, "  %-*s  %s (fixed)\n", width, n, term.WithDigits(v, 0))
		default:
			fmt.Fprintf(&b, "  %-*s  %s ± %s\n", width, n, term.WithDigits(v, s), term.WithDigits(s, s))
		}
	}
	if latents > 0 {
		fmt.Fprintf(&b, "  and %d latents of the decoder\n", latents)
	}
	for _, f := range []string{rundir.FitPNG, rundir.FitFITS, rundir.FitJSON} {
		fmt.Fprintln(&b, filepath.Join(dir, f))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
