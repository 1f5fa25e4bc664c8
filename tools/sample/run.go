package sample

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"lenskit/adjoint"
	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/run"
)

// sampling is a run of a sampler under way. Its chains record from goroutines of their own.
type sampling struct {
	p       *problem.Problem
	at      *maximum
	dir     string
	opt     Settings
	compute adjoint.Options
	check   *rundir.Checkpoint
	begun   time.Time
	config  string // SHA-256 of the config that the draws are of

	names    []string // of the free parameters, in the files' order
	columns  []int    // their places in θ
	chains   []*samplers.Chain
	files    []*samplers.StanCSV
	clones   []*adjoint.Posterior
	together bool // their networks run as one
	posts    []*reparametrisedPosterior
	scratch  [][]float64 // θ, by chain

	notes *journal // of what is made before the chains

	mu    sync.Mutex // guards what follows
	saved samplingRecord
	quick *quickLook // of an approximation
	watch *watcher
}

// samplingRecord is what a run needs to go on: each chain after a draw, and how many of its draws its file then held.
type samplingRecord struct {
	Chains      []samplers.ChainState `json:",omitempty"`
	Rows        []int                 `json:",omitempty"`
	Sums        []string              `json:",omitempty"` // of the files up to there
	Journal     []byte                `json:",omitempty"` // of what is made before there are chains
	Seconds     float64
	Coordinates *reparametrisation `json:"Bend"` // for sampling
	Misfit      float64            // of the Gaussian there
	// Centre is what the search for the coordinates and the maximum there cost.
	Centre samplers.Tally
}

// newSampling lays out a run in dir.
func newSampling(p *problem.Problem, at *maximum, dir string, opt Settings, compute adjoint.Options) (*sampling, error) {
	r := &sampling{p: p, at: at, dir: dir, opt: opt, compute: compute}
	for i, free := range p.Post.Free() {
		if free >= 0 {
			r.names = append(r.names, p.Post.Names()[i])
			r.columns = append(r.columns, i)
		}
	}
	var sums []string // by content: the same files may be named otherwise
	for _, in := range p.Inputs {
		sums = append(sums, in.SHA256)
	}
	var err error
	if r.config = disk.SumOf([]byte(p.Config.Text(dir))); dir == at.dir {
		if r.config, err = disk.Sum(filepath.Join(dir, rundir.ConfigYAML)); err != nil {
			return nil, err
		}
	}
	r.check, err = rundir.NewCheckpoint(dir, "sample", term.Version(), p.Config.Text(dir), sums, at.fit.Parameters, opt, compute.Device)
	return r, err
}

func (r *sampling) close() {
	for _, f := range r.files {
		f.Close()
	}
	for _, c := range r.clones {
		c.Close()
	}
}

// resume reads the state that a run left behind.
func (r *sampling) resume() (found bool, notice string, err error) {
	found, notice, err = r.check.Load(&r.saved)
	if err == nil && found {
		if why := r.saved.check(r.p.Post, r.opt); why != nil {
			found, notice = false, rundir.Unreadable(r.check.Path, why.Error())
		}
	}
	if err != nil || !found {
		r.saved = samplingRecord{}
		return false, notice, err
	}
	made, spent := 0, term.Seconds(time.Duration(r.saved.Seconds*float64(time.Second)))
	for _, n := range r.saved.Rows {
		made += n
	}
	if r.saved.Chains == nil {
		return true, fmt.Sprintf("going on from %s after %s, before the first draw", r.check.Path, spent), nil
	}
	return true, fmt.Sprintf("going on from %s after %d draws in %s", r.check.Path, made, spent), nil
}

// check says why a record cannot be that of a run with these options.
func (r *samplingRecord) check(post *adjoint.Posterior, opt Settings) error {
	if r.Chains == nil {
		return nil
	}
	n := post.Dim()
	if len(r.Chains) != opt.Chains || len(r.Rows) != opt.Chains || len(r.Sums) != opt.Chains {
		return fmt.Errorf("found %d chains, %d counts and %d sums, expected %d", len(r.Chains), len(r.Rows), len(r.Sums), opt.Chains)
	}
	for i := range r.Chains {
		c := &r.Chains[i]
		if err := c.Validate(n); err != nil {
			return err
		}
		if kept := max(0, c.Iteration-max(c.Options.Warmup, 0)); c.ID != i || r.Rows[i] != kept {
			return fmt.Errorf("found chain %d with %d draws, expected chain %d with %d", c.ID, r.Rows[i], i, kept)
		}
	}
	return r.Coordinates.check(post)
}

