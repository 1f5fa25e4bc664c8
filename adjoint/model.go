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

// Component is a lens, a source or a lens light: a profile of physics, a decoder or a given image.
type Component struct {
	Group, Name string
	Kind        string // physics.LensKinds, physics.LightKinds, KindDecoder or KindPixels
	// Priors has one for each of ParamNames; the latents of a decoder have one together, under "z".
	Priors   map[string]Prior
	Decoder  *DecoderSpec // of KindDecoder
	Pixels   *PixelsSpec  // of KindPixels
	Redshift float64      // of a lens or a source; 0: not stated
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
	names  []string        // of its parameters
	params []physics.Param // of the profile, without the latents
	lens   physics.Lens
	light  physics.Light
	pixels *physics.Pixels // light, when it is one
	shape  *decoderShape
	nz     int // latents, first among names
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
		if c.Decoder == nil || c.Decoder.Graph == nil {
			return nil, fmt.Errorf("found a decoder without a graph")
		}
		if b.shape, err = c.Decoder.shape(); err != nil {
			return nil, err
		}
		b.nz = b.shape.latents
		for i := range b.nz {
			b.names = append(b.names, fmt.Sprintf("z.%d", i+1))
		}
		b.pixels, err = physics.NewPixels(c.Decoder.Interpolation, b.shape.w, b.shape.h)
	case c.Kind == KindPixels:
		if c.Pixels == nil || c.Pixels.Image == nil {
			return nil, fmt.Errorf("found pixels without an image")
		}
		if err = c.Pixels.Image.Validate(); err != nil {
			return nil, err
		}
		if b.pixels, err = physics.NewPixels(c.Pixels.Interpolation, c.Pixels.Image.W, c.Pixels.Image.H); err == nil {
			b.pixels.SetImage(c.Pixels.Image.Pix)
		}
	default:
		b.light, err = physics.NewLight(c.Kind)
	}
	if err != nil {
		return nil, err
	}
	if b.pixels != nil {
		b.light = b.pixels
	}
	if b.light != nil {
		b.params = b.light.Params()
	}
	for _, p := range b.params {
		b.names = append(b.names, p.Name)
	}
	return b, nil
}
