package vae

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"lenskit/internal/check"
	"lenskit/onnx/diff"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/termtest"
)

var torchAdam = adamOptions{Beta1: 0.5, Beta2: 0.999, Epsilon: 1e-8}

func TestTwentyStepsFollowPyTorch(t *testing.T) {
	termtest.NeedRuntime(t)
	r := loadVAEReference(t)
	tr, err := newVAETrainer(r.Shape, r.weights, vaeObjective{Batch: r.batch, Samples: r.samples, SigmaD: 0.02}, torchAdam, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	x, losses := narrowed(r.arrays["x"]).Floats, r.arrays["losses"]
	for s := range 20 {
		got, err := tr.step(x, r.eps(s).Floats, 1, r.arrays["lr"].Float(0))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range []float64{got.Loss, got.Reconstruction, got.KL} {
			check.Close(t, fmt.Sprintf("step %d, number %d", s+1, i), v, losses.Float(3*s+i), 1e-3, 0)
		}
		for _, p := range r.params() {
			if want := r.arrays[fmt.Sprintf("step%d.%s", s+1, p.Name)]; want != nil && p.Stat {
				have := tr.tensors[p.Name]
				if e := termtest.Relative(func(i int) float64 { return float64(have.Floats[i]) }, want); !(e <= 1e-3) {
					t.Errorf("step %d: %s is off by %.2g of its largest element", s+1, p.Name, e)
				}
			}
		}
	}
}

func TestAdamDoesNotDependOnThreads(t *testing.T) {
	n := 3*adamBlock + 77
	rng := rand.New(rand.NewPCG(5, 6))
	var start [4][]float32
	for k := range start {
		start[k] = make([]float32, n)
		for i := range start[k] {
			start[k][i] = float32(rng.NormFloat64())
			if k == 3 {
				start[k][i] *= start[k][i]
			}
		}
	}
	var first [4][]float32
	for threads := 1; threads <= 4; threads++ {
		var s [4][]float32
		for k := range s {
			s[k] = slices.Clone(start[k])
		}
		o := torchAdam
		o.Clip = 10
		norm := o.update(s[0], s[1], s[2], s[3], 7, 1e-3, threads)
		if threads == 1 {
			first = s
			want := 0.0
			for _, v := range start[1] {
				want += float64(v) * float64(v)
			}
			check.Close(t, "norm²", norm*norm, want, 1e-6, 0)
			// the first number by hand
			g := float64(start[1][0]) * 10 / (norm + 1e-6)
			m := 0.5*float64(start[2][0]) + 0.5*g
			v := 0.999*float64(start[3][0]) + 0.001*g*g
			c1, c2 := 1-math.Pow(0.5, 7), 1-math.Pow(0.999, 7)
			check.Close(t, "parameter", float64(s[0][0]), float64(start[0][0])-1e-3*(m/c1)/(math.Sqrt(v/c2)+1e-8), 1e-5, 1e-7)
			continue
		}
		for k := range s {
			if !slices.Equal(s[k], first[k]) {
				t.Errorf("%d threads give other numbers than one", threads)
			}
		}
	}
}

// BenchmarkVAEStep is a step of the paper's network, batch 32. LENSKIT_BENCH_SAMPLES sets M, LENSKIT_BENCH_GRAPH names a
// file to which the training graph is written.
func BenchmarkVAEStep(b *testing.B) {
	termtest.NeedRuntime(b)
	samples := 1
	if s, err := strconv.Atoi(os.Getenv("LENSKIT_BENCH_SAMPLES")); err == nil {
		samples = s
	}
	rng := rand.New(rand.NewPCG(1, 2))
	w := Paper.initial(rng)
	o := vaeObjective{Batch: 32, Samples: samples, SigmaD: 0.02}
	if path := os.Getenv("LENSKIT_BENCH_GRAPH"); path != "" {
		g, err := lossGraph(Paper, w, o)
		if err == nil {
			g, err = diff.Train(g, diff.TrainOptions{Loss: "loss", Params: trained(Paper), GradientsOnly: true})
		}
		if err == nil {
			err = g.Save(path)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	tr, err := newVAETrainer(Paper, w, o, torchAdam, ort.Options{NoSpin: true})
	if err != nil {
		b.Fatal(err)
	}
	clear(w)
	defer tr.close()
	x, eps := make([]float32, len(tr.x)), make([]float32, len(tr.eps))
	for i := range x {
		x[i] = rng.Float32()
	}
	for i := range eps {
		eps[i] = float32(rng.NormFloat64())
	}
	if _, err := tr.step(x, eps, 1, 1e-4); err != nil {
		b.Fatal(err)
	}
	var ms []float64
	used := func() float64 {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
	}
	cpu := used()
	for b.Loop() {
		start := time.Now()
		if _, err := tr.step(x, eps, 1, 1e-4); err != nil {
			b.Fatal(err)
		}
		ms = append(ms, float64(time.Since(start).Microseconds())/1e3)
	}
	cpu = (used() - cpu) / float64(len(ms))
	slices.Sort(ms)
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	line, _ := json.Marshal(map[string]any{"name": fmt.Sprintf("lenskit.vae.step.M%d", samples), "median_ms": ms[len(ms)/2], "min_ms": ms[0], "cpu_ms": cpu, "repeats": len(ms), "peak_mib": u.Maxrss / 1024})
	b.Log(string(line))
}

// BenchmarkAdam is the update of as many parameters as the paper's network has.
func BenchmarkAdam(b *testing.B) {
	n := 40_100_000
	var s [4][]float32
	for k := range s {
		s[k] = make([]float32, n)
		for i := range s[k] {
			s[k][i] = float32(i%97) * 1e-3
		}
	}
	for _, clip := range []float64{0, 1} {
		b.Run(fmt.Sprintf("clip=%g", clip), func(b *testing.B) {
			o := torchAdam
			o.Clip = clip
			step := int64(0)
			for b.Loop() {
				step++
				o.update(s[0], s[1], s[2], s[3], step, 1e-6, 0)
			}
		})
	}
}
