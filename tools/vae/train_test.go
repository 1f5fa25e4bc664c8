package vae

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lenskit/onnx/ort"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

// smallTraining are options of a run of 60 steps of a tiny network in dir.
func smallTraining(t *testing.T, dir string) TrainOptions {
	t.Helper()
	termtest.NeedRuntime(t)
	data := filepath.Join(t.TempDir(), "data.fits")
	testkit.MustRun(t, "dataset", "synth", "-o", data, "--count", "48", "--seed", "9")
	return TrainOptions{
		Data: data, HeldBack: 0.1, Shape: Shape{Latents: 6, Channels: []int{3, 4, 5, 6}, Hidden: 16}, SigmaD: 0.1, Samples: 2, Batch: 8,
		Rate: 1e-3, Schedule: "cosine", Warmup: 5, KLWeight: 1, KLWarmup: 10, Clip: 1000, Epochs: 10, EpochSteps: 6,
		Augment: Augmentation{Rotate: true, Flip: true, Shift: 2, Zoom: 0.2, Noise: 0.02}, Seed: 7,
		Threads: 1, Output: dir, SheetEvery: 100, SaveEvery: time.Hour,
	}
}

func TestTrainingStoppedAnywhereGoesOnToTheBit(t *testing.T) {
	whole := smallTraining(t, filepath.Join(t.TempDir(), "whole"))
	quiet := term.NewProgress(new(bytes.Buffer), true)
	if err := Train(context.Background(), whole, new(bytes.Buffer), quiet); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	stops := map[int64]bool{}
	for len(stops) < 10 {
		stops[1+rng.Int64N(59)] = true
	}
	parts := whole
	parts.Output = filepath.Join(t.TempDir(), "parts")
	stopped := 0
	for {
		ctx, cancel := context.WithCancel(context.Background())
		parts.afterStep = func(tr *vaeTrainer) {
			if stops[tr.steps] {
				delete(stops, tr.steps)
				cancel()
			}
		}
		err := Train(ctx, parts, new(bytes.Buffer), quiet)
		cancel()
		if err == nil {
			break
		}
		if code := term.ExitCode(err); code != term.ExitInterrupted {
			t.Fatalf("seed %d: exit code %d: %v", seed, code, err)
		}
		stopped++
	}
	if stopped != 10 {
		t.Fatalf("seed %d: stopped %d times, want 10", seed, stopped)
	}
	sameRuns(t, seed, whole.Output, parts.Output)
}

// sameRuns fails unless two runs have left the same weights and moments, to the bit, and the same log but for speeds.
func sameRuns(t *testing.T, seed uint64, whole, parts string) {
	t.Helper()
	for _, file := range []string{rundir.FileTrainState, rundir.FileTrainBest} {
		a, err := tensors.Read(filepath.Join(whole, file))
		if err != nil {
			t.Fatal(err)
		}
		b, err := tensors.Read(filepath.Join(parts, file))
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			for k, v := range a[i].Tensor.Floats {
				if math.Float32bits(v) != math.Float32bits(b[i].Tensor.Floats[k]) {
					t.Fatalf("seed %d: %s: %s[%d] is %g in the whole run and %g in the stopped one", seed, file, a[i].Name, k, v, b[i].Tensor.Floats[k])
				}
			}
		}
	}
	log := func(dir string) []string {
		data, err := os.ReadFile(filepath.Join(dir, rundir.FileTrainLog))
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		for line := range strings.Lines(string(data)) {
			rows = append(rows, line[:strings.LastIndexByte(line, ',')]) // the last column is the speed
		}
		return rows
	}
	if a, b := log(whole), log(parts); !slices.Equal(a, b) {
		t.Errorf("seed %d: the logs differ:\n%v\n%v", seed, a, b)
	}
}

