package physics

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// Prior is what is held likely of a parameter before there are data, as data: a family with its numbers, truncated to
// [Lo, Hi]. Make one with Normal, Uniform, LogNormal, Fixed or Multivariate. The density is normalised over the bounds.
// Default priors of the profiles are meant for galaxy-scale lenses a few arcsec across.
//
// The latents of a decoder take a Multivariate prior of their number, a Fixed one with a value for each or one for all, or
// one of the others, which then holds for each of them independently. Other parameters take a prior of one number.
type Prior struct {
	Family Family
	A, B   float64       // the family's numbers, in the unit of the parameter
	Lo, Hi float64       // bounds; none when both are zero, ±Inf where there is none on one side
	Values []float64     // of FamilyFixed: one value, or one for each latent
	Mean   []float64     // of FamilyMultivariate; nil: zeros
	Cov    *mat.SymDense // of FamilyMultivariate: the covariance before it is multiplied by A; nil: the identity
	// Relative says that A and B are in units of the image's brightness, by which they are still to be multiplied.
	Relative bool
}

// Family names a kind of prior.
type Family string

// Families of priors.
const (
	FamilyNormal       Family = "normal"       // A mean, B standard deviation
	FamilyUniform      Family = "uniform"      // from A to B
	FamilyLogNormal    Family = "lognormal"    // ln of the parameter is normal with mean A, standard deviation B
	FamilyFixed        Family = "fixed"        // at Values
	FamilyMultivariate Family = "multivariate" // of latents: normal with Mean and A times Cov; A = 0 is 1
	FamilyDecoder      Family = "bundle"       // of latents: the one that comes with their decoder, its covariance times A
)

func unbounded(f Family, a, b float64) Prior {
	return Prior{Family: f, A: a, B: b, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// Normal is the normal prior with that mean and standard deviation.
func Normal(mean, sigma float64) Prior { return unbounded(FamilyNormal, mean, sigma) }

// Uniform is the uniform prior on [a, b].
func Uniform(a, b float64) Prior { return unbounded(FamilyUniform, a, b) }

// LogNormal is the prior of a positive parameter whose logarithm is normal with mean mu and standard deviation sigma.
func LogNormal(mu, sigma float64) Prior { return unbounded(FamilyLogNormal, mu, sigma) }

// logNormal is the prior whose logarithm is normal around that of median, with standard deviation sd.
func logNormal(median, sd float64) Prior { return LogNormal(math.Log(median), sd) }

// Fixed holds a parameter, or latents, at values.
func Fixed(values ...float64) Prior {
	p := unbounded(FamilyFixed, 0, 0)
	p.Values = values
	return p
}

// Multivariate is the normal prior of latents with that mean and scale times that covariance (nil: the identity).
func Multivariate(mean []float64, cov *mat.SymDense, scale float64) Prior {
	p := unbounded(FamilyMultivariate, scale, 0)
	p.Mean, p.Cov = mean, cov
	return p
}

// Bounded truncates the prior to [lo, hi]; either may be infinite.
func (p Prior) Bounded(lo, hi float64) Prior {
	p.Lo, p.Hi = lo, hi
	return p
}

// OfBrightness is the prior in units of the image's brightness.
func (p Prior) OfBrightness() Prior {
	p.Relative = true
	return p
}

// IsFixed tells whether the prior leaves nothing free.
func (p Prior) IsFixed() bool { return p.Family == FamilyFixed }

// Bounds are Lo and Hi, infinite where there is none.
func (p Prior) Bounds() (lo, hi float64) {
	if p.Lo == 0 && p.Hi == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	return p.Lo, p.Hi
}

// Support is the range in which the prior, other than a fixed one, has a density.
func (p Prior) Support() (lo, hi float64) {
	lo, hi = p.Bounds()
	if p.Family == FamilyUniform {
		return math.Max(lo, p.A), math.Min(hi, p.B)
	}
	return lo, hi
}

// Centre is the middle of a uniform prior, the median of others, of one parameter, bounds apart.
func (p Prior) Centre() float64 {
	switch p.Family {
	case FamilyUniform:
		return (p.A + p.B) / 2
	case FamilyLogNormal:
		return math.Exp(p.A)
	case FamilyFixed:
		return p.Values[0]
	}
	return p.A
}

// likely is the parameter with a default prior.
func (p Param) likely(d Prior) Param {
	p.Default = d
	return p
}

// inSource is the parameter with a default prior of its own for light in the source plane.
func (p Param) inSource(d Prior) Param {
	p.InSource = d
	return p
}
