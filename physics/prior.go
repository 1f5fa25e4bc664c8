package physics

import "math"

// Prior is what is held likely of a parameter before there are data, truncated to [Lo, Hi]. Those of the profiles are meant
// for galaxy-scale lenses a few arcsec across.
type Prior struct {
	Family Family
	A, B   float64
	Lo, Hi float64 // ±Inf where there is no bound
	// OfBrightness says that the parameter is meant in units of the image's brightness.
	OfBrightness bool
}

// Family names a kind of prior.
type Family string

// Families of priors.
const (
	FamilyNormal    Family = "normal"    // A mean, B standard deviation
	FamilyLogNormal Family = "lognormal" // ln of the parameter is normal with mean A, standard deviation B
	FamilyFixed     Family = "fixed"     // at A
	FamilyDecoder   Family = "bundle"    // of latents: the prior that comes with their decoder, its covariance times A
)

func prior(f Family, a, b float64) Prior {
	return Prior{Family: f, A: a, B: b, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

func normal(mean, sd float64) Prior { return prior(FamilyNormal, mean, sd) }

// logNormal is the prior whose logarithm is normal around that of median, with standard deviation sd.
func logNormal(median, sd float64) Prior { return prior(FamilyLogNormal, math.Log(median), sd) }

func fixed(v float64) Prior { return prior(FamilyFixed, v, 0) }

func (p Prior) within(lo, hi float64) Prior {
	p.Lo, p.Hi = lo, hi
	return p
}

func (p Prior) ofBrightness() Prior {
	p.OfBrightness = true
	return p
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
