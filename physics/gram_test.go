package physics

import (
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
)

func TestGramIsTheProductOfWeightedRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 1))
	for _, n := range []int{1, 2, 3, 4, 7, 12, 13} {
		const size = 900
		stride := size + 5
		planes := check.Normals(rng, n*stride)
		g := NewGram(n)
		g.Add(planes, stride, []int32{3}, []float64{2})
		g.Clear()
		want := make([]float64, n*n)
		for _, share := range []float64{1, 0.6} { // unbroken, and with gaps
			var at []int32
			for i := range size {
				if rng.Float64() < share {
					at = append(at, int32(i))
				}
			}
			weight := check.Normals(rng, len(at))
			g.Add(planes, stride, at, weight)
			for a := range n {
				for b := range n {
					for i, p := range at {
						want[a*n+b] += planes[a*stride+int(p)] * planes[b*stride+int(p)] * weight[i] * weight[i]
					}
				}
			}
		}
		for a := range n {
			for b := a; b < n; b++ {
				check.Close(t, "product", g.At(a, b), want[a*n+b], 1e-12, 1000)
			}
		}
	}
}
