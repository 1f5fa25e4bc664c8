package tools

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lenskit/adjoint"
	"lenskit/samplers"
)

// Samplers that are not of the samplers package's chains.
const (
	samplerLaplace  = "laplace"
	samplerADVI     = "advi"
	samplerFullRank = "advi-fullrank"
)

var samplerNames = []string{string(samplers.HMC), string(samplers.NUTS), samplerLaplace, samplerADVI, samplerFullRank}

// samplingOptions steer the draws.
type samplingOptions struct {
	Sampler      string  // one of samplerNames; hmc
	Warmup       int     // draws per chain that are not kept; 50 (of the zero value only: 0 beside other fields is none)
	Draws        int     // draws per chain that are kept; 500
	Chains       int     // 4
	Adapt        string  // none, diagonal or dense: what the warm-up learns beside the step size; none
	TargetAccept float64 // 0: the sampler's default
	Seed         uint64
}

func (o samplingOptions) defaults() samplingOptions {
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
func (o *samplingOptions) approximate() bool {
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
func (o *samplingOptions) chain() samplers.Options {
	c := samplers.Options{Method: samplers.Method(o.Sampler), Warmup: o.Warmup, Draws: o.Draws, Adapt: samplers.Adapt(o.Adapt), TargetAccept: o.TargetAccept}
	if o.Warmup == 0 {
		c.Warmup = -1
	}
	if c.Method == samplers.HMC {
		c.Trajectory, c.Jitter = trajectoryLength, trajectoryJitter
	}
	return c
}

// SampleOptions says what Sample samples and how.
type SampleOptions struct {
	Input    string // config, or the folder of a fit
	Output   string // folder; "": that of the fit
	Sampling samplingOptions
	Compute  adjoint.Options
	Strict   bool
	JSON     bool
}

// Files of a sampled run.
const (
	fileSummary     = "summary.json"
	fileSamplesFITS = "samples.fits"
	fileCorner      = "corner.png"
	fileTrace       = "trace.png"
	fileMoments     = "moments.png"
)

// samplesFile is the file of a chain, counted from 0.
func samplesFile(dir string, chain, chains int) string {
	if chains == 1 {
		return filepath.Join(dir, "samples.csv")
	}
	return filepath.Join(dir, fmt.Sprintf("samples_%d.csv", chain+1))
}

// Sample draws from the posterior of a fit, which it makes first where there is none, and leaves the draws, their
// summary and figures in a folder. It returns a notConverged error when the fit was made and is not to be trusted or,
// if strict, when something speaks against the draws; and an interrupted one when ctx was cancelled and the state saved.
func Sample(ctx context.Context, opt SampleOptions, stdout io.Writer, pr *progress) error {
	opt.Sampling = opt.Sampling.defaults()
	p, at, err := opt.prepare(ctx, pr)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Post.Dim() == 0 {
		return nothingFree(p.Config)
	}
	dir := opt.Output
	if dir == "" {
		dir = at.dir
	}
	leave, err := ownFolder(ctx, dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := runFolder.checkFor(dir); err != nil {
		return err
	}
	guardOf(ctx).onExit(pr.end)
	run, err := newSampling(p, at, dir, opt.Sampling, opt.Compute)
	if err != nil {
		return err
	}
	defer run.close()
	found, notice, err := run.resume()
	if err != nil {
		return err
	}
	switch {
	case found:
		pr.say("%s", notice)
	case notice != "":
		pr.warn("%s", notice)
	}
	if !found {
		moved, err := run.clear()
		if err != nil {
			return err
		}
		if moved != "" {
			pr.warn("%s", moved)
		}
	}
	run.begun = time.Now()
	err = run.draw(ctx, pr)
	pr.end()
	switch {
	case err != nil && ctx.Err() != nil:
		if err := run.save(); err != nil {
			return err
		}
		return stateSaved(ctx, run.check.path, run.chains == nil && len(run.notes.Data()) == 0)
	case err != nil:
		return searchError(err)
	}
	if err := run.save(); err != nil { // the draws need not be made again if the rest is stopped
		return err
	}
	defer guardOf(ctx).during(func() error { return run.check.stop(ctx) })()
	if dir != at.dir {
		if err := p.Config.save(filepath.Join(dir, fileConfig)); err != nil {
			return err
		}
	}
	sum, err := run.finish()
	if err != nil {
		return err
	}
	defer guardOf(ctx).trusting()() // all is written, and from here on nothing says that it is not
	if err := run.check.remove(); err != nil {
		return err
	}
	if opt.JSON {
		err = encodeJSON(stdout, sum)
	} else {
		err = sum.print(stdout, dir)
	}
	switch {
	case err != nil:
		return err
	case at.made && at.fit.Status != statusConverged:
		return notConverged("%s: the fit is %s: %s", at.dir, strings.ReplaceAll(at.fit.Status, "_", " "), at.fit.Reason)
	case opt.Strict && len(sum.Verdict) > 0:
		return notConverged("%s: %s", dir, strings.Join(sum.Verdict, "; "))
	}
	return nil
}

// FitAndSample is Fit and then Sample in its folder. Where a run of sampling was stopped, it goes on with that.
func FitAndSample(ctx context.Context, fit FitOptions, opt samplingOptions, stdout io.Writer, pr *progress) error {
	opt = opt.defaults()
	dir := fit.folder()
	var doubt error
	if !fit.waits(dir, opt) {
		out := stdout
		if fit.JSON {
			out = io.Discard
		}
		if doubt = Fit(ctx, fit, out, pr); doubt != nil && exitCode(doubt) != exitNotConverged {
			return doubt
		}
		if rec, err := readFitRecord(dir); err == nil && rec.Status == statusFailed {
			return doubt
		}
	}
	if err := Sample(ctx, SampleOptions{Input: dir, Sampling: opt, Compute: fit.Compute, JSON: fit.JSON}, stdout, pr); err != nil {
		return err
	}
	return doubt
}

// waits reports whether dir holds the checkpoint of a run of sampling that began at this very fit.
func (o *FitOptions) waits(dir string, opt samplingOptions) bool {
	if _, err := os.Stat(filepath.Join(dir, fileCheckpoint)); err != nil {
		return false
	}
	cfg, err := o.config()
	if err != nil {
		return false
	}
	p, err := newProblem(cfg, o.Compute)
	if err != nil {
		return false
	}
	defer p.Close()
	rec := p.fitted(dir, false)
	if rec == nil || !p.same(dir, rec, o.Search) {
		return false
	}
	run, err := newSampling(p, &maximum{dir: dir, fit: rec}, dir, opt, o.Compute)
	if err != nil {
		return false
	}
	found, _, err := run.check.load(&samplingRecord{})
	return found && err == nil
}

// maximum is the fit that a run of sampling starts at.
type maximum struct {
	dir  string
	fit  *fitRecord
	made bool // by this command
}

// prepare reads the fit, or makes it, and builds its problem.
func (o *SampleOptions) prepare(ctx context.Context, pr *progress) (*problem, *maximum, error) {
	at := &maximum{dir: o.Input}
	config := filepath.Join(o.Input, fileConfig)
	info, err := os.Stat(o.Input)
	switch {
	case err != nil:
		return nil, nil, badInput("%s: %s", o.Input, reason(err))
	case !info.IsDir():
		config = o.Input
		at.dir = (&FitOptions{Input: o.Input, Output: o.Output}).folder()
	default:
		if _, err := os.Stat(config); err != nil && fitStopped(o.Input) {
			return nil, nil, withHint(badInput("%s: the fit was stopped before it was done", o.Input), "the fit's command, given again, goes on with it")
		} else if err != nil {
			return nil, nil, badInput("%s: %s, expected the folder of a fit", config, reason(err))
		}
	}
	p, err := openProblem(config, o.Compute)
	if err != nil {
		return nil, nil, err
	}
	at.fit = p.fitted(at.dir, info.IsDir())
	switch stopped := fitStopped(at.dir); {
	case stopped && at.fit == nil:
		pr.say("%s: the fit was stopped before it was done: it is made first", at.dir)
	case stopped:
		pr.say("%s: a later fit was stopped before it was done: the draws are of the one before", at.dir)
	}
	if at.fit == nil {
		p.Close()
		fit := FitOptions{Input: config, Output: at.dir, Search: searchOptions{Seed: o.Sampling.Seed}, Compute: o.Compute}
		if err := Fit(ctx, fit, io.Discard, pr); err != nil && exitCode(err) != exitNotConverged {
			return nil, nil, err
		}
		at.made = true
		if p, err = openProblem(filepath.Join(at.dir, fileConfig), o.Compute); err != nil {
			return nil, nil, err
		}
		if at.fit, err = readFitRecord(at.dir); err != nil {
			p.Close()
			return nil, nil, err
		}
	}
	if at.fit.Status == statusFailed {
		p.Close()
		return nil, nil, notConverged("%s: failed: %s", at.dir, at.fit.Reason)
	}
	if info.IsDir() {
		if err := p.unchanged(at.dir, at.fit); err != nil {
			p.Close()
			return nil, nil, err
		}
	}
	for _, n := range p.notices() {
		pr.say("%s", n)
	}
	return p, at, nil
}

// openProblem builds the problem of a config file.
func openProblem(path string, opt adjoint.Options) (*problem, error) {
	cfg, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	return newProblem(cfg, opt)
}

// fitted is the record of the fit in dir, nil when there is none of this problem. The folder's own config needs no
// comparison.
func (p *problem) fitted(dir string, own bool) *fitRecord {
	rec, err := readFitRecord(dir)
	if err != nil || rec.Status == statusFailed {
		return nil
	}
	if own {
		return rec
	}
	if !p.isOf(dir, rec) {
		return nil
	}
	return rec
}

// unchanged says why a fit whose folder is sampled is not of what its folder holds now. Records of earlier versions do not
// tell.
func (p *problem) unchanged(dir string, rec *fitRecord) error {
	if rec.Files == nil {
		return nil
	}
	again := func(path string) error {
		return withHint(badInput("%s: has changed since the fit, expected the SHA-256 that %s tells", path, filepath.Join(dir, fileFitJSON)),
			"lenskit fit %s -o %s fits anew", filepath.Join(dir, fileConfig), dir)
	}
	if p.Config.sum != rec.Files[fileConfig] {
		return again(p.Config.file)
	}
	for _, in := range p.Inputs {
		if !slices.ContainsFunc(rec.Inputs, func(r input) bool { return r.SHA256 == in.SHA256 }) {
			return again(in.Path)
		}
	}
	return nil
}

// theta are the named parameters at the maximum.
func (m *maximum) theta(p *problem) ([]float64, error) {
	path := filepath.Join(m.dir, fileFitJSON)
	named := namedValues{}
	for i, n := range m.fit.Parameters.names {
		named[n] = m.fit.Parameters.values[i]
	}
	theta := make([]float64, len(p.Post.Names()))
	for i, n := range p.Post.Names() {
		v, ok := named[n]
		if !ok || math.IsNaN(v) {
			return nil, badInput("%s: found no value of %s, expected one as the config has it", path, n)
		}
		theta[i] = v
	}
	return theta, checkNames(path, named, func(n string) bool { _, ok := p.index[n]; return ok }, p.Post.Names())
}
