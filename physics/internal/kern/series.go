// Package kern holds the inner loops of the mass and light profiles and of linear algebra: flat slices in, flat slices out, no
// allocation.
//
// Every loop is written in Go; on amd64 with AVX2 and FMA, assembly that gen writes from the same formulas takes its
// place (build tag noasm: never). The two agree to rounding, and a ray's result does not depend on where in a slice it
// lies.
package kern

//go:generate go run ./gen

// seriesGo runs Clenshaw's recurrence b_k = c_k + 2 cos ψ b_{k+1} − b_{k+2} down to k = 1 for each cos ψ in cs and leaves
// b_1 in b1 and b_2 in b2, so that
//
//	Σ_k c_k e^{ikψ} = c_0 + e^{iψ} b_1 − b_2.
//
// len(c) must be odd (pad with a zero). b1, b2 and cs have one element per ray.
func seriesGo(b1, b2, cs, c []float64) {
	n := len(cs)
	b1, b2 = b1[:n], b2[:n]
	i := 0
	for ; i+4 <= n; i += 4 {
		x0, x1, x2, x3 := 2*cs[i], 2*cs[i+1], 2*cs[i+2], 2*cs[i+3]
		var p0, p1, p2, p3, q0, q1, q2, q3 float64
		for k := len(c) - 1; k > 0; k -= 2 {
			h := c[k]
			q0 = x0*p0 + (h - q0)
			q1 = x1*p1 + (h - q1)
			q2 = x2*p2 + (h - q2)
			q3 = x3*p3 + (h - q3)
			h = c[k-1]
			p0 = x0*q0 + (h - p0)
			p1 = x1*q1 + (h - p1)
			p2 = x2*q2 + (h - p2)
			p3 = x3*q3 + (h - p3)
		}
		b1[i], b1[i+1], b1[i+2], b1[i+3] = p0, p1, p2, p3
		b2[i], b2[i+1], b2[i+2], b2[i+3] = q0, q1, q2, q3
	}
	for ; i < n; i++ {
		x := 2 * cs[i]
		var p, q float64
		for k := len(c) - 1; k > 0; k -= 2 {
			q = x*p + (c[k] - q)
			p = x*q + (c[k-1] - p)
		}
		b1[i], b2[i] = p, q
	}
}
