package search

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"lenskit/internal/stats"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
	"lenskit/tools/problem"
)

// Limits of what a search is begun with.
const (
	standOutMargin     = 1.5  // by how much light must stand out beyond the highest of pure noise, in standard deviations
	mostSkyLevel       = 3    // a level that no sky follows, over the contrast of the image
	mostNoiseRatio     = 100  // measured over stated noise
	pixelsPerParameter = 4    // used pixels for each free parameter but the latents
	mostPixelValue     = 1e12 // of a pixel over its noise: sums of squares keep 16 digits
)

// precheck tells before a search why its image or its model leaves nothing to find, nil where it does. It measures the image
// only: whether what stands out is a lens is for the verdict to say.
func precheck(p *problem.Problem) (*Doubt, error) {
	why := func(kind DoubtKind, value, limit float64, format string, args ...any) (*Doubt, error) {
		d := NewDoubt(kind, value, limit, format, args...)
		return &d, nil
	}
	noise := p.Post.Noise()
	free := 0
	for i, f := range p.Post.Free() {
		if f >= 0 && p.Post.Params()[i].Role != physics.RoleLatent {
			free++
		}
	}
	var used, snr []float64
	worst := 0
	for i, ok := range noise.Used {
		if ok {
			used = append(used, noise.Data[i])
			snr = append(snr, noise.Data[i]*noise.Weight[i])
			if !noise.Used[worst] || math.Abs(noise.Data[i]*noise.Weight[i]) > math.Abs(noise.Data[worst]*noise.Weight[worst]) {
				worst = i
			}
		}
	}
	pixels := term.Counted(len(used), "used pixel")
	if len(used) < pixelsPerParameter*free {
		return why(fewPixels, float64(len(used)), float64(pixelsPerParameter*free), "%s cannot tell %d free parameters: expected at least %d for each", pixels, free, pixelsPerParameter)
	}
	if v := noise.Data[worst] * noise.Weight[worst]; math.Abs(v) > mostPixelValue {
		return why(pixelTooLarge, v, mostPixelValue, "pixel (%d, %d) of the image, counted from 1, is %.3g, %.2g times its noise: expected values that 16 digits can tell apart", worst%p.Obs.W+1, worst/p.Obs.W+1, noise.Data[worst], math.Abs(v))
	}
	slices.Sort(used)
	at := func(f float64) float64 { return used[int(f*float64(len(used)-1))] }
	if used[0] == used[len(used)-1] && len(used) > 1 {
		return why(flatImage, used[0], none, "every one of the %s is %.4g: the image is flat", pixels, used[0])
	}
	lo, hi := skies(p.Config)
	level := at(0.05)
	if off := level - math.Min(math.Max(level, lo), hi); off > mostSkyLevel*(at(0.995)-level) {
		return why(skyLevel, level, math.Min(math.Max(level, lo), hi), "the image stands on a level of %.4g, far more than what stands out of it, and %s", level, skyInWords(p.Config))
	}
	scale := measuredNoise(p)
	over := func(v float64) (top, bottom float64) {
		return standsOut(noise, p.Obs.W, func(int) float64 { return v })
	}
	top, bottom := over(math.Max(at(0.5), lo))
	_, below := over(at(0.5))
	limit := math.Max(scale, 1) * limitOf(len(used))
	switch {
	case top >= limit && scale > mostNoiseRatio && p.Config.NoiseScale == nil:
		return why(noiseUnderstated, scale, mostNoiseRatio, "the noise is %.2g times what is stated, by the differences of neighbouring pixels", scale)
	case top >= limit:
	case at(0.95) < lo && bottom < -limit:
		return why(darkImage, at(0.5), lo, "nothing in the image stands above %.4g: its level is %.4g, and %s", lo, at(0.5), skyInWords(p.Config))
	case below < -limit:
		return why(signTurned, below, -limit, "what stands out in the image is darker than its surroundings: is its sign turned?")
	case scale > 2:
		return why(noSignal, top, limit, "nothing in the image stands out of its noise, which is %.2g times what is stated: reduced χ² is %.3g without any model", scale, meanSquare(snr))
	default:
		return why(noSignal, top, limit, "nothing in the image stands out of the noise")
	}
	if fixedSource(p) {
		theta, err := p.Start("", nil)
		if err != nil {
			return nil, err
		}
		// lensing keeps surface brightness; where the start cannot be drawn, the verdict at the end looks for the same
		if img, err := p.Post.Images(theta); err == nil && img.Source != nil {
			if peak := slices.Max(img.Source.Pix) * slices.Max(noise.Weight); !(peak >= 1) {
				return why(fixedBelowNoise, peak, 1, "the source is fixed at a brightness below the noise")
			}
		}
	}
	return nil, nil
}

