package coolest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/token"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

func init() { config.RegisterFormat(isCOOLEST, coolestConfig) }

// coolestConfig makes a config of a COOLEST template: the data with noise, PSF and mask, and a component for each
// profile. Point estimates become where to start, in a template of mode MOCK the truth; priors of parameters that lenskit
// has too become theirs. Light of the source that is no Sersic becomes the shipped decoder, unless a run of lenskit wrote it and
// says of which splines it is.
func coolestConfig(path string, text []byte) (*config.Config, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.Contains(text, []byte(`"py/object"`)) {
		return nil, term.BadInput("%s: is a template of jsonpickle, expected the plain one (without _pyAPI)", path)
	}
	if err := config.CheckJSON(text); err != nil {
		return nil, term.BadInput("%s: %w", path, err)
	}
	var t coolestTemplate
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, term.BadInput("%s: %s", path, coolestReason(text, err))
	}
	if t.Standard != "COOLEST" {
		return nil, term.BadInput("%s: standard: found %q, expected COOLEST", path, term.Shown(t.Standard))
	}
	profiles := len(t.Entities)
	for _, e := range t.Entities {
		profiles += len(e.Mass) + len(e.Light)
	}
	if profiles > maxCOOLESTProfiles {
		return nil, term.BadInput("%s: lensing_entities: found %d entities and profiles, expected at most %d", path, profiles, maxCOOLESTProfiles)
	}
	c := &config.Config{File: path, Dir: filepath.Dir(path), Where: map[string]*token.Token{}, Data: config.DataConfig{Supersampling: 1}}
	m := &coolestImport{config: c, template: &t, mock: t.Mode == "MOCK"}
	if err := m.data(); err != nil {
		return nil, err
	}
	if err := m.entities(); err != nil {
		return nil, err
	}
	if len(c.Lens)+len(c.Source)+len(c.LensLight) == 0 {
		return nil, term.BadInput("%s: lensing_entities: found no profile, expected a mass or light model", path)
	}
	return c, nil
}

// maxCOOLESTProfiles bounds the entities of a template and their profiles.
const maxCOOLESTProfiles = 500

// coolestReason tells what is wrong with a template, with the line.
func coolestReason(text []byte, err error) string {
	var s *json.SyntaxError
	var u *json.UnmarshalTypeError
	switch {
	case errors.As(err, &s):
		return fmt.Sprintf("%s: %s", config.Place(text, max(0, s.Offset-1)), term.JSONReason(err))
	case errors.As(err, &u):
		return fmt.Sprintf("%s: %s: found a %s, expected a %s", config.Place(text, u.Offset), u.Field, u.Value, u.Type.Kind())
	}
	return term.JSONReason(err)
}

// coolestImport is a template on its way into a config.
type coolestImport struct {
	config   *config.Config
	template *coolestTemplate
	mock     bool
}

func (m *coolestImport) fail(key, format string, args ...any) error {
	return term.BadInput("%s: %s: %s", m.config.File, key, fmt.Sprintf(format, args...))
}

// file is the path of a grid's FITS file.
func (m *coolestImport) file(key string, g *coolestGrid) (string, error) {
	if g == nil || g.File.Path == "" {
		return "", m.fail(key, "has no fits_file, expected the name of a FITS file beside the template")
	}
	return g.File.Path, nil
}

// pixelSize is that of a grid, 0 where it tells none.
func (g *coolestGrid) pixelSize() float64 {
	if g.NX <= 0 {
		return 0
	}
	return math.Abs(g.X[1]-g.X[0]) / float64(g.NX)
}

