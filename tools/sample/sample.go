package sample

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

// Samplers that are not of the samplers package's chains.
const (
	samplerLaplace  = "laplace"
	samplerADVI     = "advi"
	samplerFullRank = "advi-fullrank"
)

// Names are what Settings.Sampler may be.
var Names = []string{string(samplers.HMC), string(samplers.NUTS), samplerLaplace, samplerADVI, samplerFullRank}

// Settings steer the draws. The zero value of a field is its default, which stands at the end of its line.
type Settings struct {
	Sampler      string  // one of Names; hmc
	Warmup       int     // draws per chain that are not kept; 50 (of the zero value only: 0 beside other fields is none)
	Draws        int     // draws per chain that are kept; 500
	Chains       int     // that run side by side; 4
	Adapt        string  // none, diagonal or dense: what the warm-up learns beside the step size; none
	TargetAccept float64 // acceptance that the step size is tuned to, between 0 and 1; the sampler's own
	Seed         uint64  // of the draws: the same seed gives the same draws; 0 is one like others
}

// Defaults are the settings with defaults filled in.
func (o Settings) Defaults() Settings {
	if o.Draws == 0 && o.Warmup == 0 {
		o.Warmup = 50
	}
	if o.Draws == 0 {
		o.Draws = 500
	}
	if o.Sampler == "" {
		o.Sampler = string(samplers.HMC)
	}
	if o.Chains == 0 {
		o.Chains = 4
	}
	if o.Adapt == "" {
		o.Adapt = string(samplers.AdaptNone)
	}
	return o
}

// approximate reports whether the sampler is a Gaussian fitted to the posterior.
func (o *Settings) approximate() bool {
	return o.Sampler != string(samplers.HMC) && o.Sampler != string(samplers.NUTS)
}

// Length of a trajectory of hmc, a half turn of a round posterior being π, and how far lengths spread. Beyond a quarter
// turn draws lie on the other side of the last one, which serves the means; near a half turn the widths suffer. See
// docs/decisions/0006.
const (
	trajectoryLength = 2.2
	trajectoryJitter = 0.3
)

// chain are the options of a chain.
func (o *Settings) chain() samplers.Options {
	c := samplers.Options{Method: samplers.Method(o.Sampler), Warmup: o.Warmup, Draws: o.Draws, Adapt: samplers.Adapt(o.Adapt), TargetAccept: o.TargetAccept}
	if o.Warmup == 0 {
		c.Warmup = -1
	}
	if c.Method == samplers.HMC {
		c.Trajectory, c.Jitter = trajectoryLength, trajectoryJitter
	}
	return c
}

// Options says what Sample samples and how. The zero value of every field but Input is its default.
type Options struct {
	Input    string          // path of a config, or the folder of a fit
	Output   string          // folder; "": that of the fit
	Sampling Settings        // the sampler, the number of draws and their seed
	Compute  adjoint.Options // device and threads; the zero value is the processor with all its cores
	Strict   bool            // a verdict against the draws is an error
	JSON     bool            // stdout gets summary.json in place of a table
}

