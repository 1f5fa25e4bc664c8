package observation

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/config"
)

// TestNeighboursDoNotHangOnTheOrderOfPixels: an image turned by half a turn or flipped has the same neighbours, turned or
// flipped, to rounding.
func TestNeighboursDoNotHangOnTheOrderOfPixels(t *testing.T) {
	const n, scale = 100, 0.08 // the nodes of the medians are the same from both ends
	o := &Observation{W: n, H: n, Scale: scale, Data: make([]float64, n*n), Sigma: make([]float64, n*n)}
	rng := rand.New(rand.NewPCG(21, 22))
	for k := range o.Data {
		x, y := o.Place(k%n, k/n)
		o.Sigma[k] = 0.01 * (1 + 0.5*rng.Float64())
		o.Data[k] = math.Exp(-2*math.Sqrt(math.Hypot(x+0.3, y))) + 0.08*math.Exp(-0.5*((x-2.9)*(x-2.9)+(y-2)*(y-2))/0.01) +
			0.06*math.Exp(-0.5*((x+2)*(x+2)+(y-2.8)*(y-2.8))/0.02) + o.Sigma[k]*rng.NormFloat64()
	}
	want, _, err := o.asymmetry()
	if err != nil {
		t.Fatal(err)
	}
	mask, err := o.neighbours(config.NeighbourConfig{})
	if err != nil || mask.Count == 0 {
		t.Fatalf("%d neighbours, %v", mask.Count, err)
	}
	for what, from := range map[string]func(i, j int) int{
		"turned":        func(i, j int) int { return (n-1-j)*n + n - 1 - i },
		"left to right": func(i, j int) int { return j*n + n - 1 - i },
		"upside down":   func(i, j int) int { return (n-1-j)*n + i },
	} {
		p := *o
		p.Data, p.Sigma = slices.Clone(o.Data), slices.Clone(o.Sigma)
		for k := range p.Data {
			p.Data[k], p.Sigma[k] = o.Data[from(k%n, k/n)], o.Sigma[from(k%n, k/n)]
		}
		if err := p.Weigh(); err != nil {
			t.Fatal(err)
		}
		got, _, err := p.asymmetry()
		if err != nil {
			t.Fatal(err)
		}
		same, err := p.neighbours(config.NeighbourConfig{})
		if err != nil || same.Count != mask.Count {
			t.Fatalf("%s: %d neighbours, want %d (%v)", what, same.Count, mask.Count, err)
		}
		for k := range got {
			f := from(k%n, k/n)
			check.Close(t, what+": signal to noise", got[k], want[f], 1e-9, 1)
			if same.Pixels[k] != mask.Pixels[f] {
				t.Fatalf("%s: pixel %d: got %v", what, k, same.Pixels[k])
			}
		}
	}
}
