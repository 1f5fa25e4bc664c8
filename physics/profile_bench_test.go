package physics

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchRays are 256 x 256 rays over 10 arcsec.
func benchRays() (x, y []float64) {
	const w = 256
	for j := range w {
		for i := range w {
			x = append(x, (float64(i)-127.5)*10/w)
			y = append(y, (float64(j)-127.5)*10/w)
		}
	}
	return x, y
}

func perRay(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/ray")
}

func BenchmarkPowerLaw(b *testing.B) {
	x, y := benchRays()
	v := planes(len(x), 4)
	gp := make([]float64, 6)
	jx, jy := planes(len(x), 6), planes(len(x), 6)
	for _, q := range []float64{0.9, 0.7, 0.5, 0.2} {
		l := newSPLE()
		mustSet(b, l, []float64{1.5, q, 0.4, 2.1, 0.01, 0.02})
		name := fmt.Sprintf("q%g", q)
		b.Run(name+"/set", func(b *testing.B) {
			for b.Loop() {
				mustSet(b, l, []float64{1.5, q, 0.4, 2.1, 0.01, 0.02})
			}
		})
		b.Run(name+"/deflect", func(b *testing.B) {
			for b.Loop() {
				l.Deflect(v[0], v[1], x, y)
			}
			perRay(b, len(x))
		})
		b.Run(name+"/vjp", func(b *testing.B) {
			for b.Loop() {
				l.DeflectVJP(gp, nil, nil, v[0], v[1], x, y)
			}
			perRay(b, len(x))
		})
		b.Run(name+"/jac", func(b *testing.B) {
			for b.Loop() {
				l.DeflectJac(jx, jy, x, y)
			}
			perRay(b, len(x))
		})
	}
}

// BenchmarkLens and BenchmarkLight take every row of the tables.
func BenchmarkLens(b *testing.B) {
	x, y := benchRays()
	v := planes(len(x), 4)
	for _, kind := range LensKinds() {
		l, err := NewLens(kind)
		if err != nil {
			b.Fatal(err)
		}
		p := drawParams(rand.New(rand.NewPCG(1, 1)), l.Params())
		mustSet(b, l, p)
		gp := make([]float64, len(p))
		b.Run(kind+"/deflect", func(b *testing.B) {
			for b.Loop() {
				l.Deflect(v[0], v[1], x, y)
			}
			perRay(b, len(x))
		})
		b.Run(kind+"/vjp", func(b *testing.B) {
			for b.Loop() {
				l.DeflectVJP(gp, nil, nil, v[0], v[1], x, y)
			}
			perRay(b, len(x))
		})
	}
}

func BenchmarkLight(b *testing.B) {
	x, y := benchRays()
	v := planes(len(x), 3)
	for _, kind := range LightKinds() {
		l, err := NewLight(kind)
		if err != nil {
			b.Fatal(err)
		}
		p := drawParams(rand.New(rand.NewPCG(1, 1)), l.Params())
		mustSet(b, l, p)
		gp := make([]float64, len(p))
		b.Run(kind+"/brightness", func(b *testing.B) {
			for b.Loop() {
				l.Brightness(v[0], x, y)
			}
			perRay(b, len(x))
		})
		b.Run(kind+"/vjp", func(b *testing.B) {
			for b.Loop() {
				l.BrightnessVJP(gp, v[1], v[2], v[0], x, y)
			}
			perRay(b, len(x))
		})
	}
}
