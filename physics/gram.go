package physics

import "lenskit/physics/internal/kern"

// gramPixels is the number of elements of the rows of a Gram matrix that stay in the cache while it is summed.
const gramPixels = 256

// Gram sums the products AAᵀ of rows that come in stretches. It serves one caller at a time.
type Gram struct {
	n     int
	rows  []float64 // n rows of a stretch, then rows of zeros up to a whole block
	pitch int
	sum   []float64 // n x width, upper
	width int
}

// NewGram makes the Gram matrix of n rows.
func NewGram(n int) *Gram {
	g := &Gram{n: n, pitch: gramPixels + 8, width: n + 4}
	g.rows = make([]float64, (n+4)*g.pitch)
	g.sum = make([]float64, (n+3)*g.width)
	return g
}

// Clear sets the sums to zero.
func (g *Gram) Clear() { clear(g.sum) }

// At is the sum of the products of rows a and b, a <= b.
func (g *Gram) At(a, b int) float64 { return g.sum[a*g.width+b] }

// Add adds the products of the rows that begin at a multiple of `stride` in planes, of the elements `at`, each multiplied
// by the weight of its place in `at`. at rises.
func (g *Gram) Add(planes []float64, stride int, at []int32, weight []float64) {
	for len(at) > 0 {
		m := min(gramPixels, len(at))
		g.stretch(planes, stride, at[:m], weight[:m])
		at, weight = at[m:], weight[m:]
	}
}

func (g *Gram) stretch(planes []float64, stride int, at []int32, weight []float64) {
	m, first := len(at), int(at[0])
	unbroken := int(at[m-1])-first == m-1
	for k := range g.n {
		row, plane := g.rows[k*g.pitch:][:m], planes[k*stride:]
		if unbroken {
			kern.Product(row, plane[first:first+m], weight)
		} else {
			for i, p := range at {
				row[i] = plane[p] * weight[i]
			}
		}
		for ; m%4 != 0 && len(row)%4 != 0; row = row[:len(row)+1] {
			g.rows[k*g.pitch+len(row)] = 0
		}
	}
	m = (m + 3) &^ 3
	for a := 0; a < g.n; a += 3 {
		for b := a &^ 3; b < g.n; b += 4 {
			var dots [3][4]float64
			kern.Dots(&dots, g.rows[a*g.pitch:], g.rows[b*g.pitch:], g.pitch, m)
			for r := range dots {
				s := g.sum[(a+r)*g.width+b:][:4]
				for c, v := range dots[r] {
					s[c] += v
				}
			}
		}
	}
}
