package observation

import (
	"math"

	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
)

// readMask makes the config's mask.
func (o *Observation) readMask(c *config.Config) (err error) {
	if c.Data.Mask.Kind != "" {
		o.Mask, err = o.region(c, &c.Data.Mask)
	}
	return err
}

// region tells for each pixel whether it lies in m.
func (o *Observation) region(c *config.Config, m *config.MaskConfig) ([]bool, error) {
	out := make([]bool, o.W*o.H)
	switch m.Kind {
	case "file":
		pix, err := o.openSame(c, "data.mask.file", m.File, fits.RoleMask)
		if err != nil {
			return nil, err
		}
		for i, v := range pix {
			out[i] = v != 0 && !math.IsNaN(v)
		}
		return out, nil
	case "neighbours":
		seen, err := o.neighbours(m.Neighbours)
		if err != nil {
			return nil, c.Fail("data.mask", "%s", term.OneLine(err.Error()))
		}
		for i := range out {
			out[i] = !seen.Pixels[i]
		}
		o.Notices = append(o.Notices, seen.notice())
		return out, nil
	case "all", "any", "not":
		for k := range m.Parts {
			in, err := o.region(c, &m.Parts[k])
			if err != nil {
				return nil, err
			}
			for i, b := range in {
				switch {
				case m.Kind == "not":
					out[i] = !b
				case k == 0:
					out[i] = b
				case m.Kind == "all":
					out[i] = out[i] && b
				default:
					out[i] = out[i] || b
				}
			}
		}
		return out, nil
	}
	for j := range o.H {
		for i := range o.W {
			x, y := o.Place(i, j)
			x, y = x-m.Center[0], y-m.Center[1]
			if m.Kind == "box" {
				out[j*o.W+i] = math.Abs(x) <= m.Size[0]/2 && math.Abs(y) <= m.Size[1]/2
			} else { // a circle has inner radius 0
				r := math.Hypot(x, y)
				out[j*o.W+i] = r >= m.Size[0] && r <= m.Size[1]
			}
		}
	}
	return out, nil
}

// Place is where the centre of a pixel lies, in arcsec.
func (o *Observation) Place(i, j int) (x, y float64) {
	return (float64(i) - float64(o.W-1)/2) * o.Scale, (float64(j) - float64(o.H-1)/2) * o.Scale
}