func meanSquare(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return sum / float64(len(v))
}

// fixedSource tells whether there is a source and the config leaves nothing of it free.
func fixedSource(p *problem.Problem) bool {
	for i, f := range p.Post.Free() {
		if f >= 0 && isSource(&p.Post.Params()[i]) {
			return false
		}
	}
	return len(p.Config.Source) > 0
}

// skies is the range that the sky of a model can have.
func skies(c *config.Config) (lo, hi float64) {
	if c.Sky == nil {
		return 0, 0
	}
	const wide = 5 // standard deviations
	lo, hi = c.Sky.Support()
	switch p := c.Sky; p.Family {
	case physics.FamilyNormal:
		return math.Max(p.A-wide*p.B, lo), math.Min(p.A+wide*p.B, hi)
	case physics.FamilyLogNormal:
		return math.Max(math.Exp(p.A-wide*p.B), lo), math.Min(math.Exp(p.A+wide*p.B), hi)
	case physics.FamilyFixed:
		return p.Values[0], p.Values[0]
	}
	return lo, hi
}

func skyInWords(c *config.Config) string {
	if c.Sky == nil {
		return "the model has no sky"
	}
	lo, hi := skies(c)
	if lo == hi {
		return fmt.Sprintf("the model's sky is %.4g", lo)
	}
	return fmt.Sprintf("the model's sky goes from %.4g to %.4g", lo, hi)
}

// limitOf is what the highest mean of squares of so many pixels of pure noise does not reach, in standard deviations.
func limitOf(pixels int) float64 { return math.Sqrt(2*math.Log(float64(pixels))) + standOutMargin }

// standsOut is the highest and the lowest mean of a square of pixels, of 1 to 16 along a side, over base in standard
// deviations of its noise.
func standsOut(noise *physics.Noise, width int, base func(k int) float64) (top, bottom float64) {
	height := len(noise.Used) / width
	for side := 1; side <= 16; side *= 2 {
		for J := 0; J < height; J += side {
			for I := 0; I < width; I += side {
				n, sum, variance := 0, 0.0, 0.0
				for j := J; j < min(J+side, height); j++ {
					for i := I; i < min(I+side, width); i++ {
						if k := j*width + i; noise.Used[k] {
							n++
							sum += noise.Data[k] - base(k)
							variance += 1 / (noise.Weight[k] * noise.Weight[k])
						}
					}
				}
				if n > 0 {
					z := sum / math.Sqrt(variance)
					top, bottom = math.Max(top, z), math.Min(bottom, z)
				}
			}
		}
	}
	return top, bottom
}

// errNoArcs says that an image shows the light of a lens and nothing else.
var errNoArcs = errors.New("nothing in the image stands out of the lens's light: no arcs are seen")

// showsMore tells whether an image holds more than the light of a lens and the error with which profiles follow that.
func showsMore(o *observation.Observation, light []float64, set *Settings) bool {
	o, err := o.With(o.Data, withLightError(o, light, set))
	if err != nil {
		return true
	}
	top, _ := standsOut(o.Noise, o.W, func(k int) float64 { return light[k] })
	return top > limitOf(o.Noise.Pixels)
}

// measuredNoise is the noise of the image over that which is stated, by differences of pixels in a row; 0 where there are too
// few. White noise gives differences of any order the same standard deviation but for a factor, light the less the higher it is.
func measuredNoise(p *problem.Problem) float64 {
	const enough = 50
	noise := p.Post.Noise()
	least := math.Inf(1)
	for _, d := range []struct {
		taps []float64
		norm float64 // √ of the sum of their squares
	}{{[]float64{1, -2, 1}, math.Sqrt(6)}, {[]float64{1, -4, 6, -4, 1}, math.Sqrt(70)}, {[]float64{1, -6, 15, -20, 15, -6, 1}, math.Sqrt(924)}} {
		var all []float64
		for k := range noise.Used {
			if k%p.Obs.W+len(d.taps) > p.Obs.W {
				continue
			}
			sum, ok := 0.0, true
			for n, t := range d.taps {
				sum += t * noise.Data[k+n] * noise.Weight[k]
				ok = ok && noise.Used[k+n]
			}
			if ok {
				all = append(all, math.Abs(sum)/d.norm)
			}
		}
		if len(all) < enough {
			return 0
		}
		least = math.Min(least, stats.Percentile(all, 0.5)/0.6745)
	}
	return least
}
