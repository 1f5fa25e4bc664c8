package adjoint

import (
	"fmt"

	"lenskit/onnx"
	"lenskit/physics"
)

// Groups of components.
const (
	GroupLens      = "lens"
	GroupSource    = "source"
	GroupLensLight = "lens_light"
)

// Kinds of light that are not in the tables of physics: an image looked up between its pixels (physics.Pixels), from a
// decoder or given.
const (
	KindDecoder = "decoder"
	KindPixels  = "pixels"
)

// KindPixelised is a source of free pixels (physics.Pixelised), which is integrated over: see Marginal.
const KindPixelised = "pixelised"

// Amplitudes says what is done with the parameters in which a light is linear (physics.Linear), its amplitudes, in a model
// with a pixelised source.
type Amplitudes string

// What is done with amplitudes.
const (
	AmplitudesFree        Amplitudes = ""            // they are parameters like others
	AmplitudesNonNegative Amplitudes = "nonnegative" // solved for beside the source: the best that are not negative
	AmplitudesGaussian    Amplitudes = "gaussian"    // integrated over like the source; their priors are normal, without bounds
)

// Component is a lens, a source or a lens light: a profile of physics, a decoder or a given image.
type Component struct {
	Group, Name string
	Kind        string // physics.LensKinds, physics.LightKinds, KindDecoder or KindPixels
	// Priors has one for each of ParamNames; the latents of a decoder have one together, under "z".
	Priors  map[string]Prior
	Decoder *DecoderSpec // of KindDecoder
	Pixels  *PixelsSpec  // of KindPixels
	// Pixelised is of KindPixelised.
	Pixelised *PixelisedSpec
	// Amplitudes is what is done with those of a light; amplitudes that are solved for have no prior.
	Amplitudes Amplitudes
	Redshift   float64 // of a lens or a source; 0: not stated
}

// DecoderSpec is a decoder: a graph with one float32 input [N, L] or [N, L, 1, 1] and one float32 output [N, 1, H, W],
// [N, H, W] or [N, H·W] (then a square), N being 1 or left open. It is not to be changed once it is in use: the derived
// graphs are kept with it, so that models which share a spec derive them once.
type DecoderSpec struct {
	File          string // where the graph comes from, for messages
	Graph         *onnx.Graph
	Interpolation string // one of physics.Interpolations; "" is bilinear

	kept keptGraphs
}

// PixelsSpec is a given image; its own Scale is of no account.
type PixelsSpec struct {
	Image         *physics.Image
	Interpolation string
}

// PixelisedSpec is a pixelised source: see physics.PixelisedSpec for grids and envelopes. The mean of its prior is zero: another
// source in the model, a Sersic profile or a decoder, at the same redshift if there are several, makes it the mean.
type PixelisedSpec struct {
	Grids      []physics.SplineGrid
	Smoothness int     // ν of the Matérn prior: 1 or 2, 0 being 1
	Components int     // round components of the envelope, 0 to 3
	Floor      float64 // of the envelope; 0 is 0.02
	// Image or Decoder is the envelope in place of round components; the latents of a decoder come first among the parameters,
	// as in a light. Their Interpolation is one of physics.Interpolations; "" is bilinear.
	Image         *physics.Image
	Decoder       *DecoderSpec
	Interpolation string
}

// network is the decoder of the component, nil where it has none.
func (c *Component) network() *DecoderSpec {
	if c.Kind == KindPixelised {
		return c.Pixelised.Decoder
	}
	return c.Decoder
}

// Model is what is taken to have made an image. Either all lenses and sources state their redshift or none does; where
// those of the lenses or those of the sources differ, rays go from plane to plane as physics.MultiPlane says.
type Model struct {
	Components []Component
	Sky        *Prior            // constant background in image units, not blurred; nil: none
	NoiseScale *Prior            // a factor of the stated noise, above 0; nil: 1
	StudentT   float64           // degrees of freedom of Student's t distribution of the residuals, 1 to 1000; 0: Gaussian
	Cosmology  physics.Cosmology // of several planes; of no account otherwise
}

// Observation is what a model is compared with.
type Observation struct {
	W, H          int
	PixelScale    float64   // arcsec
	Data          []float64 // W·H, lowest row first; a pixel that is not finite is masked
	Sigma         []float64 // one value, or W·H; see physics.NewNoise
	Mask          []bool    // W·H, true where used; nil: everywhere
	PSF           physics.PSFSpec
	Supersampling []int // rays along a pixel's side, multiples of PSF.Sampling: one value, or W·H; nil is that
}

// Options says how a Posterior is computed. The zero value takes all threads and the CPU.
type Options struct {
	Threads int    // 0: runtime.GOMAXPROCS
	Device  string // "" or "cpu", "cuda" (or "cuda:N"), or "reference": the decoder in float64 in Go
}

// Param is a named parameter of a model: what its profile says of it, and where it stands.
type Param struct {
	physics.Param
	Name             string // in full: group.component.parameter, sky or noise.scale
	Group, Component string // "" for those of no component
	Kind             string // of the component
}