// save writes the state of every chain, or what there is before there are any.
func (r *sampling) save() error {
	for i, c := range r.chains {
		if err := r.keep(i, c); err != nil {
			return err
		}
	}
	return r.check.Force(r.record(), r.fileNames()...)
}

// fileNames are the names of the files that have been begun.
func (r *sampling) fileNames() []string {
	var out []string
	for i := range r.files {
		out = append(out, filepath.Base(rundir.ChainFile(r.dir, i, r.opt.Chains)))
	}
	return out
}

// keep copies the state of a chain between its draws.
func (r *sampling) keep(i int, c *samplers.Chain) error {
	if err := r.files[i].Sync(); err != nil {
		return err
	}
	s, sum := c.Save(), r.files[i].Sum()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved.Chains[i], r.saved.Rows[i], r.saved.Sums[i] = s, r.files[i].Rows(), sum
	return nil
}

// record is the state with the time spent so far.
func (r *sampling) record() samplingRecord {
	rec := r.saved
	if rec.Chains == nil {
		rec.Journal = r.notes.Data()
	}
	rec.Seconds += time.Since(r.begun).Seconds()
	return rec
}

// draw makes the draws, or goes on with them.
func (r *sampling) draw(ctx context.Context, pr *term.Progress) error {
	guard := term.GuardOf(ctx)
	r.notes = &journal{ctx: ctx, data: r.saved.Journal, tell: func() error { return r.check.Save(r.record()) }}
	if r.saved.Chains != nil {
		why, err := r.reopen()
		if err != nil {
			return err
		}
		if why != nil {
			pr.Warn("%s", rundir.Unreadable(r.check.Path, why.Error()))
			r.close()
			*r = sampling{p: r.p, at: r.at, dir: r.dir, opt: r.opt, compute: r.compute, check: r.check, begun: r.begun, config: r.config,
				names: r.names, columns: r.columns, notes: r.notes}
		}
	}
	if r.saved.Chains == nil {
		done := guard.During(func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if err := r.check.Force(r.record()); err != nil {
				return err
			}
			return rundir.StateSaved(ctx, r.check.Path, len(r.notes.Data()) == 0)
		})
		defer done()
		if r.opt.approximate() {
			return r.approximate(ctx, pr)
		}
		if err := r.open(ctx, pr); err != nil {
			return err
		}
	}
	defer guard.Trusting()() // chains stop within a trajectory
	r.watch = newWatcher(r, pr)
	due := make([]time.Time, len(r.chains))
	for i := range due {
		due[i] = time.Now().Add(rundir.CheckpointEvery)
	}
	record := samplers.RecorderFunc(func(d samplers.Draw) error {
		i := d.Chain.ID()
		if err := r.files[i].Record(d); err != nil {
			return err
		}
		r.watch.see(d, r.scratch[i])
		if time.Now().Before(due[i]) {
			return nil
		}
		due[i] = time.Now().Add(rundir.CheckpointEvery)
		if err := r.keep(i, d.Chain); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.check.Save(r.record(), r.fileNames()...)
	})
	var err error
	if r.together {
		err = samplers.SampleInStep(ctx, r.chains, len(r.chains), record)
	} else {
		err = samplers.SampleInTurns(ctx, r.chains, r.threads(), record)
	}
	var full *disk.WriteError
	if errors.As(err, &full) { // once, however many chains met it
		return full
	}
	return err
}

// threads is how many threads the chains have together.
func (r *sampling) threads() int {
	if r.compute.Threads == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return r.compute.Threads
}

// targets makes a posterior for each chain. Where their networks do not run as one, chains that outnumber the threads take
// turns.
func (r *sampling) targets() ([]samplers.Target, error) {
	var err error
	if r.clones, r.together, err = r.p.Post.Clones(r.opt.Chains, r.threads()); err != nil {
		return nil, err
	}
	out := make([]samplers.Target, r.opt.Chains)
	for i, c := range r.clones {
		r.scratch = append(r.scratch, make([]float64, len(c.Names())))
		t := r.saved.Coordinates.target(c)
		r.posts = append(r.posts, t)
		out[i] = t
	}
	return out, nil
}

// chooseCoordinates finds the coordinates of the run.
func (r *sampling) chooseCoordinates(ctx context.Context, pr *term.Progress) (*approximation, error) {
	theta, err := r.at.theta(r.p)
	if err != nil {
		return nil, err
	}
	pr.Stage("coordinates", 0)
	g, err := chooseCoordinates(r.p, ctx, r.notes, theta, r.opt.stream(3))
	if err != nil {
		return nil, err
	}
	pr.Step(term.ProgressState{Step: g.tally.Evaluations, LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: g.tally.Evaluations, Text: g.describe()})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved.Coordinates, r.saved.Misfit, r.saved.Centre = g.coords, g.misfit, g.tally
	return g, nil
}

