package observation

import (
	"fmt"
	"math"
	"slices"

	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

const (
	BareField = 3.5 // arcsec: radius within which the arcs of galaxies lie
	BareCore  = 0.2 // arcsec: no profile follows the cusp of an elliptical galaxy, nor does the PSF
)

// Observation is what the data section of a config names, read and checked. One that is not made by Read is to be weighed
// before its methods are called.
type Observation struct {
	W, H   int
	Scale  float64               // arcsec per pixel
	Data   []float64             // W*H, lowest y first; not finite where a pixel is bad
	Sigma  []float64             // one value, or W*H
	Counts *physics.PoissonNoise // where Sigma comes from, if from counts
	Mask   []bool                // true where the config's mask leaves a pixel in use; nil: everywhere
	Noise  *physics.Noise        // of the pixels in use, as Weigh makes it of the three above
	PSF    physics.PSFSpec
	Rays   []int       // along a pixel's side: one value, or W*H; nil: as many as the PSF has pixels there
	Header fits.Header // of the image; nil where the config has none
	// Brightness is the height of the brightest 0.5 % of used pixels above their median, to two digits: the unit of
	// default priors of fluxes.
	Brightness float64
	Notices    []string // what was found amiss and what was made of it
	Inputs     []rundir.Input

	whole *physics.Noise // what unmasked has made
}

// Weigh makes Noise of Data, Sigma and Mask, as Read does: whoever sets or changes one of these calls it. Sizes that differ, a
// single sigma that is not positive, and an observation without a pixel of use are errors.
func (o *Observation) Weigh() error {
	o.whole = nil
	return o.weigh()
}

// weigh is Weigh where unmasked, if it has been asked for, still holds.
func (o *Observation) weigh() (err error) {
	if len(o.Data) != o.W*o.H {
		return fmt.Errorf("observation: found %d pixels, expected %d x %d", len(o.Data), o.W, o.H)
	}
	if o.Mask == nil {
		o.Noise, err = o.unmasked()
		return err
	}
	if o.Noise, err = physics.NewNoise(o.Data, o.Sigma, o.Mask); err != nil {
		return err
	}
	_, err = o.unmasked()
	return err
}

// unmasked is the noise of every pixel of use, whether the mask leaves it or not, made when it is first asked for.
func (o *Observation) unmasked() (_ *physics.Noise, err error) {
	if o.whole == nil {
		o.whole, err = physics.NewNoise(o.Data, o.Sigma, nil)
	}
	return o.whole, err
}

// With is the observation with other data and noise, of one value or one for each pixel.
func (o *Observation) With(data, sigma []float64) (*Observation, error) {
	out := *o
	out.Data, out.Sigma = data, sigma
	return &out, out.Weigh()
}

// Read reads the files of the data section. Without an image (for a mock) the data are zeros of the size given.
func Read(c *config.Config) (*Observation, error) {
	o := &Observation{Notices: slices.Clone(c.Notices)}
	d := &c.Data
	var err error
	if d.Image == "" {
		if d.Size[0] == 0 {
			return nil, c.Fail("data", "has neither image nor size, expected image: a FITS path")
		}
		if o.W, o.H = d.Size[0], d.Size[1]; o.W*o.H > MaxPixels {
			return nil, c.Fail("data.size", "found %d x %d pixels, expected at most %d in all", o.W, o.H, MaxPixels)
		}
		o.Data = make([]float64, o.W*o.H)
	} else if err = o.readImage(c); err != nil {
		return nil, err
	}
	if err = o.findScale(c); err != nil {
		return nil, err
	}
	if err = o.readNoise(c); err != nil {
		return nil, err
	}
	o.addFraction(c.Data.Noise.Fraction)
	if err = o.readPSF(c); err != nil {
		return nil, err
	}
	if err = o.readMask(c); err != nil {
		return nil, err
	}
	o.ChooseRays(&c.Data)
	return o, o.check(c)
}

// open reads the plane that the config names at key, for a role, and records the file. Its size is judged before its
// pixels are read.
func (o *Observation) open(c *config.Config, key, ref string, role fits.Role, files func(path string, w, h int) error) (*fits.Image, []float64, [2]int, error) {
	path, _ := fits.SplitExtension(c.Path(ref))
	q := fits.Request{Role: role, Sum: true, IsFITS: func(w, h int) error { return files(path, w, h) }}
	img, err := q.Read(c.Path(ref))
	if err != nil {
		return nil, nil, [2]int{}, WithPlace(c, key, err)
	}
	w, h, pix, err := img.Plane()
	if err != nil {
		return nil, nil, [2]int{}, WithPlace(c, key, err)
	}
	if img.Notice != "" {
		o.Notices = append(o.Notices, img.Notice)
	}
	return img, pix, [2]int{w, h}, o.record(img.Path, img.SHA256)
}

// WithPlace puts the place in the config before an error about a file that it names.
func WithPlace(c *config.Config, key string, err error) error {
	return withHintOf(err, c.Fail(key, "%s", err.Error()))
}

// withHintOf gives err the hint of from, if that has one.
func withHintOf(from, err error) error {
	if f, ok := from.(*term.Failure); ok && f.Hint != "" {
		return term.WithHint(err, "%s", f.Hint)
	}
	return err
}

// record notes a file that was read, with the sum of its bytes, once.
func (o *Observation) record(path, sum string) error {
	for _, i := range o.Inputs {
		if i.Path == path && i.SHA256 == sum {
			return nil
		} else if i.Path == path {
			return term.BadInput("%s: was changed while it was read", path)
		}
	}
	o.Inputs = append(o.Inputs, rundir.Input{Path: path, SHA256: sum})
	return nil
}

// Limits on the images of an observation: the sides in pixels of those that are fitted, and the pixels of all.
const (
	minSide   = 8
	MaxPixels = 2048 * 2048
)

// Fittable is an error where an image is too small to show a lens.
func (o *Observation) Fittable(c *config.Config) error {
	if o.W >= minSide && o.H >= minSide {
		return nil
	}
	return c.Fail("data.image", "%s is %d x %d pixels, expected sides of at least %d for a fit", c.Data.Image, o.W, o.H, minSide)
}

func (o *Observation) readImage(c *config.Config) error {
	img, pix, size, err := o.open(c, "data.image", c.Data.Image, fits.RoleImage, func(path string, w, h int) error {
		if w > config.MaxSide || h > config.MaxSide || w*h > MaxPixels {
			return term.WithHint(term.BadInput("%s is %d x %d pixels, expected at most %d in all", path, w, h, MaxPixels), "cut out the lens: the model is drawn over the whole image")
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.W, o.H, o.Data, o.Header = size[0], size[1], pix, img.Header
	if s := c.Data.Size; s[0] != 0 && s != size {
		return c.Fail("data.size", "found %d x %d, but %s is %d x %d", s[0], s[1], img.Path, o.W, o.H)
	}
	for key := range o.Header {
		if fits.WCSTables.MatchString(key) {
			o.Notices = append(o.Notices, fmt.Sprintf("%s: its header names a table of distortions (%s), which is not read: sky coordinates leave it out", img.Path, key))
			break
		}
	}
	return nil
}

func (o *Observation) findScale(c *config.Config) error {
	o.Scale = c.Data.PixelScale
	var sky fits.WCS
	ok := false
	if o.Header != nil {
		sky, ok = fits.ReadWCS(o.Header)
	}
	in := func(scale float64) bool { return scale >= fits.MinPixelScale && scale <= fits.MaxPixelScale }
	switch {
	case o.Scale != 0 && !in(o.Scale):
		return c.Fail("data.pixel_scale", "found %g arcsec per pixel, expected %g to %g", o.Scale, fits.MinPixelScale, fits.MaxPixelScale)
	case o.Scale == 0 && !ok:
		return c.Fail("data.pixel_scale", "is missing, and the image's header tells none: expected arcsec per pixel")
	case o.Scale == 0 && !in(sky.Scale()):
		return c.Fail("data.pixel_scale", "is missing, and the image's header says %.5g arcsec per pixel (%s, in degrees where no CUNIT tells): expected %g to %g", sky.Scale(), sky.Cards, fits.MinPixelScale, fits.MaxPixelScale)
	case o.Scale == 0 && !sky.Square():
		return c.Fail("data.image", "its pixels are not square, by its header: expected square pixels")
	case o.Scale == 0:
		o.Scale = sky.Scale()
		if math.Abs(sky.Local/sky.Linear-1) > 0.01 {
			o.Notices = append(o.Notices, fmt.Sprintf("the image's header says %.5g arcsec per pixel at the image's centre, and %.5g by its linear terms alone, without projection and distortion: %.5g is used", sky.Local, sky.Linear, sky.Local))
		}
	case ok && !sky.Square():
		o.Notices = append(o.Notices, fmt.Sprintf("the image's header says that its pixels are not square: they are taken for squares of %g arcsec, as the config says", o.Scale))
	case ok && math.Abs(o.Scale/sky.Scale()-1) > 0.02:
		o.Notices = append(o.Notices, fmt.Sprintf("the config says %g arcsec per pixel, the image's header %.5g: %g is used", o.Scale, sky.Scale(), o.Scale))
	}
	return nil
}

// openSame reads a plane of the image's size that the config names at key, for a role, and records the file.
func (o *Observation) openSame(c *config.Config, key, ref string, role fits.Role) ([]float64, error) {
	_, pix, _, err := o.open(c, key, ref, role, func(path string, w, h int) error {
		if w != o.W || h != o.H {
			return fmt.Errorf("%s is %d x %d pixels, the image is %d x %d", path, w, h, o.W, o.H)
		}
		return nil
	})
	return pix, err
}

// read is the quantity at key: one value, or one for each pixel.
func (o *Observation) read(c *config.Config, key string, q config.Quantity, role fits.Role) ([]float64, error) {
	if q.File == "" {
		return []float64{q.Value}, nil
	}
	return o.openSame(c, key, q.File, role)
}

func (o *Observation) readNoise(c *config.Config) (err error) {
	d := &c.Data.Noise
	switch {
	case d.Sigma.IsSet():
		o.Sigma, err = o.read(c, "data.noise", d.Sigma, fits.RoleNoise)
	case d.Exposure.IsSet():
		o.Counts = &physics.PoissonNoise{Gain: d.Gain}
		if o.Counts.Exposure, err = o.read(c, "data.noise.exposure", d.Exposure, fits.RoleOther); err != nil {
			return err
		}
		if o.Counts.Background, err = o.read(c, "data.noise.background", d.Background, fits.RoleOther); err != nil {
			return err
		}
		o.Sigma = make([]float64, len(o.Data))
		o.Counts.Sigma(o.Sigma, o.Data)
	default:
		err = c.Fail("data.noise", "is missing, expected the standard deviation of a pixel, a FITS path, or {exposure: seconds, background: standard deviation}")
	}
	return err
}

// addFraction adds to the noise a fraction of the light of a pixel, that of its neighbours taken with it so that noise does
// not make its own weight. Masked pixels stay so.
func (o *Observation) addFraction(fraction float64) {
	if fraction == 0 {
		return
	}
	sigma := o.Sigmas()
	bad := func(k int) bool {
		return math.IsNaN(o.Data[k]) || math.IsInf(o.Data[k], 0) || !(sigma[k] > 0 && sigma[k] < physics.MaskedSigma)
	}
	out := slices.Clone(sigma)
	for k := range out {
		if bad(k) {
			continue
		}
		sum, n := 0.0, 0
		for j := max(0, k/o.W-1); j <= min(o.H-1, k/o.W+1); j++ {
			for i := max(0, k%o.W-1); i <= min(o.W-1, k%o.W+1); i++ {
				if !bad(j*o.W + i) {
					sum += o.Data[j*o.W+i]
					n++
				}
			}
		}
		out[k] = math.Hypot(sigma[k], fraction*max(0, sum/float64(n)))
	}
	o.Sigma = out
}

// Frame is where the image's pixels lie, in the header's coordinates where it has any, and the unit of its values.
func (o *Observation) Frame() (place []fits.Key, unit string) {
	place, unit = fits.GridWCS(o.W, o.H, o.Scale, 0, 0), "image units"
	if o.Header != nil {
		if sky := fits.CopyWCS(o.Header); sky != nil {
			place = sky
		}
		if u := o.Header.Text("BUNIT"); u != "" {
			unit = u
		}
	}
	return place, unit
}

// Sigmas is the standard deviation of each pixel.
func (o *Observation) Sigmas() []float64 {
	out := make([]float64, o.W*o.H)
	for i := range out {
		out[i] = o.Sigma[min(i, len(o.Sigma)-1)]
	}
	return out
}

func (o *Observation) readPSF(c *config.Config) error {
	n := max(1, c.Data.PSFSampling)
	o.PSF = physics.PSFSpec{Gaussian: c.Data.PSFSigma, Sampling: n}
	if s := c.Data.PSFSigma; s > 0 && (2*s > float64(o.W)*o.Scale || 2*s > float64(o.H)*o.Scale) {
		return c.Fail("data.psf", "a Gaussian of %g arcsec is larger than the image of %.4g x %.4g arcsec", s, float64(o.W)*o.Scale, float64(o.H)*o.Scale)
	}
	if c.Data.PSFFile == "" {
		return nil
	}
	img, pix, size, err := o.open(c, "data.psf.file", c.Data.PSFFile, fits.RolePSF, func(path string, w, h int) error {
		if w > n*o.W || h > n*o.H {
			return fmt.Errorf("%s is %d x %d pixels, larger than the image of %d x %d", path, w, h, n*o.W, n*o.H)
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.psfScale(img, n)
	o.PSF.Kernel = &physics.Image{W: size[0], H: size[1], Scale: o.Scale / float64(n), Pix: pix}
	if _, _, err := physics.NewPSF(o.PSF, o.W, o.H, o.Scale, nil); err != nil {
		return c.Fail("data.psf.file", "%s: %v", img.Path, err)
	}
	return nil
}

// psfScale holds the pixel scale of a PSF's header against the one that is used, of the image's over n.
func (o *Observation) psfScale(img *fits.Image, n int) {
	sky, ok := fits.SkyWCS(img.Header)
	used := o.Scale / float64(n)
	if !ok || math.Abs(sky.Scale()/used-1) <= 0.02 {
		return
	}
	s := fmt.Sprintf("the PSF's header says %.5g arcsec per pixel: %.5g is used", sky.Scale(), used)
	if m := math.Round(o.Scale / sky.Scale()); m >= 1 && int(m) != n && m <= config.MaxPSFSampling && math.Abs(o.Scale/sky.Scale()/m-1) <= 0.02 {
		s += fmt.Sprintf(" (supersampling: %.0f would take the header's)", m)
	}
	o.Notices = append(o.Notices, s)
}

// check looks for pixels that cannot be used and measures the brightness.
func (o *Observation) check(c *config.Config) error {
	if o.Mask != nil && !slices.Contains(o.Mask, true) {
		size := fmt.Sprintf("%d x %d pixels, which are %.4g x %.4g arcsec", o.W, o.H, float64(o.W)*o.Scale, float64(o.H)*o.Scale)
		if _, ok := c.Flags["data.mask"]; c.Flags != nil && !ok {
			return c.Fail("data.image", "none of %s, lies between %g and %g arcsec from the centre", size, BareCore, float64(BareField))
		}
		return c.Fail("data.mask", "leaves none of %s", size)
	}
	if err := o.findHuge(c); err != nil {
		return err
	}
	if err := o.weigh(); err != nil {
		if err := o.hugeNoise(c); err != nil {
			return err
		}
		return c.Fail("data", "no pixel can be used: %s", term.OneLine(err.Error()))
	}
	n := o.Noise
	if n.BadData > 0 {
		o.Notices = append(o.Notices, fmt.Sprintf("%d pixels of the image are NaN or infinite: masked", n.BadData))
	}
	if n.BadNoise > 0 {
		o.Notices = append(o.Notices, fmt.Sprintf("%d pixels have noise that is not above 0 and below %.0g: masked", n.BadNoise, physics.MaskedSigma))
	}
	used := make([]float64, 0, n.Pixels)
	sigma := make([]float64, 0, n.Pixels)
	for i, ok := range n.Used {
		if ok {
			used = append(used, n.Data[i])
			sigma = append(sigma, 1/n.Weight[i])
		}
	}
	slices.Sort(used)
	slices.Sort(sigma)
	b := used[int(0.995*float64(len(used)-1))] - used[len(used)/2]
	b = math.Max(b, sigma[len(sigma)/2])
	if c.Data.Image == "" {
		b = 1
	}
	o.Brightness = twoDigits(b)
	return nil
}

// hugeNoise is an error where the noise of every pixel in use is so large that it counts as masked.
func (o *Observation) hugeNoise(c *config.Config) error {
	found := o.Sigma[0]
	if len(o.Sigma) > 1 {
		found = math.Inf(1)
		for k, v := range o.Data {
			if v-v != 0 || o.Mask != nil && !o.Mask[k] {
				continue
			}
			if found = math.Min(found, o.Sigma[k]); !(found >= physics.MaskedSigma) {
				return nil
			}
		}
	}
	if math.IsInf(found, 1) || !(found >= physics.MaskedSigma) {
		return nil
	}
	what := fmt.Sprintf("found %g and more", found)
	switch q := c.Data.Noise.Sigma; {
	case q.File != "":
		what = q.File + ": " + what
	case q.IsSet():
		what = fmt.Sprintf("found %g", q.Value)
	}
	return term.WithHint(c.Fail("data.noise", "%s, expected a standard deviation below %g: pixels of that noise and more are masked", what, physics.MaskedSigma),
		"divide the image and its noise by the same number, so that the noise is about 1")
}

// maxValue bounds the values of pixels and what they are in units of the noise, so that squares and sums stay finite.
const maxValue = 1e100

// findHuge looks for pixels in use whose values are beyond maxValue.
func (o *Observation) findHuge(c *config.Config) error {
	for k, v := range o.Data {
		sigma := o.Sigma[min(k, len(o.Sigma)-1)]
		if v-v != 0 || o.Mask != nil && !o.Mask[k] || !(sigma > 0 && sigma < physics.MaskedSigma) {
			continue
		}
		if math.Abs(v) > maxValue || !(math.Abs(v)/sigma <= maxValue) {
			return c.Fail("data.image", "pixel (%d, %d), counted from 0, is %g with a noise of %g: expected a value, and a value over noise, of at most %g; mask it", k%o.W, k/o.W, v, sigma, maxValue)
		}
	}
	return nil
}

// twoDigits rounds a positive number to two significant digits.
func twoDigits(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	if unit < 1 {
		// a division by a power of ten gives the nearest number to the decimal one
		return math.Round(v*math.Round(1/unit)) / math.Round(1/unit)
	}
	return math.Round(v/unit) * unit
}

// ScalePriors turns default priors of fluxes into the image's unit.
func ScalePriors(c *config.Config, brightness float64) {
	scale := func(p *config.Prior) {
		if !p.Relative {
			return
		}
		p.Relative = false
		if p.Family == physics.FamilyLogNormal {
			p.A += math.Log(brightness)
			return
		}
		p.A, p.B = p.A*brightness, p.B*brightness
	}
	for _, comp := range c.Components() {
		for i := range comp.Params {
			scale(&comp.Params[i].Prior)
		}
	}
	for _, l := range c.Scalars() {
		scale(l.Prior)
	}
}