// Sample draws from the posterior of a fit, which it makes first where there is none, and leaves the draws, their
// summary and figures in a folder; ReadSummary and ReadDraws read them. It returns a run.ErrNotConverged when the fit was made
// and is not to be trusted or, if strict, when something speaks against the draws; and a run.ErrInterrupted when ctx was
// cancelled and the state saved. A nil pr is silent.
func Sample(ctx context.Context, opt Options, stdout io.Writer, pr *term.Progress) error {
	pr = pr.OrSilent()
	opt.Sampling = opt.Sampling.Defaults()
	p, at, err := opt.prepare(ctx, pr)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Post.Dim() == 0 {
		return run.NothingFree(p.Config)
	}
	dir := opt.Output
	if dir == "" {
		dir = at.dir
	}
	leave, err := rundir.Own(ctx, dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := rundir.RunFolder.CheckFor(dir); err != nil {
		return err
	}
	term.GuardOf(ctx).OnExit(pr.End)
	job, err := newSampling(p, at, dir, opt.Sampling, opt.Compute)
	if err != nil {
		return err
	}
	defer job.close()
	found, notice, err := job.resume()
	if err != nil {
		return err
	}
	switch {
	case found:
		pr.Say("%s", notice)
	case notice != "":
		pr.Warn("%s", notice)
	}
	if !found {
		moved, err := job.clear()
		if err != nil {
			return err
		}
		if moved != "" {
			pr.Warn("%s", moved)
		}
	}
	job.begun = time.Now()
	err = job.draw(ctx, pr)
	pr.End()
	switch {
	case err != nil && ctx.Err() != nil:
		if err := job.save(); err != nil {
			return err
		}
		return rundir.StateSaved(ctx, job.check.Path, job.chains == nil && len(job.notes.Data()) == 0)
	case err != nil:
		return search.Failure(err)
	}
	if err := job.save(); err != nil { // the draws need not be made again if the rest is stopped
		return err
	}
	defer term.GuardOf(ctx).During(func() error { return job.check.Stop(ctx) })()
	if dir != at.dir {
		if err := p.Config.Save(filepath.Join(dir, rundir.ConfigYAML)); err != nil {
			return err
		}
	}
	sum, err := job.finish()
	if err != nil {
		return err
	}
	defer term.GuardOf(ctx).Trusting()() // all is written, and from here on nothing says that it is not
	if err := job.check.Remove(); err != nil {
		return err
	}
	if opt.JSON {
		err = rundir.EncodeJSON(stdout, sum)
	} else {
		err = sum.print(stdout, dir)
	}
	switch {
	case err != nil:
		return err
	case at.made && at.fit.Status != run.Converged:
		return term.NotConverged("%s: the fit is %s: %s", at.dir, strings.ReplaceAll(at.fit.Status, "_", " "), at.fit.Reason)
	case opt.Strict && len(sum.Verdict) > 0:
		return term.NotConverged("%s: %s", dir, strings.Join(sum.Verdict, "; "))
	}
	return nil
}

// FitAndSample is run.Fit and then Sample in its folder. Where a run of sampling was stopped, it goes on with that. A nil pr is
// silent.
func FitAndSample(ctx context.Context, fit run.Options, opt Settings, stdout io.Writer, pr *term.Progress) error {
	pr = pr.OrSilent()
	opt = opt.Defaults()
	dir := fit.Folder()
	var doubt error
	if !waits(&fit, dir, opt) {
		out := stdout
		if fit.JSON {
			out = io.Discard
		}
		if doubt = run.Fit(ctx, fit, out, pr); doubt != nil && term.ExitCode(doubt) != term.ExitNotConverged {
			return doubt
		}
		if rec, err := run.ReadRecord(dir); err == nil && rec.Status == run.Failed {
			return doubt
		}
	}
	if err := Sample(ctx, Options{Input: dir, Sampling: opt, Compute: fit.Compute, JSON: fit.JSON}, stdout, pr); err != nil {
		return err
	}
	return doubt
}

// waits reports whether dir holds the checkpoint of a run of sampling that began at this very fit.
func waits(o *run.Options, dir string, opt Settings) bool {
	if _, err := os.Stat(filepath.Join(dir, rundir.CheckpointName)); err != nil {
		return false
	}
	cfg, err := o.Config()
	if err != nil {
		return false
	}
	p, err := problem.New(cfg, o.Compute)
	if err != nil {
		return false
	}
	defer p.Close()
	rec := fitted(p, dir, false)
	if rec == nil || !run.Same(p, dir, rec, o.Search) {
		return false
	}
	run, err := newSampling(p, &maximum{dir: dir, fit: rec}, dir, opt, o.Compute)
	if err != nil {
		return false
	}
	found, _, err := run.check.Load(&samplingRecord{})
	return found && err == nil
}

// maximum is the fit that a run of sampling starts at.
type maximum struct {
	dir  string
	fit  *run.Record
	made bool // by this command
}

// prepare reads the fit, or makes it, and builds its problem.
func (o *Options) prepare(ctx context.Context, pr *term.Progress) (*problem.Problem, *maximum, error) {
	at := &maximum{dir: o.Input}
	config := filepath.Join(o.Input, rundir.ConfigYAML)
	info, err := os.Stat(o.Input)
	switch {
	case err != nil:
		return nil, nil, term.BadInput("%s: %s", o.Input, term.Reason(err))
	case !info.IsDir():
		config = o.Input
		at.dir = (&run.Options{Input: o.Input, Output: o.Output}).Folder()
	default:
		if _, err := os.Stat(config); err != nil && run.FitStopped(o.Input) {
			return nil, nil, term.WithHint(term.BadInput("%s: the fit was stopped before it was done", o.Input), "the fit's command, given again, goes on with it")
		} else if err != nil {
			return nil, nil, term.BadInput("%s: %s, expected the folder of a fit", config, term.Reason(err))
		}
	}
	p, err := openProblem(config, o.Compute)
	if err != nil {
		return nil, nil, err
	}
	at.fit = fitted(p, at.dir, info.IsDir())
	switch stopped := run.FitStopped(at.dir); {
	case stopped && at.fit == nil:
		pr.Say("%s: the fit was stopped before it was done: it is made first", at.dir)
	case stopped:
		pr.Say("%s: a later fit was stopped before it was done: the draws are of the one before", at.dir)
	}
	if at.fit == nil {
		p.Close()
		fit := run.Options{Input: config, Output: at.dir, Search: search.Options{Seed: o.Sampling.Seed}, Compute: o.Compute}
		if err := run.Fit(ctx, fit, io.Discard, pr); err != nil && term.ExitCode(err) != term.ExitNotConverged {
			return nil, nil, err
		}
		at.made = true
		if p, err = openProblem(filepath.Join(at.dir, rundir.ConfigYAML), o.Compute); err != nil {
			return nil, nil, err
		}
		if at.fit, err = run.ReadRecord(at.dir); err != nil {
			p.Close()
			return nil, nil, err
		}
	}
	if at.fit.Status == run.Failed {
		p.Close()
		return nil, nil, term.NotConverged("%s: failed: %s", at.dir, at.fit.Reason)
	}
	if info.IsDir() {
		if err := unchanged(p, at.dir, at.fit); err != nil {
			p.Close()
			return nil, nil, err
		}
	}
	for _, n := range p.Notices() {
		pr.Say("%s", n)
	}
	return p, at, nil
}

// openProblem builds the problem of a config file.
func openProblem(path string, opt adjoint.Options) (*problem.Problem, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return problem.New(cfg, opt)
}

// fitted is the record of the fit in dir, nil when there is none of this problem. The folder's own config needs no
// comparison.
func fitted(p *problem.Problem, dir string, own bool) *run.Record {
	rec, err := run.ReadRecord(dir)
	if err != nil || rec.Status == run.Failed {
		return nil
	}
	if own {
		return rec
	}
	if !run.IsOf(p, dir, rec) {
		return nil
	}
	return rec
}

// unchanged says why a fit whose folder is sampled is not of what its folder holds now. Records of earlier versions do not
// tell.
func unchanged(p *problem.Problem, dir string, rec *run.Record) error {
	if rec.Files == nil {
		return nil
	}
	again := func(path string) error {
		return term.WithHint(term.BadInput("%s: has changed since the fit, expected the SHA-256 that %s tells", path, filepath.Join(dir, rundir.FitJSON)),
			"lenskit fit %s -o %s fits anew", filepath.Join(dir, rundir.ConfigYAML), dir)
	}
	if p.Config.Sum != rec.Files[rundir.ConfigYAML] {
		return again(p.Config.File)
	}
	for _, in := range p.Inputs {
		if !slices.ContainsFunc(rec.Inputs, func(r rundir.Input) bool { return r.SHA256 == in.SHA256 }) {
			return again(in.Path)
		}
	}
	return nil
}

// theta are the named parameters at the maximum.
func (m *maximum) theta(p *problem.Problem) ([]float64, error) {
	path := filepath.Join(m.dir, rundir.FitJSON)
	named := config.Named{}
	for i, n := range m.fit.Parameters.Names {
		named[n] = m.fit.Parameters.Values[i]
	}
	theta := make([]float64, len(p.Post.Names()))
	for i, n := range p.Post.Names() {
		v, ok := named[n]
		if !ok || math.IsNaN(v) {
			return nil, term.BadInput("%s: found no value of %s, expected one as the config has it", path, n)
		}
		theta[i] = v
	}
	return theta, config.CheckNames(path, named, func(n string) bool { _, ok := p.Index[n]; return ok }, p.Post.Names())
}
