package physics

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/integrate/quad"
)

// Cosmology is a flat or open universe of matter and a cosmological constant, in the notation of Hogg (1999,
// astro-ph/9905116). Radiation is left out. H0 sets the unit of distances alone and drops out of lensing.
type Cosmology struct {
	H0          float64 // km/s/Mpc
	OmegaM      float64 // matter today, above 0
	OmegaLambda float64 // Ω_m + Ω_Λ is at most 1; what is missing is curvature
}

// FlatCosmology is the flat universe of that much matter.
func FlatCosmology(h0, omegaM float64) Cosmology {
	return Cosmology{H0: h0, OmegaM: omegaM, OmegaLambda: 1 - omegaM}
}

// lightSpeed in km/s.
const lightSpeed = 299792.458

// flatness is the curvature that rounding leaves.
const flatness = 1e-12

// Validate tells whether the universe is flat or open and has matter.
func (c Cosmology) Validate() error {
	switch {
	case !(c.H0 > 0) || math.IsInf(c.H0, 1):
		return fmt.Errorf("physics: cosmology: H0: found %g, expected km/s/Mpc above 0", c.H0)
	case !(c.OmegaM > 0 && c.OmegaM <= 1):
		return fmt.Errorf("physics: cosmology: Omega_m: found %g, expected more than 0 and at most 1", c.OmegaM)
	case !(c.OmegaLambda >= 0):
		return fmt.Errorf("physics: cosmology: Omega_lambda: found %g, expected 0 or more", c.OmegaLambda)
	case c.OmegaM+c.OmegaLambda > 1+flatness:
		return fmt.Errorf("physics: cosmology: found Omega_m + Omega_lambda = %g, expected at most 1: flat or open", c.OmegaM+c.OmegaLambda)
	}
	return nil
}

// curvature is Ω_k (eq. 7), exactly 0 where the universe is flat.
func (c Cosmology) curvature() float64 {
	if k := 1 - c.OmegaM - c.OmegaLambda; k > flatness {
		return k
	}
	return 0
}

// E is the Hubble parameter at redshift z over that today (eq. 14).
func (c Cosmology) E(z float64) float64 {
	a := 1 + z
	return math.Sqrt(a*a*(c.OmegaM*a+c.curvature()) + c.OmegaLambda)
}

// HubbleDistance is c/H0 in Mpc (eq. 4).
func (c Cosmology) HubbleDistance() float64 { return lightSpeed / c.H0 }

// ComovingDistance is the line-of-sight comoving distance in Mpc from redshift z1 to z2 > z1 (eq. 15). With
// s = (1+z)^-½ the integrand is smooth and bounded,
//
//	dz/E = -2 ds/√(Ω_m + Ω_k s² + Ω_Λ s⁶),
//
// and Gauss's rule is good to rounding.
func (c Cosmology) ComovingDistance(z1, z2 float64) float64 {
	// where the redshifts are close, the difference of s is taken without cancellation
	s1, s2 := 1/math.Sqrt(1+z1), 1/math.Sqrt(1+z2)
	width := (z2 - z1) * s1 * s2 / (math.Sqrt(1+z1) + math.Sqrt(1+z2))
	k := c.curvature()
	sum := quad.Fixed(func(t float64) float64 {
		s := s2 + t*width
		q := s * s
		return 1 / math.Sqrt(c.OmegaM+k*q+c.OmegaLambda*q*q*q)
	}, 0, 1, 64, quad.Legendre{}, 0)
	return c.HubbleDistance() * 2 * width * sum
}

// TransverseDistance is the transverse comoving distance in Mpc from redshift z1 to z2 > z1 (eq. 16).
func (c Cosmology) TransverseDistance(z1, z2 float64) float64 {
	d := c.ComovingDistance(z1, z2)
	if k := c.curvature(); k > 0 {
		r := c.HubbleDistance() / math.Sqrt(k)
		return r * math.Sinh(d/r)
	}
	return d
}

// AngularDiameterDistance is that in Mpc of an object at redshift z2 seen from z1 < z2 (eqs 18 and 19).
func (c Cosmology) AngularDiameterDistance(z1, z2 float64) float64 {
	return c.TransverseDistance(z1, z2) / (1 + z2)
}