func (m *coolestImport) data() (err error) {
	t, d := m.template, &m.config.Data
	if d.Image, err = m.file("observation.pixels", &t.Observation.Pixels); err != nil {
		return err
	}
	if d.PixelScale = t.Instrument.PixelSize; d.PixelScale == 0 {
		d.PixelScale = t.Observation.Pixels.pixelSize()
	}
	if !(d.PixelScale > 0) || math.IsInf(d.PixelScale, 0) {
		return m.fail("instrument.pixel_size", "found %g, expected arcsec per pixel above 0", d.PixelScale)
	}
	switch n := &t.Observation.Noise; n.Type {
	case "NoiseMap":
		if d.Noise.Sigma.File, err = m.file("observation.noise.noise_map", n.Map); err != nil {
			return err
		}
	case "UniformGaussianNoise":
		if n.SD == nil || !(*n.SD > 0) {
			return m.fail("observation.noise.std_dev", "found %s, expected a standard deviation above 0", pointerText(n.SD))
		}
		d.Noise.Sigma.Value = *n.SD
	default:
		return m.fail("observation.noise.type", "found %q, expected NoiseMap or UniformGaussianNoise", term.Shown(n.Type))
	}
	if p := &t.Instrument.PSF; p.Type != nil {
		switch *p.Type {
		case "PixelatedPSF":
			if d.PSFFile, err = m.file("instrument.psf.pixels", p.Pixels); err != nil {
				return err
			}
			if s := p.Pixels.pixelSize(); s > 0 {
				n := math.Round(d.PixelScale / s)
				if n < 1 || n > config.MaxPSFSampling || math.Abs(n*s/d.PixelScale-1) > 1e-6 {
					return m.fail("instrument.psf.pixels", "found pixels of %.6g arcsec, expected those of the image, %.6g, or a whole number of them along its side", s, d.PixelScale)
				}
				d.PSFSampling, d.Supersampling = int(n), int(n)
			}
		case "GaussianPSF":
			if p.FWHM == nil || !(*p.FWHM >= 0) {
				return m.fail("instrument.psf.fwhm", "found %s, expected a width in pixels", pointerText(p.FWHM))
			}
			d.PSFSigma = *p.FWHM * d.PixelScale / fwhmOfSigma
		default:
			return m.fail("instrument.psf.type", "found %q, expected PixelatedPSF or GaussianPSF", term.Shown(*p.Type))
		}
	}
	for _, l := range t.Likelihoods {
		if l.Type != "ImagingDataLikelihood" || l.Mask == nil || d.Mask.Kind != "" {
			continue
		}
		d.Mask.Kind = "file"
		if d.Mask.File, err = m.file("likelihoods.mask", l.Mask); err != nil {
			return err
		}
	}
	return nil
}

func pointerText(v *float64) string {
	if v == nil {
		return "null"
	}
	return fmt.Sprint(*v)
}

// entities sorts the profiles into lenses, sources and lens lights. Sources are the galaxies at the highest redshift
// where redshifts differ, else those without mass.
func (m *coolestImport) entities() error {
	first, last := math.Inf(1), math.Inf(-1)
	for i, e := range m.template.Entities {
		if e.Type != coolestGalaxy && e.Type != coolestMassField {
			return m.fail(fmt.Sprintf("lensing_entities[%d].type", i), "found %q, expected %s or %s", term.Shown(e.Type), coolestGalaxy, coolestMassField)
		}
		if e.Redshift != nil {
			first, last = math.Min(first, *e.Redshift), math.Max(last, *e.Redshift)
		}
	}
	plane := math.NaN()
	for i, e := range m.template.Entities {
		key := fmt.Sprintf("lensing_entities[%d]", i)
		source := e.Type == coolestGalaxy && len(e.Mass) == 0
		if first < last && e.Redshift != nil {
			source = *e.Redshift == last
		}
		if len(e.Mass) > 0 {
			switch {
			case source:
				return m.fail(key+".mass_model", "found mass at the redshift %g of the source, expected one lens plane", last)
			case e.Redshift != nil && plane == plane && *e.Redshift != plane:
				return m.fail(key+".redshift", "found a second lens plane at %g beside %g, expected one", *e.Redshift, plane)
			case e.Redshift != nil:
				plane = *e.Redshift
			}
		}
		for k := range e.Mass {
			if err := m.mass(fmt.Sprintf("%s.mass_model[%d]", key, k), &e.Mass[k]); err != nil {
				return err
			}
		}
		for k := range e.Light {
			if err := m.light(fmt.Sprintf("%s.light_model[%d]", key, k), &e.Light[k], source); err != nil {
				return err
			}
		}
	}
	return nil
}

// add appends a component with a name of its own and returns it.
func (m *coolestImport) add(group, kind string) *config.Component {
	list := map[string]*[]config.Component{"lens": &m.config.Lens, "source": &m.config.Source, "lens_light": &m.config.LensLight}[group]
	comp := config.Component{Group: group, Type: kind, Name: kind, Params: config.DefaultParams(group, kind)}
	for n := 2; ; n++ {
		taken := false
		for _, o := range *list {
			taken = taken || o.Name == comp.Name
		}
		if !taken {
			break
		}
		comp.Name = fmt.Sprintf("%s%d", kind, n)
	}
	*list = append(*list, comp)
	return &(*list)[len(*list)-1]
}

// coolestSource says which parameter of a COOLEST profile a parameter of lenskit is, times factor.
type coolestSource struct {
	to, from string
	factor   float64
}

