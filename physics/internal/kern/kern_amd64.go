//go:build !noasm

package kern

import "golang.org/x/sys/cpu"

//go:noescape
func seriesVec(b1, b2, cs *float64, n int, c *float64, nc int)

//go:noescape
func prepareVec(k *PowerLaw, b *Rays, x, y *float64, n int)

//go:noescape
func deflectVec(k *PowerLaw, b *Rays, ax, ay *float64, n int)

//go:noescape
func vjpVec(k *PowerLaw, b *Rays, gax, gay, zx, zy *float64, acc *[7][4]float64, n int)

//go:noescape
func slopesVec(k *PowerLaw, b *Rays, s *Slopes, n int)

// Accelerated tells whether assembly takes the place of the Go loops.
func Accelerated() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

// wide tells the assembly to take eight rays at a time. Results are the same to the last bit.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL

// pad is how many rays the assembly takes for n: whole groups of 16. A group's last rays repeat the block's last.
func pad(n int) int { return (n + 15) &^ 15 }

// padded copies v to a whole number of groups; fill goes where v ends.
func padded(dst *[Block]float64, v []float64, fill float64) {
	n := copy(dst[:], v)
	for i := n; i < pad(n); i++ {
		dst[i] = fill
	}
}

// Prepare fills b for at most Block rays x, y; withT says whether ∂H/∂t is wanted, as VJP and Slopes need it.
func (k *PowerLaw) Prepare(b *Rays, x, y []float64, withT bool) {
	n := len(x)
	if n == 0 {
		return
	}
	if !Accelerated() {
		k.prepareAllGo(b, x, y, withT)
		return
	}
	y = y[:n]
	m := pad(n)
	if n == m {
		prepareVec(k, b, &x[0], &y[0], m)
	} else {
		var px, py [Block]float64
		padded(&px, x, x[n-1])
		padded(&py, y, y[n-1])
		prepareVec(k, b, &px[0], &py[0], m)
	}
	seriesVec(&b.B1[0], &b.B2[0], &b.CS[0], m, &k.C[0], len(k.C))
	if withT {
		seriesVec(&b.D1[0], &b.D2[0], &b.CS[0], m, &k.D[0], len(k.D))
	}
}

// Deflect adds α of the rays in b to ax, ay.
func (k *PowerLaw) Deflect(b *Rays, ax, ay []float64) {
	n := len(ax)
	if n == 0 {
		return
	}
	if !Accelerated() {
		k.deflectGo(b, ax, ay)
		return
	}
	ay = ay[:n]
	m := pad(n)
	if n == m {
		deflectVec(k, b, &ax[0], &ay[0], m)
		return
	}
	var px, py [Block]float64
	copy(px[:], ax)
	copy(py[:], ay)
	deflectVec(k, b, &px[0], &py[0], m)
	copy(ax, px[:])
	copy(ay, py[:])
}

// VJP adds to sum what the rays in b and gax, gay give and writes their gradients by position to zx, zy.
func (k *PowerLaw) VJP(sum *Sums, b *Rays, zx, zy, gax, gay []float64) {
	n := len(gax)
	if n == 0 {
		return
	}
	if !Accelerated() {
		k.vjpGo(sum, b, zx, zy, gax, gay)
		return
	}
	gay, zx, zy = gay[:n], zx[:n], zy[:n]
	var acc [7][4]float64
	m := pad(n)
	if n == m {
		vjpVec(k, b, &gax[0], &gay[0], &zx[0], &zy[0], &acc, m)
	} else {
		var hx, hy, px, py [Block]float64
		padded(&hx, gax, 0)
		padded(&hy, gay, 0)
		vjpVec(k, b, &hx[0], &hy[0], &px[0], &py[0], &acc, m)
		copy(zx, px[:])
		copy(zy, py[:])
	}
	for i := range sum {
		sum[i] += (acc[i][0] + acc[i][1]) + (acc[i][2] + acc[i][3])
	}
}

// Slopes fills s for the first n rays of b.
func (k *PowerLaw) Slopes(b *Rays, s *Slopes, n int) {
	if !Accelerated() {
		k.slopesGo(b, s, n)
		return
	}
	slopesVec(k, b, s, pad(n))
}
