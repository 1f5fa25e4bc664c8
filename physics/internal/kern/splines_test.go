package kern

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSpreadIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 21))
	for trial := range 300 {
		count, columns := rng.IntN(12), 60
		first := []int32{0}
		var blocks []SplineBlock
		for range count {
			for range rng.IntN(4) {
				p := SplineBlock{Rows: int16(1 + rng.IntN(BlockRows)), Cols: int16(1 + rng.IntN(BlockCols)), Stride: int32(4 + rng.IntN(5))}
				p.Col = int32(rng.IntN(columns - int(p.Rows-1)*int(p.Stride) - int(p.Cols) + 1))
				for r := range int(p.Rows) {
					copy(p.W[r*BlockCols:], normals(rng, int(p.Cols)))
				}
				blocks = append(blocks, p)
			}
			first = append(first, int32(len(blocks)))
		}
		var cells []int32
		for range rng.IntN(20) {
			if count > 0 {
				cells = append(cells, int32(rng.IntN(count+1))-1)
			}
		}
		line := len(cells) + rng.IntN(3)
		k := normals(rng, SpreadRows*line)
		const beyond = 2*8 + 3
		// guards on both sides
		pitch := columns + beyond
		got := normals(rng, SpreadRows*pitch+20)
		want := append([]float64(nil), got...)
		Spread(got[10:10+SpreadRows*pitch], pitch, k, line, cells, first, blocks)
		for i, c := range cells {
			if c < 0 {
				continue
			}
			for _, p := range blocks[first[c]:first[c+1]] {
				for r := range SpreadRows {
					for b := range int(p.Rows) {
						for a := range int(p.Cols) {
							want[10+r*pitch+int(p.Col)+b*int(p.Stride)+a] += k[r*line+i] * p.W[b*BlockCols+a]
						}
					}
				}
			}
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-13*50 || (i < 10 || (i-10)%pitch >= columns) && got[i] != want[i] {
				t.Fatalf("trial %d: element %d: got %g, want %g", trial, i-10, got[i], want[i])
			}
		}
	}
}

func TestAddRowsAndRowDotsAreSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 22))
	for trial := range 300 {
		n := rng.IntN(90)
		pitch := n + rng.IntN(7)
		src, a := normals(rng, n), normals(rng, 2*pitch+n+8)
		w := [3]float64(normals(rng, 3))
		got, inGo := append([]float64(nil), a...), append([]float64(nil), a...)
		AddRows(got, pitch, src, &w)
		addRowsGo(inGo, pitch, src, &w)
		var dots, want [3]float64
		RowDots(&dots, a, pitch, src)
		rowDotsGo(&want, a, pitch, src)
		for r := range want {
			if math.Abs(dots[r]-want[r]) > 1e-13*float64(n+1) {
				t.Fatalf("trial %d: dot %d of %d: got %g, want %g", trial, r, n, dots[r], want[r])
			}
		}
		for i := range got {
			if math.Abs(got[i]-inGo[i]) > 1e-14*20 {
				t.Fatalf("trial %d: element %d: got %g, want %g", trial, i, got[i], inGo[i])
			}
		}
	}
}
