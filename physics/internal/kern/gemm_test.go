package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestGemmIsTheProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 5))
	for k := range 70 {
		stride := TileCols + rng.IntN(5)
		a, b, c := normals(rng, k*TileRows), normals(rng, k*TileCols), normals(rng, TileRows*stride)
		alpha, beta := rng.NormFloat64(), rng.NormFloat64()
		if k%3 == 0 {
			beta = 0
			for r := range TileRows {
				c[r*stride+r] = math.NaN() // C is not read
			}
		}
		inGo := append([]float64(nil), c...)
		old := append([]float64(nil), c...)
		Gemm(c, stride, a, b, alpha, beta)
		gemmGo(inGo, stride, a, b, alpha, beta)
		for i := range c {
			want, size := old[i], 0.0
			if row, col := i/stride, i%stride; col < TileCols {
				if beta == 0 {
					want = 0
				}
				want *= beta
				for j := range k {
					want += alpha * a[j*TileRows+row] * b[j*TileCols+col]
				}
				size = float64(k + 1)
			}
			near(t, fmt.Sprintf("%d terms, element %d", k, i), c[i], want, size)
			near(t, fmt.Sprintf("%d terms, element %d in Go", k, i), inGo[i], want, size)
		}
	}
}

func TestSolveUndoesTheProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 6))
	for range 20 {
		l, x := normals(rng, TileRows*TileRows), normals(rng, TileRows*TileCols+1)
		for j := range TileRows {
			l[j*TileRows+j] = 1 / (4 + rng.Float64())
		}
		// x is LX
		y := append([]float64(nil), x...)
		for r := range TileRows {
			for i := range TileCols {
				y[r*TileCols+i] = x[r*TileCols+i] / l[r*TileRows+r]
				for j := range r {
					y[r*TileCols+i] += l[j*TileRows+r] * x[j*TileCols+i]
				}
			}
		}
		inGo := append([]float64(nil), y...)
		Solve(y, l)
		solveGo(inGo, l)
		for i, want := range x {
			near(t, fmt.Sprintf("element %d", i), y[i], want, 10)
			near(t, fmt.Sprintf("element %d in Go", i), inGo[i], want, 10)
		}
	}
}

func TestTransposeIsTheTranspose(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 8))
	for range 400 {
		m, n := 1+rng.IntN(20), 1+rng.IntN(20)
		pitch, stride := m+rng.IntN(4), n+rng.IntN(4)
		src, dst := normals(rng, m*stride), normals(rng, n*pitch)
		want := append([]float64(nil), dst...)
		to, from := 0, 0
		if rng.IntN(2) == 0 {
			to, pitch = (n-1)*pitch, -pitch
		}
		if rng.IntN(2) == 0 {
			from, stride = (m-1)*stride, -stride
		}
		for i := range m {
			for j := range n {
				want[to+j*pitch+i] = src[from+i*stride+j]
			}
		}
		Transpose(dst, to, pitch, src, from, stride, m, n)
		for i := range want {
			if dst[i] != want[i] {
				t.Fatalf("%d x %d, strides %d and %d, element %d: got %v, want %v", m, n, stride, pitch, i, dst[i], want[i])
			}
		}
	}
}

func BenchmarkGemmTile(b *testing.B) {
	const k = 240
	rng := rand.New(rand.NewPCG(9, 7))
	x, y, c := normals(rng, k*TileRows), normals(rng, k*TileCols), normals(rng, TileRows*TileCols)
	for b.Loop() {
		Gemm(c, TileCols, x, y, 1, 1)
	}
	b.ReportMetric(2*k*TileRows*TileCols/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "GFlop/s")
}
