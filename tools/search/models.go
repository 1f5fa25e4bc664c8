package search

import (
	"math"
	"slices"

	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/observation"
)

// hasLensLight tells whether the lens shines in a way that can be fitted before all else.
func hasLensLight(c *config.Config) bool {
	decoder := func(l config.Component) bool { return l.Type == "decoder" }
	return len(c.LensLight) > 0 && len(c.Lens) > 0 && len(c.Source) > 0 && !slices.ContainsFunc(c.LensLight, decoder)
}

// simpleLight is the profile that stands in for a decoder.
const simpleLight = "sersic"

// simpleCentre names the centre of the first source as the simple model has it.
func (s *Search) simpleCentre() (x, y string) {
	src := s.Problem.Config.Source[0]
	if src.Type == "decoder" || src.Type == config.TypePixels {
		src.Params = config.DefaultParams(src.Group, simpleLight)
	}
	return src.KeyOf(physics.RoleCentreX), src.KeyOf(physics.RoleCentreY)
}

// simplified is the config with a Sersic profile in place of each decoder and each pixelised source.
func simplified(c *config.Config, brightness float64, set *Settings) *config.Config {
	s := c.Clone()
	replace := func(list []config.Component) {
		for i := range list {
			d := &list[i]
			if d.Type != "decoder" && d.Type != config.TypePixels {
				continue
			}
			centre := map[physics.Role]config.Prior{}
			var peak *config.Prior
			for _, p := range d.Params {
				if p.Role == physics.RoleAmplitude {
					peak = &p.Prior
				}
				if (p.Role == physics.RoleCentreX || p.Role == physics.RoleCentreY) && !p.Prior.IsFixed() {
					centre[p.Role] = p.Prior
				}
			}
			r := config.Component{Group: d.Group, Name: d.Name, Type: simpleLight, Redshift: d.Redshift, Params: config.DefaultParams(d.Group, simpleLight)}
			for k := range r.Params {
				p := &r.Params[k].Prior
				if r.Params[k].Role == physics.RoleAmplitude && peak != nil && peak.Family == physics.FamilyLogNormal {
					// a galaxy has less at its half-light radius than at its peak
					*p = *peak
					p.A -= math.Log(set.PeakRatio)
				}
				if q, ok := centre[r.Params[k].Role]; ok && q.Family == physics.FamilyNormal {
					// galaxies need not stand in the middle of their frames
					*p = config.Prior{Prior: physics.Normal(q.A, math.Hypot(q.B, set.FrameOffset))}
				}
			}
			list[i] = r
		}
	}
	replace(s.Source)
	replace(s.LensLight)
	freeAmplitudes(s)
	s.NoiseScale, s.StudentT = nil, 0 // far from the truth, a better model is the cure of a misfit
	observation.ScalePriors(s, brightness)
	return s
}

// freeAmplitudes makes amplitudes that are solved for or integrated over, which only a pixelised source allows, parameters like
// others.
func freeAmplitudes(c *config.Config) {
	for _, comp := range c.Components() {
		if comp.Amplitudes == "" {
			continue
		}
		comp.Amplitudes = ""
		for i, d := range config.DefaultParams(comp.Group, comp.Type) {
			if p := &comp.Params[i]; p.Role.IsAmplitude() && p.Prior.Family != physics.FamilyFixed {
				p.Prior = d.Prior
			}
		}
	}
}

// restrained is the config with slopes of the lenses' mass held at what is likely beforehand, which simple sources do not
// tell, and with simple sources no larger than galaxies are.
func restrained(c *config.Config, set *Settings) *config.Config {
	out := c.Clone()
	for i := range out.Lens {
		l := &out.Lens[i]
		for k := range l.Params {
			if p := &l.Params[k]; p.Role == physics.RoleSlope && p.Prior.Family == physics.FamilyNormal {
				p.Prior = config.Prior{Prior: physics.Fixed(p.Prior.A)}
			} else if (p.Role == physics.RoleShear1 || p.Role == physics.RoleShear2) && p.Prior.Family == physics.FamilyNormal {
				p.Prior.B = min(p.Prior.B, set.SimpleShear)
			}
		}
	}
	for i := range out.Source {
		l := &out.Source[i]
		for k := range l.Params {
			if p := &l.Params[k]; p.Role == physics.RoleHalfLightRadius && !p.Prior.IsFixed() {
				p.Prior.Hi = min(p.Prior.Hi, set.SimpleRadius)
			}
		}
	}
	return out
}