func (m *coolestImport) mass(key string, p *coolestProfile) error {
	centre := []coolestSource{{"center_x", "center_x", 1}, {"center_y", "center_y", 1}}
	switch p.Type {
	case "PEMD":
		return m.fill(key, m.add("lens", "epl"), p, append(centre, coolestSource{"theta_E", "theta_E", 1}, coolestSource{"gamma", "gamma", 1}), ellipseOfCOOLEST("e1", "e2", "q", "phi"))
	case "SIE":
		return m.fill(key, m.add("lens", "sie"), p, append(centre, coolestSource{"theta_E", "theta_E", 1}), ellipseOfCOOLEST("e1", "e2", "q", "phi"))
	case "ExternalShear":
		return m.fill(key, m.add("lens", "shear"), p, nil, func(v map[string]float64) map[string]float64 {
			s, c := math.Sincos(2 * fromCOOLESTAngle(v["phi_ext"]))
			return map[string]float64{"gamma1": v["gamma_ext"] * c, "gamma2": v["gamma_ext"] * s}
		}, "gamma_ext", "phi_ext")
	case "ConvergenceSheet":
		return m.fill(key, m.add("lens", "convergence"), p, []coolestSource{{"kappa", "kappa_s", 1}}, nil)
	}
	return m.fail(key+".type", "found %q, expected PEMD, SIE, ExternalShear or ConvergenceSheet", term.Shown(p.Type))
}

// ellipseOfCOOLEST turns axis ratio and position angle into ellipticities.
func ellipseOfCOOLEST(e1, e2, q, phi string) func(map[string]float64) map[string]float64 {
	return func(v map[string]float64) map[string]float64 {
		e := (1 - v[q]) / (1 + v[q])
		s, c := math.Sincos(2 * fromCOOLESTAngle(v[phi]))
		return map[string]float64{e1: e * c, e2: e * s}
	}
}

func (m *coolestImport) light(key string, p *coolestProfile, source bool) error {
	group := "lens_light"
	if source {
		group = "source"
	}
	switch p.Type {
	case "Sersic":
		area := m.config.Data.PixelScale * m.config.Data.PixelScale
		return m.fill(key, m.add(group, "sersic"), p, []coolestSource{{"amp", "I_eff", area}, {"r_sersic", "theta_eff", 1}, {"n", "n", 1},
			{"center_x", "center_x", 1}, {"center_y", "center_y", 1}}, ellipseOfCOOLEST("e1", "e2", "q", "phi"))
	case "PixelatedRegularGrid", "IrregularGrid", "Shapelets", "Chameleon":
		if !source {
			m.add(group, "sersic")
			return nil
		}
		for _, c := range m.config.Source {
			if c.Type == "decoder" || c.Type == config.TypePixels {
				return nil
			}
		}
		if text, ok := m.template.Meta[metaSource].(string); ok && p.Type == "PixelatedRegularGrid" {
			return m.pixels(text)
		}
		m.add(group, "decoder").Interpolation = "bicubic"
		return nil
	case "Uniform":
		if m.config.Sky == nil {
			sky := config.DefaultPrior("sky", physics.Sky)
			m.config.Sky = &sky
		}
		return nil
	}
	return m.fail(key+".type", "found %q, expected Sersic, PixelatedRegularGrid, IrregularGrid, Shapelets, Chameleon or Uniform", term.Shown(p.Type))
}

// pixels takes sources as a run of lenskit had them, with the grids and the priors that the image does not tell.
func (m *coolestImport) pixels(text string) error {
	c, err := config.Parse("meta."+metaSource, []byte(text))
	if err != nil {
		return m.fail("meta."+metaSource, "%v", err)
	}
	if !c.HasPixels() {
		return m.fail("meta."+metaSource, "found no source of type %s, expected one", config.TypePixels)
	}
	m.config.Source = c.Source
	return nil
}

