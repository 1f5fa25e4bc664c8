package problem

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// BareOptions says what is known of an image that comes without a config.
type BareOptions struct {
	Image      string  // PATH or PATH[EXT]
	Noise      string  // a number or a FITS path
	PSF        string  // sigma in arcsec, or a FITS path; "" for none
	PixelScale float64 // arcsec; 0: the header's
	Neighbours bool    // are masked
	Subtracted bool    // there is no light of the lens in it
}

// IsFITS tells whether a command's argument is a FITS image and not a config: it begins as FITS and packed files do,
// or names an extension, or ends as FITS files do.
func IsFITS(arg string) bool {
	path, ext := fits.SplitExtension(arg)
	if ext != "" {
		return true
	}
	if f, _, err := disk.Open(path); err == nil {
		defer f.Close()
		var head [6]byte
		n, _ := f.Read(head[:])
		for _, magic := range []string{"SIMPLE", "\x1f\x8b", "BZh", "\x1f\x9d", "\xfd7zXZ\x00"} {
			if bytes.HasPrefix(head[:n], []byte(magic)) {
				return true
			}
		}
	}
	path = strings.ToLower(path)
	for _, packed := range []string{".gz", ".bz2", ".xz", ".z"} {
		path = strings.TrimSuffix(path, packed)
	}
	return slices.Contains([]string{".fits", ".fit", ".fts", ".fz"}, filepath.Ext(path))
}

// Bare is the config of an image without one: a power law with shear, the light of the lens as two sets of
// Gaussians on ellipses unless there is none, and the shipped decoder for the source, within a circle. Where the image's file has extensions
// NOISE and PSF, they stand in for what b leaves out.
func Bare(b BareOptions) (*config.Config, error) {
	path, _ := fits.SplitExtension(b.Image)
	var notices []string
	if b.Noise == "" || b.PSF == "" {
		hdus, data, err := fits.Open(path)
		if err != nil {
			return nil, err
		}
		data.Close()
		for i := range hdus {
			if !hdus[i].IsImage() || hdus[i].Size() == 0 {
				continue
			}
			switch name := strings.ToUpper(hdus[i].Name()); {
			case b.Noise == "" && name == "NOISE":
				b.Noise = path + "[NOISE]"
				notices = append(notices, fmt.Sprintf("%s (HDU %d) is taken as the noise: --noise names another", b.Noise, hdus[i].Index))
			case b.PSF == "" && name == "PSF":
				b.PSF = path + "[PSF]"
				notices = append(notices, fmt.Sprintf("%s (HDU %d) is taken as the PSF: --psf names another, or none", b.PSF, hdus[i].Index))
			}
		}
	}
	if b.Noise == "" {
		return nil, term.BadInput("%s: --noise is missing, expected the standard deviation of a pixel or a FITS path", b.Image)
	}
	if b.PixelScale < 0 {
		return nil, term.BadInput("--pixel-scale: found %g, expected arcsec per pixel above 0", b.PixelScale)
	}
	c, err := config.Parse("command line", []byte(bareModel))
	if err != nil {
		return nil, err
	}
	c.Where, c.Notices = nil, notices
	c.Flags = map[string]string{"data": "image", "data.noise": "--noise", "data.psf": "--psf", "data.pixel_scale": "--pixel-scale"}
	if b.Neighbours {
		c.Flags["data.mask"] = "--mask-neighbours"
	}
	d := &c.Data
	d.Image, d.PixelScale = b.Image, b.PixelScale
	if v, err := strconv.ParseFloat(b.Noise, 64); err != nil {
		d.Noise.Sigma.File = b.Noise
	} else if d.Noise.Sigma.Value = v; !(v > 0) || v > 1e300 {
		return nil, term.BadInput("--noise: found %s, expected a standard deviation above 0 or a FITS path", b.Noise)
	}
	if v, err := strconv.ParseFloat(b.PSF, 64); err == nil {
		if d.PSFSigma = v; !(v > 0) || v > 1e300 {
			return nil, term.BadInput("--psf: found %s, expected a standard deviation in arcsec above 0 or a FITS path", b.PSF)
		}
	} else if b.PSF != "" && b.PSF != "none" {
		d.PSFFile = b.PSF
	}
	if !b.Subtracted {
		d.Noise.Fraction = bareFraction
	}
	circle := config.MaskConfig{Kind: "circle", Size: [2]float64{0, observation.BareField}}
	core := config.MaskConfig{Kind: "not", Parts: []config.MaskConfig{{Kind: "circle", Size: [2]float64{0, observation.BareCore}}}}
	d.Mask = config.MaskConfig{Kind: "all", Parts: []config.MaskConfig{circle, core}}
	if b.Subtracted {
		d.Mask.Parts = d.Mask.Parts[:1]
		c.LensLight = nil
		for _, role := range []physics.Role{physics.RoleCentreX, physics.RoleCentreY} {
			c.Lens[0].ByRole(role).Prior = config.Prior{Prior: physics.Normal(0, bareUnseen).Bounded(-5*bareUnseen, 5*bareUnseen)} // no light tells it
		}
	}
	if b.Neighbours {
		d.Mask.Parts = append(d.Mask.Parts, config.MaskConfig{Kind: "neighbours"})
	}
	// the image's brightness is that of the lens
	iota := physics.LogNormal(math.Log(0.05), 1.5).OfBrightness()
	if b.Subtracted {
		iota = physics.LogNormal(0, 0.7).OfBrightness() // or of the arcs
	}
	c.Source[0].ByRole(physics.RoleAmplitude).Prior = config.Prior{Prior: iota}
	c.Sky = &config.Prior{Prior: physics.Normal(0, bareSky).OfBrightness()}
	for i := range c.LensLight {
		for k := range c.LensLight[i].Params {
			switch p := &c.LensLight[i].Params[k]; p.Role {
			case physics.RoleLeastSize: // the amplitudes' default priors are for these widths
				p.Prior = config.Prior{Prior: physics.Fixed(bareNarrow)}
			case physics.RoleLargestSize:
				p.Prior = config.Prior{Prior: physics.Fixed(bareWide)}
			case physics.RoleCentreX, physics.RoleCentreY:
				p.Prior = config.Prior{Prior: physics.Normal(0, 0.05).Bounded(-0.2, 0.2)}
			}
		}
	}
	c.Follow = !b.Subtracted
	return c, nil
}