// TestTrainingChild is the process that TestTrainingKilledAnywhereGoesOnToTheBit kills. It tells of each step.
func TestTrainingChild(t *testing.T) {
	text := os.Getenv(termtest.ChildOptions)
	if text == "" {
		t.Skip("is run by another test")
	}
	var o TrainOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	o.afterStep = func(tr *vaeTrainer) { fmt.Printf("step %d\n", tr.steps) }
	if err := Train(context.Background(), o, io.Discard, term.NewProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
}

func TestTrainingKilledAnywhereGoesOnToTheBit(t *testing.T) {
	if testing.Short() {
		t.Skip("starts eleven processes")
	}
	whole := smallTraining(t, filepath.Join(t.TempDir(), "whole"))
	whole.Epochs = 30
	if err := Train(context.Background(), whole, io.Discard, term.NewProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
	parts := whole
	parts.Output = filepath.Join(t.TempDir(), "parts")
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 2))
	// child trains until it is killed, some time after the given number of steps, or to the end if that is 0.
	child := func(steps int) {
		text, err := json.Marshal(parts)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestTrainingChild$")
		cmd.Env = append(os.Environ(), termtest.ChildOptions+"="+string(text))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, seen, killed := bufio.NewScanner(out), 0, false
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "step ") {
				seen++
			}
			if steps > 0 && seen == steps && !killed {
				// The child is making its next steps, or writing one of its files.
				time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				killed = true
			}
		}
		if err := cmd.Wait(); (err != nil) != killed {
			t.Fatalf("seed %d: the child ended with %v after %d steps, killed %v:\n%s", seed, err, seen, killed, stderr.String())
		}
	}
	for k := range 10 {
		parts.SaveEvery = time.Duration(k%3) * 3 * time.Millisecond // after each step, or after some
		child(1 + rng.IntN(4))
	}
	r, err := readTrainRecord(filepath.Join(parts.Output, rundir.FileTrainState))
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if r == nil || r.Step == 0 || r.Step == 180 {
		t.Fatalf("seed %d: the killed run is at %+v, want it on its way", seed, r)
	}
	child(0)
	sameRuns(t, seed, whole.Output, parts.Output)
}

func TestTrainingRefusesTheStateOfAnotherRun(t *testing.T) {
	o := smallTraining(t, filepath.Join(t.TempDir(), "run"))
	o.Epochs = 1
	quiet := term.NewProgress(new(bytes.Buffer), true)
	if err := Train(context.Background(), o, new(bytes.Buffer), quiet); err != nil {
		t.Fatal(err)
	}
	o.Rate = 2e-3
	err := Train(context.Background(), o, new(bytes.Buffer), quiet)
	if term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "other data or options") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestDivergenceKeepsTheLastGoodState(t *testing.T) {
	o := smallTraining(t, filepath.Join(t.TempDir(), "run"))
	o.SaveEvery = 0
	var before []float32
	o.afterStep = func(tr *vaeTrainer) {
		if tr.steps == 9 {
			before = slices.Clone(tr.tensors["dec.0.weight"].Floats)
			tr.tensors["dec.12.weight"].Floats[0] = float32(math.NaN())
		}
	}
	err := Train(context.Background(), o, new(bytes.Buffer), term.NewProgress(new(bytes.Buffer), true))
	if term.ExitCode(err) != term.ExitNumerical || !strings.Contains(err.Error(), "diverged at step 10") {
		t.Fatalf("got %v, want a numerical failure at step 10", err)
	}
	path := filepath.Join(o.Output, rundir.FileTrainState)
	r, err := readTrainRecord(path)
	if err != nil || r.Step != 9 {
		t.Fatalf("the state is that of step %d (%v), want 9", r.Step, err)
	}
	ws, err := tensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ws {
		for _, v := range w.Tensor.Floats {
			if !term.Finite(float64(v)) {
				t.Fatalf("%s in the state is not finite", w.Name)
			}
		}
		if w.Name == "dec.0.weight" && !slices.Equal(w.Tensor.Floats, before) {
			t.Error("the state has other weights than step 9")
		}
	}
	// The state is good to go on from.
	o.afterStep = nil
	if err := Train(context.Background(), o, new(bytes.Buffer), term.NewProgress(new(bytes.Buffer), true)); err != nil {
		t.Error(err)
	}
}

