package coolest

import (
	"bytes"
	"encoding/json"
	"math"
)

// The COOLEST standard (Galan et al. 2023, JOSS 8, 5567) in the layout that version 0.1 of its package reads. Lengths
// are in arcsec; position angles are in degrees, counter-clockwise from +y, in (-90, 90]; radii of ellipses are the
// geometric mean of their semi-axes; x points right and y up in the image.

// coolestTemplate is a template file. Its FITS files lie in the same folder.
type coolestTemplate struct {
	Standard    string              `json:"standard"`
	Mode        string              `json:"mode"` // MAP, MOCK or DOC
	Origin      coolestOrigin       `json:"coordinates_origin"`
	Instrument  coolestInstrument   `json:"instrument"`
	Observation coolestObservation  `json:"observation"`
	Likelihoods []coolestLikelihood `json:"likelihoods,omitempty"`
	Entities    []coolestEntity     `json:"lensing_entities"`
	Meta        map[string]any      `json:"meta"`
}

// coolestOrigin is the sky position of the coordinates' origin, as 00h00m00s and +00d00m00s.
type coolestOrigin struct {
	RA  string `json:"ra"`
	Dec string `json:"dec"`
}

// coolestGrid is an image: its outer edges, and a FITS file in the folder of the template.
type coolestGrid struct {
	X    [2]float64 `json:"field_of_view_x"`
	Y    [2]float64 `json:"field_of_view_y"`
	File struct {
		Path string `json:"path"`
	} `json:"fits_file"`
	NX int `json:"num_pix_x"`
	NY int `json:"num_pix_y"`
}

type coolestInstrument struct {
	Name         string     `json:"name"`
	Band         string     `json:"band"`
	PixelSize    float64    `json:"pixel_size"`
	ReadoutNoise float64    `json:"readout_noise"`
	PSF          coolestPSF `json:"psf"`
}

// coolestPSF is a PixelatedPSF (Pixels), a GaussianPSF (FWHM, in pixels) or, with a null type, none.
type coolestPSF struct {
	Type        *string      `json:"type"`
	Description *string      `json:"description"`
	Pixels      *coolestGrid `json:"pixels,omitempty"`
	FWHM        *float64     `json:"fwhm,omitempty"`
}

type coolestObservation struct {
	Pixels        coolestGrid `json:"pixels"`
	Exposure      any         `json:"exposure_time"`
	ZeroPoint     *float64    `json:"mag_zero_point"`
	SkyBrightness *float64    `json:"mag_sky_brightness"`
	Noise         struct {
		Type string       `json:"type"`
		Map  *coolestGrid `json:"noise_map,omitempty"`
		SD   *float64     `json:"std_dev,omitempty"`
	} `json:"noise"`
}

type coolestLikelihood struct {
	Type string       `json:"type"`
	Mask *coolestGrid `json:"mask,omitempty"` // 1 where a pixel is used
}

// coolestEntity is a Galaxy, or a MassField, which has no light.
type coolestEntity struct {
	Type     string           `json:"type"`
	Name     string           `json:"name"`
	Redshift *float64         `json:"redshift"`
	Light    []coolestProfile `json:"light_model"`
	Mass     []coolestProfile `json:"mass_model"`
}

// MarshalJSON leaves the light of a MassField out: the standard has no place for it.
func (e coolestEntity) MarshalJSON() ([]byte, error) {
	type galaxy coolestEntity
	if e.Type != coolestMassField {
		return json.Marshal(galaxy(e))
	}
	return json.Marshal(struct {
		Type     string           `json:"type"`
		Name     string           `json:"name"`
		Redshift *float64         `json:"redshift"`
		Mass     []coolestProfile `json:"mass_model"`
	}{e.Type, e.Name, e.Redshift, e.Mass})
}

// Kinds of entity.
const (
	coolestGalaxy    = "Galaxy"
	coolestMassField = "MassField"
)