// describe tells the coordinates in a word or two.
func (b *reparametrisation) describe() string {
	s := "plain"
	if len(b.Scale) > 0 {
		s = "scaled latents"
	}
	if b.Quad != nil {
		s += ", bent"
	}
	return s
}

// describe tells the coordinates and how well they do.
func (g *approximation) describe() string {
	return fmt.Sprintf("%s, off a Gaussian by %.3g in log density", g.coords.describe(), g.misfit)
}

// open starts the chains at draws of the Gaussian approximation, in the metric of the curvature at its centre.
func (r *sampling) open(ctx context.Context, pr *term.Progress) error {
	g, err := r.chooseCoordinates(ctx, pr)
	if err != nil {
		return err
	}
	targets, err := r.targets()
	if err != nil {
		return err
	}
	start := samplers.StartNear(g.normal, g.spread)
	target := func(i int) (samplers.Target, error) { return targets[i], ctx.Err() }
	if r.chains, err = samplers.NewChains(len(targets), target, start, g.normal.Metric, r.opt.chain(), r.opt.Seed); err != nil {
		r.chains = nil
		return err
	}
	var names []string
	for i := range r.chains {
		names = append(names, filepath.Base(rundir.ChainFile(r.dir, i, len(r.chains))))
	}
	if err := r.makeRoom(pr, names...); err != nil {
		r.chains = nil
		return err
	}
	chains, rows, sums := make([]samplers.ChainState, len(r.chains)), make([]int, len(r.chains)), make([]string, len(r.chains))
	for i, c := range r.chains {
		f, err := samplers.CreateStanCSV(rundir.ChainFile(r.dir, i, len(r.chains)), c, r.names, r.values(i))
		if err != nil {
			r.chains = nil
			return err
		}
		r.files = append(r.files, f)
		chains[i], sums[i] = c.Save(), f.Sum()
	}
	r.mu.Lock()
	r.saved.Chains, r.saved.Rows, r.saved.Sums, r.saved.Journal = chains, rows, sums, nil
	r.mu.Unlock()
	return r.save()
}

// makeRoom removes the draws of an earlier run of sampling that the folder still holds as it has written them, and moves
// aside what else stands where those of this run go.
func (r *sampling) makeRoom(pr *term.Progress, names ...string) error {
	old, err := run.DrawnIn(r.dir)
	if err == nil && old != nil && old.Files.Hold(r.dir) && old.FitSum == r.at.fit.Sum {
		for _, name := range append(old.Names, run.SampleFiles...) {
			if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return &disk.WriteError{Path: filepath.Join(r.dir, name), Err: err}
			}
		}
	} else if err == nil && old != nil {
		names = append(names, old.Names...)
	}
	if rundir.Exists(filepath.Join(r.dir, rundir.FolderCOOLEST, rundir.FileCOOLESTChain)) { // of the draws that go
		names = append(names, run.ExportAside(r.dir)...)
	}
	moved, err := rundir.MoveAside(r.dir, append(names, run.SampleFiles...), "files of another run")
	if err == nil && moved != "" {
		pr.Warn("%s", moved)
	}
	return err
}

// reopen goes on with the chains saved. why says that their files do not hold the draws that they should.
func (r *sampling) reopen() (why, err error) {
	targets, err := r.targets()
	if err != nil {
		return nil, err
	}
	for i, s := range r.saved.Chains {
		c, err := samplers.ResumeChain(targets[i], s)
		if err != nil {
			return err, nil
		}
		path := rundir.ChainFile(r.dir, i, len(targets))
		f, err := samplers.ResumeStanCSV(path, r.saved.Rows[i], r.saved.Sums[i], r.names, r.values(i))
		switch {
		case errors.Is(err, samplers.ErrChanged) || !rundir.Exists(path):
			return fmt.Errorf("%s does not hold the draws that it counts", path), nil
		case err != nil:
			return nil, err
		}
		r.chains, r.files = append(r.chains, c), append(r.files, f)
	}
	return nil, nil
}

// values computes the named free parameters from a chain's coordinates.
func (r *sampling) values(chain int) func(dst, u []float64) error {
	t, theta := r.posts[chain], r.scratch[chain]
	return func(dst, v []float64) error {
		t.push(t.u, v)
		t.post.Theta(theta, t.u)
		for i, k := range r.columns {
			dst[i] = theta[k]
		}
		return nil
	}
}

