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

// checkParams tells whether p has one finite value inside the open range of each parameter. The error wraps ErrRange.
func checkParams(kind string, params []Param, p []float64) error {
	if len(p) != len(params) {
		panic("physics: " + kind + ": wrong number of parameters")
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

// anywhere is the range of a parameter that any finite number suits.
func anywhere(name string, unit Unit) Param {
	return Param{Name: name, Unit: unit, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// direction is the range of the direction of an axis: half a turn more is the same.
func direction(name string) Param {
	p := anywhere(name, Radian)
	p.Period = math.Pi
	return p
}

// positive is the range of a parameter that any finite number above 0 suits.
func positive(name string, unit Unit) Param {
	return Param{Name: name, Unit: unit, Lo: 0, Hi: math.Inf(1)}
}

// ellipticity is the range of e1 or e2.
func ellipticity(name string) Param { return Param{Name: name, Unit: One, Lo: -1, Hi: 1} }