// ParamNames lists the parameters of the component in order: for a decoder z.1 … z.L, then those of physics.Pixels.
func (c *Component) ParamNames() ([]string, error) {
	u, err := c.build()
	if err != nil {
		return nil, err
	}
	return u.names, nil
}

// built is a component without values.
type built struct {
	names   []string        // of its parameters
	params  []physics.Param // of the profile, without the latents
	lens    physics.Lens
	light   physics.Light
	pixels  *physics.Pixels    // light, when it is one, or the envelope of a pixelised one
	splines *physics.Pixelised // light, when it is one
	linear  []int              // of params: the amplitudes that are not parameters like others
	shape   *decoderShape
	nz      int // latents, first among names
}

func (c *Component) build() (b *built, err error) {
	b = &built{}
	switch {
	case c.Group == GroupLens:
		if b.lens, err = physics.NewLens(c.Kind); err != nil {
			return nil, err
		}
		b.params = b.lens.Params()
	case c.Group != GroupSource && c.Group != GroupLensLight:
		return nil, fmt.Errorf("found group %q, expected %s, %s or %s", c.Group, GroupLens, GroupSource, GroupLensLight)
	case c.Kind == KindDecoder:
		err = b.decoder(c.Decoder)
	case c.Kind == KindPixels:
		if c.Pixels == nil {
			return nil, fmt.Errorf("found pixels without an image")
		}
		err = b.image(c.Pixels.Image, c.Pixels.Interpolation)
	case c.Kind == KindPixelised:
		err = b.pixelised(c)
	default:
		b.light, err = physics.NewLight(c.Kind)
	}
	if err != nil {
		return nil, err
	}
	if b.splines != nil {
		b.light = b.splines
	} else if b.pixels != nil {
		b.light = b.pixels
	}
	if b.light != nil {
		b.params = b.light.Params()
	}
	for _, p := range b.params {
		b.names = append(b.names, p.Name)
	}
	return b, b.amplitudes(c)
}

// decoder takes a decoder's image as pixels.
func (b *built) decoder(d *DecoderSpec) (err error) {
	if d == nil || d.Graph == nil {
		return fmt.Errorf("found a decoder without a graph")
	}
	if b.shape, err = d.shape(); err != nil {
		return err
	}
	b.nz = b.shape.latents
	for i := range b.nz {
		b.names = append(b.names, fmt.Sprintf("z.%d", i+1))
	}
	b.pixels, err = physics.NewPixels(d.Interpolation, b.shape.w, b.shape.h)
	return err
}

// image takes a given image as pixels.
func (b *built) image(img *physics.Image, interpolation string) (err error) {
	if img == nil {
		return fmt.Errorf("found pixels without an image")
	}
	if err = img.Validate(); err != nil {
		return err
	}
	if b.pixels, err = physics.NewPixels(interpolation, img.W, img.H); err == nil {
		b.pixels.SetImage(img.Pix)
	}
	return err
}

// pixelised makes a pixelised source with its envelope.
func (b *built) pixelised(c *Component) (err error) {
	s := c.Pixelised
	switch {
	case s == nil:
		return fmt.Errorf("found a pixelised source without grids")
	case c.Group != GroupSource:
		return fmt.Errorf("found a pixelised light in the group %s, expected it in %s", c.Group, GroupSource)
	case s.Image != nil && s.Decoder != nil:
		return fmt.Errorf("found an envelope from an image and from a decoder, expected one or the other")
	case s.Decoder != nil:
		err = b.decoder(s.Decoder)
	case s.Image != nil:
		err = b.envelopeImage(s)
	}
	if err != nil {
		return err
	}
	b.splines, err = physics.NewPixelised(physics.PixelisedSpec{Grids: s.Grids, Smoothness: s.Smoothness, Components: s.Components, Floor: s.Floor, Image: b.pixels})
	return err
}

// envelopeImage takes a given image as the envelope.
func (b *built) envelopeImage(s *PixelisedSpec) error {
	if err := b.image(s.Image, s.Interpolation); err != nil {
		return err
	}
	most := 0.0
	for i, v := range s.Image.Pix {
		if !finite(v) || v < 0 {
			return fmt.Errorf("found %g in pixel %d of the envelope, expected numbers from 0", v, i)
		}
		most = max(most, v)
	}
	if most == 0 {
		return fmt.Errorf("found an envelope of zeros, expected some light")
	}
	return nil
}

// amplitudes finds the parameters that are not like others.
func (b *built) amplitudes(c *Component) error {
	switch c.Amplitudes {
	case AmplitudesFree:
		return nil
	case AmplitudesNonNegative, AmplitudesGaussian:
	default:
		return fmt.Errorf("found amplitudes %q, expected %q, %q or none", c.Amplitudes, AmplitudesNonNegative, AmplitudesGaussian)
	}
	linear, ok := b.light.(physics.Linear)
	if !ok {
		return fmt.Errorf("found amplitudes %q of type %s, which has none that could be solved for", c.Amplitudes, c.Kind)
	}
	b.linear = linear.LinearParams()
	return nil
}
