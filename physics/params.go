package physics

import (
	"fmt"
	"math"
)

// Flux is the unit of a total flux: brightness times arcsec².
const Flux Unit = "image units arcsec²"

// unitHi is the open upper end of a range that contains 1 itself.
var unitHi = math.Nextafter(1, 2)

// maxEllipticity is the largest |e| a profile takes: axis ratio 1/1000.
const maxEllipticity = 0.999 / 1.001

// checkParams tells whether p has one finite value inside the open range of each parameter. The error about a value wraps
// ErrRange.
func checkParams(kind string, params []Param, p []float64) error {
	if len(p) != len(params) {
		return fmt.Errorf("physics: %s: found %d parameters, expected %d", kind, len(p), len(params))
	}
	for i, v := range p {
		if !(v > params[i].Lo && v < params[i].Hi) {
			return fmt.Errorf("physics: %s: %s: found %g, expected between %g and %g: %w",
				kind, params[i].Name, v, params[i].Lo, params[i].Hi, ErrRange)
		}
	}
	return nil
}

// checkEllipticity tells whether (e1, e2) belongs to an axis ratio a profile takes. The error wraps ErrRange.
func checkEllipticity(kind string, e1, e2 float64) error {
	if f := math.Hypot(e1, e2); !(f < maxEllipticity) {
		return fmt.Errorf("physics: %s: e1, e2: found |e| = %g, expected less than %g: %w", kind, f, maxEllipticity, ErrRange)
	}
	return nil
}

// anywhere is a parameter that any finite number suits.
func anywhere(name string, role Role, unit Unit) Param {
	return Param{Name: name, Role: role, Unit: unit, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// positive is a parameter that any finite number above 0 suits.
func positive(name string, role Role, unit Unit) Param {
	return Param{Name: name, Role: role, Unit: unit, Lo: 0, Hi: math.Inf(1)}
}

// between is a parameter without a unit, of an open range.
func between(name string, role Role, lo, hi float64) Param {
	return Param{Name: name, Role: role, Unit: One, Lo: lo, Hi: hi}
}

// direction is the direction of an axis: half a turn more is the same.
func direction(name string) Param {
	p := anywhere(name, RoleAngle, Radian).likely(Normal(0, 1))
	p.Period = math.Pi
	return p
}

// The parameters that several profiles have.

func einsteinRadius(name string) Param {
	return positive(name, RoleEinsteinRadius, Arcsec).likely(Normal(1.5, 0.5).Bounded(0.1, 5))
}

func massSlope(name string) Param {
	return between(name, RoleSlope, 1, 3).likely(Normal(2, 0.2).Bounded(1.2, 2.8))
}

func ellipticity() []Param {
	d := Normal(0, 0.2).Bounded(-0.6, 0.6)
	return []Param{between("e1", RoleEllipticity1, -1, 1).likely(d), between("e2", RoleEllipticity2, -1, 1).likely(d)}
}

func centre(x, y string) []Param {
	d := Normal(0, 0.1)
	return []Param{anywhere(x, RoleCentreX, Arcsec).likely(d), anywhere(y, RoleCentreY, Arcsec).likely(d)}
}

// ofHalo are the parameters that a halo's profile begins with.
func ofHalo() []Param {
	return []Param{positive("r_s", RoleScaleRadius, Arcsec).likely(logNormal(10, 0.5)), positive("alpha_rs", RoleHaloDeflection, Arcsec).likely(logNormal(1, 0.7))}
}

// Parameters of a model that belong to no profile.
var (
	Sky        = anywhere("sky", RoleSky, Brightness).likely(Normal(0, 0.1).OfBrightness())
	NoiseScale = positive("noise_scale", RoleNoiseScale, One).likely(logNormal(1, 0.3))
)

// Latents is the parameter of a decoder's latents, one by one or all together. Their default prior is the decoder's own,
// nine times as wide in variance (Chianese et al. 2020, §2.3).
func Latents(name string) Param {
	return anywhere(name, RoleLatent, One).likely(unbounded(FamilyDecoder, 9, 0))
}
