package physics

// Role says what a parameter does in a profile, whatever its name there is. Code that treats some parameters unlike others
// asks for their role.
type Role string

// Roles of parameters. Every parameter of every profile has one.
const (
	// RoleAmplitude is the brightness or flux of a whole light profile, in which the image is linear.
	RoleAmplitude Role = "amplitude"
	// RoleTermAmplitude is that of one of several terms of an expansion; the image is linear in each.
	RoleTermAmplitude Role = "amplitude of a term"
	// RoleSky is a brightness that is the same all over the image.
	RoleSky Role = "sky"
	// RoleNoiseScale is a factor of the noise.
	RoleNoiseScale Role = "factor of the noise"

	// RoleEinsteinRadius is the Einstein radius of a galaxy's mass, or that of the power law a multipole belongs to.
	RoleEinsteinRadius Role = "Einstein radius"
	// RoleHaloDeflection is the deflection of a halo at its scale radius.
	RoleHaloDeflection Role = "deflection at the scale radius"
	// RoleConvergence is a convergence that is the same everywhere.
	RoleConvergence Role = "convergence"
	// RoleShear1 and RoleShear2 are the components of a shear along the axes and along the diagonals.
	RoleShear1 Role = "shear 1"
	RoleShear2 Role = "shear 2"
	// RoleMultipoleCos and RoleMultipoleSin are the amplitudes of a perturbation by cos mφ and sin mφ.
	RoleMultipoleCos Role = "multipole, cosine"
	RoleMultipoleSin Role = "multipole, sine"

	// RoleCentreX and RoleCentreY are the position of the centre.
	RoleCentreX Role = "centre x"
	RoleCentreY Role = "centre y"
	// RoleEllipticity1 and RoleEllipticity2 are the components of the ellipticity along the axes and along the diagonals.
	RoleEllipticity1 Role = "ellipticity 1"
	RoleEllipticity2 Role = "ellipticity 2"
	// RoleAxisRatio is the minor axis over the major one.
	RoleAxisRatio Role = "axis ratio"
	// RoleAngle is the direction of the major axis.
	RoleAngle Role = "angle"

	// RoleSlope is the negative logarithmic slope of a power law of the radius, of density or of brightness.
	RoleSlope Role = "slope"
	// RoleSersicIndex is the index n of a Sersic profile.
	RoleSersicIndex Role = "Sersic index"
	// RoleSharpness tells how sharply a profile turns from one slope to another.
	RoleSharpness Role = "sharpness"

	// RoleSize is the size of a profile that has one: the standard deviation of a Gaussian, the width of a frame.
	RoleSize Role = "size"
	// RoleLeastSize and RoleLargestSize are the sizes of the first and the last term of an expansion.
	RoleLeastSize   Role = "least size"
	RoleLargestSize Role = "largest size"
	// RoleHalfLightRadius is the radius within which half of the light is.
	RoleHalfLightRadius Role = "half-light radius"
	// RoleScaleRadius is the radius at which a halo's density has the slope 2.
	RoleScaleRadius Role = "scale radius"
	// RoleTruncationRadius is the radius outside which a halo ends.
	RoleTruncationRadius Role = "truncation radius"
	// RoleCoreRadius is the radius inside which a profile is shallower.
	RoleCoreRadius Role = "core radius"

	// RoleDeviation is the standard deviation of a random field, and RoleCorrelation the length over which it is correlated.
	RoleDeviation   Role = "standard deviation"
	RoleCorrelation Role = "correlation length"
	// RoleWeight is how much a component counts beside the first.
	RoleWeight Role = "weight of a component"

	// RoleLatent is one of the numbers from which a decoder makes an image, or all of them together.
	RoleLatent Role = "latent"
)

// IsAmplitude tells whether the image is linear in a parameter of the role.
func (r Role) IsAmplitude() bool {
	return r == RoleAmplitude || r == RoleTermAmplitude || r == RoleSky
}
