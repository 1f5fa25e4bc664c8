package kern

// maxOwn is the most parameters of its own a curve has.
const maxOwn = 6

// Light holds the numbers of an elliptical light profile that its kernels read: with ζ = (x - cx) + i(y - cy) and
// u = ζ - e ζ̄, the brightness is a curve of R² = |u|² norm. The order of the fields is the layout the assembly reads.
type Light struct {
	E1, E2, CX, CY float64
	Norm           float64     // 1/(1-|e|²)
	P              [11]float64 // the curve's numbers, see the kinds
}

// LightKind names a curve that has an assembly kernel.
type LightKind int

// Curves and what P holds for them.
const (
	// NoLight has no kernel.
	NoLight LightKind = iota
	// Sersic: amp, b, ∂b/∂n, 1/r_s², 1/(2n), 1/(n r_s), smallest R².
	Sersic
	// CoreSersic: amp, b, ∂b/∂n, 1/r_s², 1/n, 1/(n r_s), smallest R², ln(r_s/R_b), α, γ, 1/R_b.
	CoreSersic
	// Gaussian: amp/(2πσ²), 1/(2πσ²), -1/(2σ²), 1/σ.
	Gaussian
)

// LightSlopes holds a block of rays: ∂I/∂p by the curve's own parameters, e1, e2, x and y, in this order.
type LightSlopes [maxOwn + 4][Block]float64