// coolestProfile is a profile; each of its parameters is a coolestParameter, or a coolestGrid.
type coolestProfile struct {
	Type       string                     `json:"type"`
	Parameters map[string]json.RawMessage `json:"parameters"`
	ID         string                     `json:"id,omitempty"`
}

type coolestParameter struct {
	Point struct {
		Value *float64 `json:"value"`
	} `json:"point_estimate"`
	Posterior coolestPosterior `json:"posterior_stats"`
	Prior     coolestPrior     `json:"prior"`
	Fixed     bool             `json:"fixed"`
	ID        string           `json:"id,omitempty"`
}

// coolestPosterior are statistics of the marginal posterior, null where there are none.
type coolestPosterior struct {
	Mean   *float64 `json:"mean"`
	Median *float64 `json:"median"`
	Low    *float64 `json:"percentile_16th"`
	High   *float64 `json:"percentile_84th"`
}

// coolestPrior is a GaussianPrior or LogNormalPrior (Mean, Width), a UniformPrior (Min, Max) or, with a null type, none.
type coolestPrior struct {
	Type  *string  `json:"type"`
	Mean  *float64 `json:"mean,omitempty"`
	Width *float64 `json:"width,omitempty"`
	Min   *float64 `json:"min_value,omitempty"`
	Max   *float64 `json:"max_value,omitempty"`
}

// isCOOLEST tells whether a text is a template.
func isCOOLEST(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	return len(text) > 0 && text[0] == '{' && bytes.Contains(text, []byte(`"lensing_entities"`))
}

// coolestAngle turns an angle from +x in radians into degrees from +y in (-90, 90]. Ellipses and shears are the same
// after half a turn, so the +90 of the turn may as well be -90.
func coolestAngle(phi float64) float64 {
	d := math.Mod(phi*(180/math.Pi)+90, 180)
	switch {
	case d > 90:
		d -= 180
	case d <= -90:
		d += 180
	}
	return d
}

// fromCOOLESTAngle is the inverse, in (-π/2, π/2].
func fromCOOLESTAngle(deg float64) float64 {
	phi := math.Mod((deg-90)*(math.Pi/180), math.Pi)
	switch {
	case phi <= -math.Pi/2:
		phi += math.Pi
	case phi > math.Pi/2:
		phi -= math.Pi
	}
	return phi
}

// coolestNear turns an angle in degrees by half turns to within 90 of another, so that samples on both sides of the cut at ±90
// stay together.
func coolestNear(deg, other float64) float64 {
	return deg - 180*math.Round((deg-other)/180)
}

// coolestRule is a parameter of a COOLEST profile as a function of those of a lenskit profile, in their order. scale is
// the pixel scale of the image in arcsec.
type coolestRule struct {
	name  string
	uses  []int // the lenskit parameters that it depends on
	value func(p []float64, scale float64) float64
	angle bool
	// factor is of a parameter that is one of lenskit's times a number: 1 where they are the same.
	factor func(scale float64) float64
	lo, hi float64 // range of the standard
}

// coolestForm is how a lenskit profile is written.
type coolestForm struct {
	kind, profile string
	field         bool // stands in a MassField
	rules         []coolestRule
}

func one(float64) float64 { return 1 }

// same is parameter k under another name.
func same(name string, k int) coolestRule {
	return coolestRule{name: name, uses: []int{k}, value: func(p []float64, _ float64) float64 { return p[k] }, factor: one, lo: math.Inf(-1), hi: math.Inf(1)}
}

// within sets the range of the standard.
func (r coolestRule) within(lo, hi float64) coolestRule {
	r.lo, r.hi = lo, hi
	return r
}

// constant is a value that lenskit's profile has built in.
func constant(name string, v float64) coolestRule {
	return coolestRule{name: name, value: func([]float64, float64) float64 { return v }, lo: math.Inf(-1), hi: math.Inf(1)}
}

// direction is the position angle of the complex number p[k] + i p[k+1], a ellipticity or a shear.
func direction(name string, k int) coolestRule {
	return coolestRule{name: name, uses: []int{k, k + 1}, angle: true, lo: -90, hi: 90,
		value: func(p []float64, _ float64) float64 { return coolestAngle(0.5 * math.Atan2(p[k+1], p[k])) }}
}

