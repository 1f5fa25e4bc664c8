package physics

// Param describes one parameter of a profile as data: its name, what it does, its unit, the range in which the profile is
// defined, and what is known of it where nobody says.
type Param struct {
	Name   string
	Role   Role
	Unit   Unit
	Lo, Hi float64 // open range of validity; ±Inf where there is none
	Period float64 // of an angle: values that differ by it are the same; 0 of all others

	Default  Prior // what is held likely where nobody says
	InSource Prior // the same for light in the source plane, where that is another; no family: Default
}

// Unit names what a parameter is measured in.
type Unit string

// Units of parameters.
const (
	Arcsec     Unit = "arcsec"
	Radian     Unit = "rad"
	One        Unit = "" // dimensionless
	Brightness Unit = "image units"
)

// Lens is a mass profile in one plane. Set takes the parameters (in the order of Params) and may build tables; it
// returns an error wrapping ErrRange when they lie outside the profile's range, and the lens then keeps its old
// parameters. Another number of parameters is an error that does not wrap ErrRange. The other methods only read what Set
// left, so they may run in several goroutines over different rays. Positions x, y are in arcsec; x, y and the planes have
// one element per ray.
type Lens interface {
	Params() []Param
	Set(p []float64) error
	// Deflect adds the deflection α(x, y) in arcsec to ax, ay.
	Deflect(ax, ay, x, y []float64)
	// DeflectVJP adds (∂α/∂p)ᵀ(gax, gay) to gp, summed over rays, and (∂α/∂(x,y))ᵀ(gax, gay) to gx, gy, per ray.
	// gx and gy may both be nil.
	DeflectVJP(gp, gx, gy, gax, gay, x, y []float64)
	// DeflectJac writes the columns ∂α/∂p_k into jx[k], jy[k]; a nil jx[k] (with its jy[k]) is left out.
	DeflectJac(jx, jy [][]float64, x, y []float64)
	// Convergence adds κ(x, y) to kappa.
	Convergence(kappa, x, y []float64)
}