// followLight centres the priors of a bare image's lens on its light: mass and light of elliptical galaxies have the same
// centre and about the same ellipticity (Koopmans et al. 2006), and arcs alone tell them so badly that the errors of a source
// end up there.
func followLight(c *config.Config, obs *observation.Observation) error {
	if !c.Follow {
		return nil
	}
	c.Follow = false
	set := c.Settings()
	small, err := obs.Coarsen(obs.Binning(set.LightSide))
	if err != nil {
		return err
	}
	x0, y0 := obs.BrightCentre()
	light, _, err := small.FitMGE(x0, y0, set.LightError)
	if err != nil {
		return err
	}
	e1, e2 := light.Ellipticity(observation.BareField / 2)
	at := map[physics.Role]physics.Prior{
		physics.RoleCentreX: physics.Normal(x0, bareCentre).Bounded(x0-5*bareCentre, x0+5*bareCentre),
		physics.RoleCentreY: physics.Normal(y0, bareCentre).Bounded(y0-5*bareCentre, y0+5*bareCentre),
	}
	mass := map[physics.Role]physics.Prior{physics.RoleEllipticity1: physics.Normal(e1, bareEllipse).Bounded(-0.5, 0.5), physics.RoleEllipticity2: physics.Normal(e2, bareEllipse).Bounded(-0.5, 0.5)}
	for _, comp := range slices.Concat(c.Lens[:1], c.LensLight) {
		for k := range comp.Params {
			p := &comp.Params[k]
			if q, ok := at[p.Role]; ok {
				p.Prior = config.Prior{Prior: q}
			} else if q, ok := mass[p.Role]; ok && comp.Group == "lens" {
				p.Prior = config.Prior{Prior: q}
			}
		}
	}
	return nil
}

// What is used of an image without a config.
const (
	bareNarrow   = 0.05  // arcsec: the least standard deviation of the Gaussians that make the lens's light,
	bareWide     = 4     // and the largest
	bareCentre   = 0.01  // arcsec: standard deviation of the centre of the mass from that of the light,
	bareUnseen   = 0.15  // arcsec: that of the centre of the mass from the image's where no light tells it
	bareEllipse  = 0.08  // and of its ellipticity from the light's
	bareSky      = 0.005 // of the image's brightness: a source or a lens must not make up for a wrong sky
	bareFraction = 0.02  // of the light of a pixel, to which profiles follow an elliptical galaxy
)

// bareModel is the model of an image without a config.
const bareModel = `
lens:
  - type: epl
    priors:
      theta_E: {lognormal: [0.18, 0.45], bounds: [0.1, 5]}
      gamma: {normal: [2, 0.03], bounds: [1.5, 2.5]}
      e1: {normal: [0, 0.12], bounds: [-0.4, 0.4]}
      e2: {normal: [0, 0.12], bounds: [-0.4, 0.4]}
      center_x: {normal: [0, 0.05], bounds: [-0.2, 0.2]}
      center_y: {normal: [0, 0.05], bounds: [-0.2, 0.2]}
  - type: shear
    priors:
      gamma1: {normal: [0, 0.03], bounds: [-0.1, 0.1]}
      gamma2: {normal: [0, 0.03], bounds: [-0.1, 0.1]}
source:
  - type: decoder
    interpolation: bicubic
    priors:
      s: {lognormal: [0.5, 0.4], bounds: [0.2, 5]}
      x: {normal: [0, 0.3]}
      y: {normal: [0, 0.3]}
lens_light:
  - type: mge
    name: inner
    priors: {e1: {normal: [0, 0.2], bounds: [-0.5, 0.5]}, e2: {normal: [0, 0.2], bounds: [-0.5, 0.5]}}
  - type: mge
    name: outer
    priors: {e1: {normal: [0, 0.2], bounds: [-0.5, 0.5]}, e2: {normal: [0, 0.2], bounds: [-0.5, 0.5]}}
sky: {}
`
