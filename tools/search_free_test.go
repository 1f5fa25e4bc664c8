package tools

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
)

// knots is a source of three knots of different widths, which no profile follows.
func knots(x, y float64) float64 {
	sum := 0.0
	for _, k := range [][4]float64{{0.25, -0.1, 0.08, 0.3}, {0.05, 0.1, 0.12, 0.15}, {0.4, 0.1, 0.15, 0.1}} {
		sum += k[3] * math.Exp(-0.5*(math.Pow(x-k[0], 2)+math.Pow(y-k[1], 2))/(k[2]*k[2]))
	}
	return sum
}

// galaxyWithKnots is a galaxy before the image of knots behind an isothermal sphere of 1.2 arcsec.
func galaxyWithKnots(t *testing.T) *observation {
	t.Helper()
	galaxy, o := galaxyWithArc(t)
	lens := isothermal(t)
	rng := rand.New(rand.NewPCG(11, 12))
	for k, v := range galaxy {
		x, y := o.place(k%o.W, k/o.W)
		u, w := lens.source([]float64{x}, []float64{y})
		o.Data[k] = v + knots(u[0], w[0]) + 0.01*rng.NormFloat64()
	}
	return o
}

// The galaxy's light, of which the profiles follow what they can, and a source of any shape must not hide the radius.
func TestEvidenceOfAFreeSourceTellsTheRadius(t *testing.T) {
	f, err := newFreeSource(galaxyWithKnots(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := func(radius float64) float64 {
		l, err := physics.NewLens("sis")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Set([]float64{radius, 0, 0}); err != nil {
			t.Fatal(err)
		}
		best := math.Inf(-1)
		for strength := 0.0; strength < 12; strength++ {
			best = math.Max(best, f.evidence(lensSum{l}, 0.25, 0, strength))
		}
		return best
	}
	right := at(1.2)
	for _, radius := range []float64{0.6, 1.1, 1.17, 1.23, 1.3, 1.8} {
		if wrong := at(radius); wrong > right-3 {
			t.Errorf("an Einstein radius of %.2f arcsec has the evidence %.1f, the true one of 1.2 has %.1f", radius, wrong, right)
		}
	}
}

// With nothing but noise in the image the evidence is largest where the source is held at zero.
func TestEvidenceOfAFreeSourceFallsWithItsFreedom(t *testing.T) {
	galaxy, o := galaxyWithArc(t)
	rng := rand.New(rand.NewPCG(13, 14))
	for k, v := range galaxy {
		o.Data[k] = v + 0.01*rng.NormFloat64()
	}
	f, err := newFreeSource(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	free, held := f.evidence(isothermal(t), 0, 0, 5), f.evidence(isothermal(t), 0, 0, 25)
	if free > held-10 {
		t.Errorf("the evidence of a free source is %.1f, of one held at zero %.1f", free, held)
	}
}

func TestLaplacianIsDarkAllAround(t *testing.T) {
	m := laplacianSquared(3)
	flat, out := mat.NewVecDense(9, nil), mat.NewVecDense(9, nil)
	for k := range 9 {
		flat.SetVec(k, 1)
	}
	out.MulVec(m, flat)
	// the Laplacian of a flat source is 2 at corners, 1 at edges, 0 within: 4·4 + 4·1
	check.Close(t, "sum of squares", mat.Dot(flat, out), 20, 1e-12, 1)
}
