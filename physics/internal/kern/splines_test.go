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
		var patches []Patch
		var values []float64
		for range count {
			for range rng.IntN(4) {
				p := Patch{Rows: int32(1 + rng.IntN(5)), Wide: int32(1 + rng.IntN(3)), At: int32(len(values)), Stride: int32(4 + rng.IntN(5))}
				p.Col = int32(rng.IntN(columns - int(p.Rows-1)*int(p.Stride) - 4*int(p.Wide) + 4))
				values = append(values, normals(rng, int(4*p.Rows*p.Wide))...)
				patches = append(patches, p)
			}
			first = append(first, int32(len(patches)))
		}
		var cells []int32
		for range rng.IntN(20) {
			if count > 0 {
				cells = append(cells, int32(rng.IntN(count+1))-1)
			}
		}
		k := normals(rng, len(cells))
		// guards on both sides
		got := normals(rng, columns+3+20)
		want := append([]float64(nil), got...)
		Spread(got[10:10+columns+3], k, cells, first, patches, values)
		for i, c := range cells {
			if c < 0 {
				continue
			}
			for _, p := range patches[first[c]:first[c+1]] {
				for b := range int(p.Rows) {
					for a := range 4 * int(p.Wide) {
						want[10+int(p.Col)+b*int(p.Stride)+a] += k[i] * values[int(p.At)+b*4*int(p.Wide)+a]
					}
				}
			}
		}
		inGo := append([]float64(nil), want...)
		for i := range got {
			if math.Abs(got[i]-inGo[i]) > 1e-13*50 {
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
