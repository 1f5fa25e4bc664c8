//go:build !amd64 || noasm

package kern

// Accelerated tells whether assembly takes the place of the Go loops.
func Accelerated() bool { return false }

// Prepare fills b for at most Block rays x, y; withT says whether ∂H/∂t is wanted, as VJP and Slopes need it.
func (k *PowerLaw) Prepare(b *Rays, x, y []float64, withT bool) { k.prepareAllGo(b, x, y, withT) }

// Deflect adds α of the rays in b to ax, ay.
func (k *PowerLaw) Deflect(b *Rays, ax, ay []float64) { k.deflectGo(b, ax, ay) }

// VJP adds to sum what the rays in b and gax, gay give and writes their gradients by position to zx, zy.
func (k *PowerLaw) VJP(sum *Sums, b *Rays, zx, zy, gax, gay []float64) {
	k.vjpGo(sum, b, zx, zy, gax, gay)
}

// Slopes fills s for the first n rays of b.
func (k *PowerLaw) Slopes(b *Rays, s *Slopes, n int) { k.slopesGo(b, s, n) }

// Brightness adds I of the rays x, y to dst and says whether it did: there is no kernel, and nothing is done.
func (k *Light) Brightness(kind LightKind, dst, x, y []float64) bool { return false }

// VJP has no kernel: nothing is done.
func (k *Light) VJP(kind LightKind, sum *[10]float64, zx, zy *[Block]float64, gdst, x, y []float64) bool {
	return false
}

// Slopes has no kernel: nothing is done.
func (k *Light) Slopes(kind LightKind, s *LightSlopes, x, y []float64) bool { return false }

// Mix writes to dst, or adds to it, the sum of len(taps) stretches of src, each as long as dst and `stride` after the
// one before:
//
//	dst(i) = Σ_t taps(t) src(t stride + i).
//
// A convolution is Mix with rows as stretches, or with stretches that begin one element apart.
func Mix(dst, src []float64, stride int, taps []float64, add bool) {
	mixGo(dst, src, stride, taps, add)
}

// Dots adds to sum(r, c) the scalar product of row r of a and row c of b, n elements of each; rows begin `stride` apart. n
// is a multiple of 4.
func Dots(sum *[3][4]float64, a, b []float64, stride, n int) {
	if n%4 != 0 {
		panic("kern: Dots: rows of another length")
	}
	dotsGo(sum, a, b, stride, n)
}
