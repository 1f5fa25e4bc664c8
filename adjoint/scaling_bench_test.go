package adjoint

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/physics"
	"lenskit/samplers"
)

// BenchmarkAdamStep256 is one step of the paper's optimiser.
func BenchmarkAdamStep256(b *testing.B) {
	p, us := paperPosterior(b, "bilinear", 0)
	const steps = 20
	check.Measure(b, func() {
		if _, err := samplers.Adam(context.Background(), p.MAP(), samplers.NewAdamState(us[0]), nil, samplers.AdamOptions{Steps: steps}, nil); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6/steps, "mean-step-ms")
}

// fitStart is the posterior of data that the model made itself, and a start some way from what made them.
func fitStart(b *testing.B) (fit *Posterior, start []float64) {
	p, us := paperPosterior(b, "bilinear", 0)
	theta := make([]float64, len(p.Names()))
	p.params.push(theta, make([]float64, len(theta)), us[0])
	o := flatObservation(rand.New(rand.NewPCG(33, 1)), 256, 0.05)
	model := make([]float64, len(o.Data))
	if err := p.ModelImage(model, theta); err != nil {
		b.Fatal(err)
	}
	for i := range o.Data {
		o.Data[i] += model[i]
	}
	fit = open(b, p.model, o, Options{})
	start = make([]float64, fit.Dim())
	for i := range start {
		start[i] = us[0][i]
		if i < 8 {
			start[i] += 0.05
		} else {
			start[i] *= 0.5
		}
	}
	return fit, start
}

// BenchmarkFit256 is a whole fit by Levenberg-Marquardt.
func BenchmarkFit256(b *testing.B) {
	fit, start := fitStart(b)
	var last *samplers.Result
	check.Measure(b, func() {
		r, err := samplers.LevenbergMarquardt(context.Background(), fit.MAP(), samplers.NewLMState(start), samplers.LMOptions{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		last = r
	})
	b.ReportMetric(float64(last.Iterations), "iterations")
}

// BenchmarkMAP256 takes the paper's 10,000 steps of Adam, and measures how soon Levenberg-Marquardt is within 0.5 of the
// log posterior at which these end.
func BenchmarkMAP256(b *testing.B) {
	fit, start := fitStart(b)
	for b.Loop() {
		from := time.Now()
		adam, err := samplers.Adam(context.Background(), fit.MAP(), samplers.NewAdamState(start), nil, samplers.AdamOptions{Steps: 10000, Rate: 0.05, Final: 0.02}, nil)
		if err != nil {
			b.Fatal(err)
		}
		slow := time.Since(from)
		from = time.Now()
		fast, end := time.Duration(0), time.Duration(0)
		lm, err := samplers.LevenbergMarquardt(context.Background(), fit.MAP(), samplers.NewLMState(start), samplers.LMOptions{}, func(s *samplers.LMState) error {
			if fast == 0 && s.LogProb >= adam.LogProb-0.5 {
				fast = time.Since(from)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		end = time.Since(from)
		if fast == 0 {
			b.Fatalf("Levenberg-Marquardt ends at %.2f (%s), Adam at %.2f", lm.LogProb, lm.Reason, adam.LogProb)
		}
		b.ReportMetric(slow.Seconds(), "adam-s")
		b.ReportMetric(fast.Seconds(), "as-good-s")
		b.ReportMetric(end.Seconds(), "lm-s")
		b.ReportMetric(lm.LogProb-adam.LogProb, "log-posterior-gained")
	}
}

// paperDecoder is a decoder of the paper's shape with another number of latents.
func paperDecoder(b testing.TB, latents int) *onnx.Graph {
	return convDecoder(b, 5, latents, 512, 256, 128, 64, 1)
}

// BenchmarkScaling is how a step's cost grows, one thing at a time, from the paper's set-up on one thread. MB is what
// the process grew by.
func BenchmarkScaling(b *testing.B) {
	needRuntime(b)
	run := func(name string, m func() Model, side, threads int) {
		b.Run(name, func(b *testing.B) {
			before := held()
			p := open(b, m(), flatObservation(rand.New(rand.NewPCG(31, 1)), side, 0.05*256/float64(side)), Options{Threads: threads})
			us, grad := benchPoints(p), make([]float64, p.Dim())
			i := 0
			check.Measure(b, func() {
				i++
				mustLogProb(b, p.MAP(), grad, us[i%2])
			})
			b.ReportMetric(held()-before, "MB")
		})
	}
	paper := func(latents int) func() Model {
		return func() Model { return paperModel(paperDecoder(b, latents), "bilinear") }
	}
	for _, side := range []int{64, 128, 256, 512, 1024, 2048} {
		run(fmt.Sprintf("side=%d", side), paper(64), side, 1)
	}
	for _, side := range []int{64, 128, 256, 512, 1024, 2048} {
		b.Run(fmt.Sprintf("physics/side=%d", side), func(b *testing.B) {
			p := open(b, paper(64)(), flatObservation(rand.New(rand.NewPCG(31, 1)), side, 0.05*256/float64(side)), Options{Threads: 1})
			us, grad := benchPoints(p), make([]float64, p.Dim())
			mustLogProb(b, p.MAP(), grad, us[0])
			l := &p.scene.lights[0]
			own := l.dec
			l.dec = idleDecoder{own}
			defer func() { l.dec = own }()
			i := 0
			median := check.Measure(b, func() {
				i++
				mustLogProb(b, p.MAP(), grad, us[i%2])
			})
			b.ReportMetric(float64(median.Nanoseconds())/float64(side*side), "ns/pixel")
		})
	}
	for _, latents := range []int{16, 64, 256} {
		run(fmt.Sprintf("latents=%d", latents), paper(latents), 256, 1)
	}
	for _, n := range []int{1, 10, 50} {
		run(fmt.Sprintf("components=%d", n), func() Model {
			m := paper(64)()
			for k := range n {
				m.Components = append(m.Components, Component{Group: GroupLensLight, Name: fmt.Sprintf("light%d", k), Kind: "sersic", Priors: priors{
					"amp": physics.Normal(1, 0.5), "r_sersic": physics.Normal(1, 0.2).Bounded(0.1, 5), "n": physics.Normal(3, 0.5).Bounded(0.5, 8),
					"e1": physics.Normal(0, 0.1).Bounded(-0.5, 0.5), "e2": physics.Normal(0, 0.1).Bounded(-0.5, 0.5), "center_x": physics.Normal(0, 0.5), "center_y": physics.Normal(0, 0.5)}})
			}
			return m
		}, 256, 1)
	}
	for _, threads := range []int{1, 2} {
		run(fmt.Sprintf("threads=%d", threads), paper(64), 256, threads)
	}
	for _, chains := range []int{1, 2, 4, 8, 16, 32} {
		b.Run(fmt.Sprintf("chains=%d", chains), func(b *testing.B) {
			before := held()
			p := open(b, paper(64)(), flatObservation(rand.New(rand.NewPCG(31, 1)), 256, 0.05), Options{Threads: 1})
			us := benchPoints(p)
			threads := runtime.GOMAXPROCS(0)
			clones, together, err := p.Clones(chains, threads)
			if err != nil {
				b.Fatal(err)
			}
			grads := make([][]float64, chains)
			for i, q := range clones {
				b.Cleanup(func() { q.Close() })
				grads[i] = make([]float64, p.Dim())
			}
			turn := func(chain int) {
				defer clones[chain].Leave()
				for k := range turnSteps {
					mustLogProb(b, clones[chain].MAP(), grads[chain], us[k%2])
				}
			}
			atOnce := threads
			if together {
				atOnce = chains
			}
			pool := physics.NewPool(atOnce)
			defer pool.Close()
			check.Measure(b, func() {
				for _, q := range clones {
					q.Join()
				}
				pool.Run(chains, turn)
			})
			b.ReportMetric(held()-before, "MB")
		})
	}
}

// turnSteps is how many steps a chain takes in a figure, and when it is its turn, as in samplers.SampleInTurns.
const turnSteps = 8

// idleDecoder leaves the image as it is.
type idleDecoder struct{ decoder }

func (idleDecoder) forward(img, z []float64) error   { return nil }
func (idleDecoder) reverse(gz, gimg []float64) error { return nil }

// held is the memory that the process has, in MB: all of it where the system tells, else that of live Go objects.
func held() float64 {
	debug.FreeOSMemory()
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(text)); len(f) > 1 {
			if pages, err := strconv.Atoi(f[1]); err == nil {
				return float64(pages*os.Getpagesize()) / 1e6
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}
