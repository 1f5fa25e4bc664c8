//go:build !noasm

package adam

import "golang.org/x/sys/cpu"

//go:noescape
func stepAVX2(p, gr, m, v *float32, n int, k *Step)

//go:noescape
func sumAVX2(s *[8]float32, v *float32, n int)

// fast updates as many numbers as assembly takes, a multiple of 8, and returns how many.
func (k *Step) fast(p, g, m, v []float32) int {
	n := len(p) &^ 7
	if n == 0 || !cpu.X86.HasAVX2 {
		return 0
	}
	stepAVX2(&p[0], &g[0], &m[0], &v[0], n, k)
	return n
}

// sumFast adds the squares of v, whose length is a multiple of 8, to eight lanes.
func sumFast(s *[8]float32, v []float32) bool {
	if len(v) == 0 || !cpu.X86.HasAVX2 {
		return false
	}
	sumAVX2(s, &v[0], len(v))
	return true
}