// fill takes point estimates and priors into a component: plain parameters one by one, and those that ellipse (nil: none)
// computes of the parameters pair, q and phi if not given.
func (m *coolestImport) fill(key string, comp *config.Component, p *coolestProfile, plain []coolestSource, ellipse func(map[string]float64) map[string]float64, pair ...string) error {
	if pair == nil {
		pair = []string{"q", "phi"}
	}
	read := func(name string) (*coolestParameter, error) {
		raw, ok := p.Parameters[name]
		if !ok {
			return nil, m.fail(key+".parameters", "has no %s, which a %s needs", name, p.Type)
		}
		var v coolestParameter
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, m.fail(key+".parameters."+name, "%s", term.JSONReason(err))
		}
		return &v, nil
	}
	for _, s := range plain {
		v, err := read(s.from)
		if err != nil {
			return err
		}
		q := find(comp, s.to)
		if v.Prior.Type != nil {
			if err := take(q, &v.Prior, s.factor); err != nil {
				return m.fail(key+".parameters."+s.from+".prior", "%v", err)
			}
		}
		if v.Point.Value != nil {
			if err := m.point(q, *v.Point.Value*s.factor, v.Fixed); err != nil {
				return m.fail(key+".parameters."+s.from, "%v", err)
			}
		}
	}
	if ellipse == nil {
		return nil
	}
	values, fixed := map[string]float64{}, true
	for _, name := range pair {
		v, err := read(name)
		if err != nil {
			return err
		}
		if v.Point.Value == nil {
			return nil
		}
		if q := *v.Point.Value; name == "q" && !(q > 0 && q <= 1) {
			return m.fail(key+".parameters.q", "found %g, expected an axis ratio above 0, at most 1", q)
		}
		values[name], fixed = *v.Point.Value, fixed && v.Fixed
	}
	for name, v := range ellipse(values) {
		if err := m.point(find(comp, name), v, fixed); err != nil {
			return m.fail(key+".parameters."+strings.Join(pair, ", "), "%v", err)
		}
	}
	return nil
}

// find is the parameter of a name that the component has.
func find(c *config.Component, name string) *config.Param {
	for i := range c.Params {
		if c.Params[i].Name == name {
			return &c.Params[i]
		}
	}
	panic("tools: COOLEST: component without parameter")
}

// point makes a value the start of a parameter, or the truth of a mock, or what it is fixed at.
func (m *coolestImport) point(p *config.Param, v float64, isFixed bool) error {
	if !(v > p.Lo && v < p.Hi) {
		return fmt.Errorf("found %s = %g, outside the range %s", p.Name, v, p.RangeText(p.Lo, p.Hi))
	}
	pr := &p.Prior
	switch {
	case isFixed:
		*pr = config.Prior{Prior: physics.Fixed(v)}
	case pr.IsFixed():
		*pr = config.Prior{Prior: config.Generic(p.Param)}
		fallthrough
	default:
		pr.Lo, pr.Hi = math.Min(pr.Lo, v), math.Max(pr.Hi, v)
		if pr.Family == physics.FamilyUniform {
			pr.A, pr.B = math.Min(pr.A, v), math.Max(pr.B, v)
		}
		if m.mock {
			pr.Truth = []float64{v}
		} else {
			pr.Init = []float64{v}
		}
	}
	return nil
}

// take makes a COOLEST prior times factor that of the parameter, within the range of the parameter.
func take(p *config.Param, c *coolestPrior, factor float64) error {
	a, b := c.Mean, c.Width
	if *c.Type == "UniformPrior" {
		a, b = c.Min, c.Max
	}
	if !config.Contains([]string{"GaussianPrior", "UniformPrior", "LogNormalPrior"}, *c.Type) {
		return fmt.Errorf("found %q, expected GaussianPrior, UniformPrior or LogNormalPrior", term.Shown(*c.Type))
	}
	if a == nil || b == nil {
		return fmt.Errorf("%s: found a null, expected two numbers", *c.Type)
	}
	out := physics.Prior{A: *a * factor, B: *b * factor, Lo: p.Lo, Hi: p.Hi}
	switch *c.Type {
	case "GaussianPrior":
		out.Family = physics.FamilyNormal
	case "LogNormalPrior":
		out.Family, out.A, out.B = physics.FamilyLogNormal, *a+math.Log(factor), *b
	case "UniformPrior":
		out.Family = physics.FamilyUniform
		if out.A, out.B = math.Max(out.A, p.Lo), math.Min(out.B, p.Hi); !(out.A < out.B) {
			return fmt.Errorf("UniformPrior: found [%g, %g], expected an interval within %s", *a, *b, p.RangeText(p.Lo, p.Hi))
		}
		out.Lo, out.Hi = math.Inf(-1), math.Inf(1)
	}
	if out.Family != physics.FamilyUniform && !(out.B > 0) {
		return fmt.Errorf("%s: found width %g, expected more than 0", *c.Type, *b)
	}
	if m := out.Centre(); m < p.Lo || m > p.Hi {
		return fmt.Errorf("%s: found its centre %g outside the range %s", *c.Type, m, p.RangeText(p.Lo, p.Hi))
	}
	p.Prior = config.Prior{Prior: out}
	return nil
}
