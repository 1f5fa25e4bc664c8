package physics

import (
	"slices"
	"testing"
)

// everyParam runs over the parameters of all profiles, of an image and of none.
func everyParam(t *testing.T, f func(t *testing.T, kind string, light bool, p Param)) {
	t.Helper()
	for _, kind := range LensKinds() {
		l, err := NewLens(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Params() {
			f(t, kind, false, p)
		}
	}
	for _, kind := range LightKinds() {
		l, err := NewLight(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Params() {
			f(t, kind, true, p)
		}
	}
	for _, p := range (&Pixels{}).Params() {
		f(t, "pixels", true, p)
	}
	for _, p := range []Param{Sky, NoiseScale} {
		f(t, "no profile", false, p)
	}
}

// roleUnits are the units that parameters of a role may have.
var roleUnits = map[Role][]Unit{
	RoleAmplitude: {Brightness, Flux}, RoleTermAmplitude: {Flux}, RoleSky: {Brightness}, RoleNoiseScale: {One},
	RoleEinsteinRadius: {Arcsec}, RoleHaloDeflection: {Arcsec}, RoleConvergence: {One}, RoleShear1: {One}, RoleShear2: {One},
	RoleMultipoleCos: {One}, RoleMultipoleSin: {One},
	RoleCentreX: {Arcsec}, RoleCentreY: {Arcsec}, RoleEllipticity1: {One}, RoleEllipticity2: {One}, RoleAxisRatio: {One}, RoleAngle: {Radian},
	RoleSlope: {One}, RoleSersicIndex: {One}, RoleSharpness: {One},
	RoleSize: {Arcsec}, RoleLeastSize: {Arcsec}, RoleLargestSize: {Arcsec}, RoleHalfLightRadius: {Arcsec}, RoleScaleRadius: {Arcsec},
	RoleTruncationRadius: {Arcsec}, RoleCoreRadius: {Arcsec},
}

func TestEveryParameterHasARole(t *testing.T) {
	used := map[Role]bool{}
	everyParam(t, func(t *testing.T, kind string, _ bool, p Param) {
		units, known := roleUnits[p.Role]
		if !known {
			t.Errorf("%s: %s: found role %q, expected one of the Role constants", kind, p.Name, p.Role)
			return
		}
		used[p.Role] = true
		if !slices.Contains(units, p.Unit) {
			t.Errorf("%s: %s: %s in %q, expected one of %q", kind, p.Name, p.Role, p.Unit, units)
		}
		if (p.Role == RoleAngle) != (p.Period > 0) {
			t.Errorf("%s: %s: %s with period %g", kind, p.Name, p.Role, p.Period)
		}
	})
	for r := range roleUnits {
		if !used[r] {
			t.Errorf("no parameter has the role %q", r)
		}
	}
}

// Roles that select a single parameter of a profile stand there once.
func TestRolesOfAProfileAreItsOwn(t *testing.T) {
	seen := map[string]string{}
	everyParam(t, func(t *testing.T, kind string, light bool, p Param) {
		if p.Role == RoleTermAmplitude {
			return
		}
		key := kind + " " + string(p.Role)
		if other := seen[key]; other != "" {
			t.Errorf("%s: %s and %s are both %s", kind, other, p.Name, p.Role)
		}
		seen[key] = p.Name
	})
}

// The amplitudes by role are those in which the profile says that it is linear.
func TestAmplitudesAreTheLinearParameters(t *testing.T) {
	for _, kind := range LightKinds() {
		l, err := NewLight(kind)
		if err != nil {
			t.Fatal(err)
		}
		var linear []int
		if lin, ok := l.(Linear); ok {
			linear = lin.LinearParams()
		}
		for k, p := range l.Params() {
			if is := slices.Contains(linear, k); p.Role.IsAmplitude() != is {
				t.Errorf("%s: %s: role %q, linear %v", kind, p.Name, p.Role, is)
			}
		}
	}
}