// axisRatio is q of the ellipticity p[k] + i p[k+1].
func axisRatio(k int) coolestRule {
	return coolestRule{name: "q", uses: []int{k, k + 1}, lo: 0, hi: 1,
		value: func(p []float64, _ float64) float64 {
			e := math.Hypot(p[k], p[k+1])
			return (1 - e) / (1 + e)
		}}
}

// coolestForms are the profiles that the standard has a place for.
//
// An isothermal ellipsoid is a PEMD of slope 2, because the package evaluates no SIE; coolestSIE is the other form. The
// standard gives no unit to the density of an NFW: it is written in units of the critical surface density per arcsec,
// so that α(r_s) = 4 ρ_c r_s² (1 + ln ½).
var coolestForms = []coolestForm{
	{kind: "sple", profile: "PEMD", rules: []coolestRule{
		same("gamma", 3).within(1, 3),
		{name: "theta_E", uses: []int{0, 1}, lo: 0, hi: math.Inf(1), value: func(p []float64, _ float64) float64 { return math.Sqrt(p[1]) * p[0] }},
		same("q", 1).within(0, 1),
		{name: "phi", uses: []int{2}, angle: true, lo: -90, hi: 90, value: func(p []float64, _ float64) float64 { return coolestAngle(p[2]) }},
		same("center_x", 4), same("center_y", 5),
	}},
	{kind: "epl", profile: "PEMD", rules: []coolestRule{
		same("gamma", 1).within(1, 3), same("theta_E", 0), axisRatio(2), direction("phi", 2), same("center_x", 4), same("center_y", 5),
	}},
	{kind: "sie", profile: "PEMD", rules: []coolestRule{
		constant("gamma", 2), same("theta_E", 0), axisRatio(1), direction("phi", 1), same("center_x", 3), same("center_y", 4),
	}},
	{kind: "sis", profile: "PEMD", rules: []coolestRule{
		constant("gamma", 2), same("theta_E", 0), constant("q", 1), constant("phi", 0), same("center_x", 1), same("center_y", 2),
	}},
	{kind: "nfw", profile: "NFW", rules: []coolestRule{
		same("r_s", 0),
		{name: "rho_c", uses: []int{0, 1}, lo: 0, hi: math.Inf(1), value: func(p []float64, _ float64) float64 { return p[1] / (4 * p[0] * p[0] * (1 - math.Ln2)) }},
		constant("q", 1), constant("phi", 0), same("center_x", 2), same("center_y", 3),
	}},
	{kind: "shear", profile: "ExternalShear", field: true, rules: []coolestRule{
		{name: "gamma_ext", uses: []int{0, 1}, lo: 0, hi: 1, value: func(p []float64, _ float64) float64 { return math.Hypot(p[0], p[1]) }},
		direction("phi_ext", 0),
	}},
	{kind: "convergence", profile: "ConvergenceSheet", field: true, rules: []coolestRule{same("kappa_s", 0).within(-1e8, 1e8)}},
}

// coolestSIE is the form of sie and sis that is called SIE.
func coolestSIE(f coolestForm) coolestForm {
	if f.kind == "sie" || f.kind == "sis" {
		f.profile, f.rules = "SIE", f.rules[1:]
	}
	return f
}

// coolestSersic is a Sersic light: its amplitude is per square arcsec, lenskit's per pixel.
var coolestSersic = coolestForm{kind: "sersic", profile: "Sersic", rules: []coolestRule{
	{name: "I_eff", uses: []int{0}, lo: 0, hi: math.Inf(1), value: func(p []float64, scale float64) float64 { return p[0] / (scale * scale) },
		factor: func(scale float64) float64 { return 1 / (scale * scale) }},
	same("theta_eff", 1), same("n", 2).within(0.5, 10), axisRatio(3), direction("phi", 3), same("center_x", 5), same("center_y", 6),
}}