func TestTrainingLeavesItsFiles(t *testing.T) {
	o := smallTraining(t, "")
	dir := filepath.Join(t.TempDir(), "run")
	out := testkit.MustRun(t, "train-vae", o.Data, "-o", dir, "--latents", "6", "--channels", "3,4,5,6", "--hidden", "16", "--samples", "1", "--batch", "8",
		"--rate", "1e-3", "--epochs", "2", "--rotate", "--json", "--quiet")
	var got struct {
		Steps      int64   `json:"steps"`
		Validation float64 `json:"validation_elbo"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Steps != 12 || !(got.Validation < 0) {
		t.Errorf("got %q (%v)", out, err)
	}
	for _, f := range []string{rundir.FileTrainBest, rundir.FileTrainState, rundir.FileTrainLog, fileCurves, fileSheet} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
	r, err := readTrainRecord(filepath.Join(dir, rundir.FileTrainBest))
	if err != nil {
		t.Fatal(err)
	}
	if want := "lenskit train-vae data.fits -o run --latents 6 --channels 3,4,5,6 --hidden 16 --samples 1 --batch 8 --rate 0.001 --epochs 2 --rotate"; r.Command != want {
		t.Errorf("got command %q, want %q", r.Command, want)
	}
	if len(r.Origins) != 1 || !strings.HasPrefix(r.Origins[0], "dataset synth") {
		t.Errorf("got origins %q", r.Origins)
	}
}

func TestBatchesDependOnSeedAndStepAlone(t *testing.T) {
	pix, err := galaxies.Synthesise(context.Background(), 10, 64, 3, term.NewProgress(new(bytes.Buffer), true))
	if err != nil {
		t.Fatal(err)
	}
	c := &galaxies.Cube{N: 10, W: 64, H: 64}
	for _, v := range pix {
		c.Pix = append(c.Pix, float32(v))
	}
	make1 := func() *batchSource {
		return &batchSource{sets: []*galaxies.Cube{c, {N: 4, W: 64, H: 64, Pix: c.Pix[:4*4096]}}, Beside: 2, Batch: 5, Eps: 12, Seed: 4, Augment: Augmentation{Rotate: true, Flip: true, Shift: 1, Zoom: 0.1, Noise: 0.1}}
	}
	a := make1()
	var xs, es [][]float32
	for s := range int64(9) {
		x, e := make([]float32, 5*4096), make([]float32, 12)
		a.fill(s, x, e)
		xs, es = append(xs, x), append(es, e)
	}
	next, stop := make1().start(5)
	defer stop()
	for s := int64(5); s < 9; s++ {
		b := next()
		if b.step != s || !slices.Equal(b.x, xs[s]) || !slices.Equal(b.eps, es[s]) {
			t.Errorf("batch %d differs when it is reached from the middle", s)
		}
	}
	if slices.Equal(xs[0], xs[1]) || slices.Equal(es[0], es[1]) {
		t.Error("two steps have the same batch")
	}
	// Ten images, three a batch: each is seen once before any is seen twice.
	seen := map[int]int{}
	for n := range int64(10) {
		seen[a.index(0, n)]++
	}
	if len(seen) != 10 {
		t.Errorf("the first pass shows %d of 10 images", len(seen))
	}
}

func TestResamplingTurnsShiftsAndZooms(t *testing.T) {
	const n = 64
	// a Gaussian off the centre, so smooth that the cubic's error is small
	gauss := func(x0, y0, s float64) []float32 {
		p := make([]float32, n*n)
		for j := range n {
			for i := range n {
				dx, dy := float64(i)-31.5-x0, float64(j)-31.5-y0
				p[j*n+i] = float32(math.Exp(-(dx*dx + dy*dy) / (2 * s * s)))
			}
		}
		return p
	}
	src := gauss(8, 3, 5)
	for _, c := range []struct {
		name                 string
		angle, zoom, dx, dy  float64
		flip                 bool
		wantX, wantY, wantSD float64
	}{
		{"nothing", 0, 1, 0, 0, false, 8, 3, 5},
		{"a quarter turn", math.Pi / 2, 1, 0, 0, false, -3, 8, 5},
		{"any turn", 0.7, 1, 0, 0, false, 8*math.Cos(0.7) - 3*math.Sin(0.7), 8*math.Sin(0.7) + 3*math.Cos(0.7), 5},
		{"a shift", 0, 1, 1.5, -2.25, false, 9.5, 0.75, 5},
		{"a zoom", 0, 1.25, 0, 0, false, 10, 3.75, 6.25},
		{"a mirror", 0, 1, 0, 0, true, -8, 3, 5},
	} {
		got, want := make([]float32, n*n), gauss(c.wantX, c.wantY, c.wantSD)
		resample(got, src, n, n, c.angle, c.zoom, c.dx, c.dy, c.flip)
		worst := 0.0
		for i := range got {
			worst = math.Max(worst, math.Abs(float64(got[i]-want[i])))
		}
		if worst > 2e-3 {
			t.Errorf("%s: off by %.2g of the peak", c.name, worst)
		}
	}
}

func TestInterruptedTrainingHasItsExitCode(t *testing.T) {
	o := smallTraining(t, filepath.Join(t.TempDir(), "run"))
	ctx, cancel := context.WithCancelCause(context.Background())
	o.afterStep = func(tr *vaeTrainer) {
		if tr.steps == 4 {
			cancel(term.Stopped{Signal: os.Interrupt})
		}
	}
	err := Train(ctx, o, new(bytes.Buffer), term.NewProgress(new(bytes.Buffer), true))
	var f *term.Failure
	if !errors.As(err, &f) || f.Code != term.ExitInterrupted || !strings.Contains(err.Error(), "after step 4 of 60") {
		t.Errorf("got %v", err)
	}
}

// A state of training with a bit that differs is noticed, wherever it is, and so are weights that are read to be exported.
func TestDamageOfTrainingIsNoticed(t *testing.T) {
	whole := smallTraining(t, filepath.Join(t.TempDir(), "whole"))
	whole.Epochs = 2
	quiet := term.NewProgress(io.Discard, true)
	if err := Train(context.Background(), whole, io.Discard, quiet); err != nil {
		t.Fatal(err)
	}
	parts := whole
	parts.Output = filepath.Join(t.TempDir(), "parts")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var tr *vaeTrainer
	parts.afterStep = func(t *vaeTrainer) {
		if t.steps == 8 {
			cancel()
		}
	}
	if err := Train(ctx, parts, io.Discard, quiet); term.ExitCode(err) != term.ExitInterrupted {
		t.Fatal(err)
	}
	path := filepath.Join(parts.Output, rundir.FileTrainState)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := readTrainRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string][]float32{}
	for _, w := range want {
		tensors[w.Name] = w.Tensor.Floats
	}
	if tr, err = newVAETrainer(whole.Shape, whole.Shape.initial(rand.New(rand.NewPCG(1, 2))), vaeObjective{Batch: 8, Samples: 2, SigmaD: 0.1},
		adamOptions{Beta1: 0.5, Beta2: 0.999, Epsilon: 1e-8}, ort.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	noticed := 0
	for i := 0; i < len(text)-1; i += 1 + i/97 { // the header's bytes closer than those of the tensors
		damaged := bytes.Clone(text)
		damaged[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		got, notice, err := tr.restore(path, r.Key)
		switch {
		case err != nil:
			t.Fatalf("byte %d: %v", i, err)
		case got == nil && strings.Contains(notice, "cannot be read (") && strings.HasSuffix(notice, "): starting afresh"):
			noticed++
			continue
		case got == nil || got.Step != 8:
			t.Fatalf("byte %d: got %+v, %q", i, got, notice)
		}
		for _, w := range tr.state() {
			if !slices.Equal(w.Tensor.Floats, tensors[w.Name]) {
				t.Fatalf("byte %d: another %s is gone on with (%q)", i, w.Name, notice)
			}
		}
	}
	if noticed < 100 {
		t.Errorf("noticed %d", noticed)
	}
	// with one in the tensors, the run is made anew
	text[len(text)-1000] ^= 1
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	parts.afterStep = nil
	if err := Train(context.Background(), parts, io.Discard, quiet); err != nil {
		t.Fatal(err)
	}
	sameRuns(t, 0, whole.Output, parts.Output)

	best := filepath.Join(parts.Output, rundir.FileTrainBest)
	if text, err = os.ReadFile(best); err != nil {
		t.Fatal(err)
	}
	text[len(text)-1000] ^= 1
	if err := os.WriteFile(best, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, msg := testkit.RunCommand(t, "export-vae", parts.Output, "-o", filepath.Join(t.TempDir(), "bundle")); !strings.Contains(msg, "its checksum is not that of its content") {
		t.Errorf("damaged weights: got %q", msg)
	}
}
