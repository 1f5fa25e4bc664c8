package physics

// Light is a surface-brightness profile. Set and the concurrency rules are as for Lens.
type Light interface {
	Params() []Param
	Set(p []float64) error
	// Brightness adds I(x, y) to dst.
	Brightness(dst, x, y []float64)
	// BrightnessVJP adds (∂I/∂p)ᵀ gdst to gp, summed over rays, and ∂I/∂(x,y) gdst to gx, gy, per ray. gx and gy may
	// both be nil.
	BrightnessVJP(gp, gx, gy, gdst, x, y []float64)
	// BrightnessJac writes ∂I/∂p_k into jp[k] (nil: left out) and ∂I/∂x, ∂I/∂y into jx, jy (both may be nil).
	BrightnessJac(jp [][]float64, jx, jy, x, y []float64)
}