// watcher tells how the chains are getting on.
type watcher struct {
	r      *sampling
	pr     *term.Progress
	mu     sync.Mutex
	params []int         // places in θ of the parameters watched: all but the latents
	draws  [][][]float64 // of each, by chain
	steps  int           // of all chains since this process began
	kept   int
	total  int // draws to keep
	bad    int
	step   []float64 // of each chain
	next   time.Time // of the next estimate
	ess    string
	fresh  runningMean
}

// runningMean forgets: it is the mean of about the last 50 numbers.
type runningMean struct{ n, mean float64 }

func (m *runningMean) add(v float64) {
	m.n = math.Min(m.n+1, 50)
	m.mean += (v - m.mean) / m.n
}

func newWatcher(r *sampling, pr *term.Progress) *watcher {
	w := &watcher{r: r, pr: pr, step: make([]float64, len(r.chains)), total: r.opt.Draws * len(r.chains)}
	left := 0
	for i, c := range r.chains {
		left += r.opt.Warmup + r.opt.Draws - c.Iteration()
		w.step[i] = c.StepSize()
		w.kept += r.files[i].Rows()
		w.bad += c.Counts().Divergences
	}
	for _, k := range r.columns {
		if r.p.Post.Params()[k].Role != physics.RoleLatent {
			w.params = append(w.params, k)
		}
	}
	if len(w.params) == 0 {
		w.params = r.columns
	}
	w.draws = make([][][]float64, len(w.params))
	for k := range w.draws {
		w.draws[k] = make([][]float64, len(r.chains))
	}
	if w.kept > 0 {
		if d, err := ReadDraws(r.dir, r.fileNames()...); err == nil {
			for c := range d.X {
				for _, x := range d.X[c] {
					for k, at := range w.params {
						for i, col := range r.columns {
							if col == at {
								w.draws[k][c] = append(w.draws[k][c], x[i])
							}
						}
					}
				}
			}
		}
	}
	pr.Stage(r.opt.Sampler, left)
	return w
}

// see takes a draw; theta are its named parameters unless it belongs to the warm-up.
func (w *watcher) see(d samplers.Draw, theta []float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps++
	w.step[d.Chain.ID()] = d.Info.StepSize
	w.fresh.add(d.Info.AcceptStat)
	if !d.Warmup {
		w.kept++
		if d.Info.Divergent {
			w.bad++
		}
		for k, at := range w.params {
			w.draws[k][d.Chain.ID()] = append(w.draws[k][d.Chain.ID()], theta[at])
		}
	}
	if now := time.Now(); !w.pr.Quiet && now.After(w.next) {
		w.estimate()
		// estimates take at most a few per cent of the time
		w.next = time.Now().Add(max(term.PlainEvery/2, 30*time.Since(now)))
	}
	gradients := 0
	if d.Info.Leapfrogs > 0 {
		gradients = d.Info.Leapfrogs
	}
	w.pr.Step(term.ProgressState{Step: w.steps, LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: w.pr.State.Evaluations + gradients, Text: w.text()})
}

// estimate finds the parameter with the fewest effective draws.
func (w *watcher) estimate() {
	n := math.MaxInt
	for _, c := range w.draws[0] {
		n = min(n, len(c))
	}
	if n < 8 {
		return
	}
	least, name := math.Inf(1), ""
	for k, draws := range w.draws {
		same := make([][]float64, len(draws))
		for c := range draws {
			same[c] = draws[c][:n]
		}
		if e := samplers.ESSBulk(same); e < least {
			least, name = e, w.r.p.Post.Names()[w.params[k]]
		}
	}
	if name != "" {
		w.ess = fmt.Sprintf(", ESS %.0f (%s)", least, name)
	}
}

func (w *watcher) text() string {
	step := 0.0
	for _, s := range w.step {
		step += s / float64(len(w.step))
	}
	s := fmt.Sprintf("%d of %d draws, accept %.2f, step size %.2f", w.kept, w.total, w.fresh.mean, step)
	if w.kept == 0 {
		s = fmt.Sprintf("warm-up, accept %.2f, step size %.2f", w.fresh.mean, step)
	} else {
		s += fmt.Sprintf(", %d divergent", w.bad)
	}
	return s + w.ess
}

// stream is a stream of random numbers for what is not a chain's.
func (o *Settings) stream(id uint64) *rand.Rand {
	return rand.New(rand.NewPCG(o.Seed, 1<<32+id))
}
