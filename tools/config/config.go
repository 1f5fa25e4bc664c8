package config

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/token"
	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// Config is a lens model as its YAML file says, defaults filled in. Paths are as written, relative to dir.
type Config struct {
	File  string // as named by the user
	Dir   string
	Sum   string                  // SHA-256 of the file
	Where map[string]*token.Token // dotted key to its place in file, for messages
	Flags map[string]string       // dotted key to the flag it comes from, where there is no file

	Data       DataConfig
	Lens       []Component
	Source     []Component
	LensLight  []Component
	Sky        *Prior            // nil: no sky
	NoiseScale *Prior            // a factor of the noise; nil: none
	StudentT   float64           // degrees of freedom of the residuals' distribution; 0: Gaussian
	Cosmology  physics.Cosmology // read where redshifts are stated
	Search     []Override        // of the settings of the search

	Notices []string // what was chosen without being asked for

	Follow bool // priors of the lens's centre and ellipticity are still to be taken from its light
}

// Clone is a copy of a config that shares nothing with it which could be changed: what Where points to is read only.
func (c *Config) Clone() *Config {
	d := *c
	d.Where, d.Flags = maps.Clone(c.Where), maps.Clone(c.Flags)
	d.Data.Mask = c.Data.Mask.clone()
	d.Lens, d.Source, d.LensLight = cloneComponents(c.Lens), cloneComponents(c.Source), cloneComponents(c.LensLight)
	d.Sky, d.NoiseScale = c.Sky.clone(), c.NoiseScale.clone()
	d.Search, d.Notices = slices.Clone(c.Search), slices.Clone(c.Notices)
	return &d
}

func cloneComponents(list []Component) []Component {
	out := slices.Clone(list)
	for i := range out {
		out[i].Params = slices.Clone(out[i].Params)
		for k := range out[i].Params {
			p := &out[i].Params[k]
			p.Prior = *p.Prior.clone()
		}
	}
	return out
}

func (p *Prior) clone() *Prior {
	if p == nil {
		return nil
	}
	q := *p
	q.Fixed, q.Truth, q.Init = slices.Clone(p.Fixed), slices.Clone(p.Truth), slices.Clone(p.Init)
	return &q
}

func (m MaskConfig) clone() MaskConfig {
	m.Parts = slices.Clone(m.Parts)
	for i := range m.Parts {
		m.Parts[i] = m.Parts[i].clone()
	}
	return m
}

// DataConfig says what was observed. Lengths are in arcsec.
type DataConfig struct {
	Image         string // PATH or PATH[EXT]; "" where a command needs no image
	Size          [2]int // width and height in pixels where there is no image
	Noise         noiseConfig
	PSFSigma      float64
	PSFFile       string // in place of PSFSigma; neither: no PSF
	PSFSampling   int    // pixels of the PSF along an image pixel's side; 0 is 1
	PixelScale    float64
	Supersampling int     // rays per pixel and axis; where there is a Tolerance, the most of them
	Tolerance     float64 // of adaptive supersampling: the error of a pixel in units of its noise; 0: as many rays everywhere
	Mask          MaskConfig
}

// Component is a lens, a source or a lens light.
type Component struct {
	Group, Name, Type string
	Model             string  // of a decoder: bundle or .onnx, "" for the shipped one
	Interpolation     string  // of a decoder: bilinear or bicubic
	Redshift          float64 // of a lens or a source; 0: not stated
	Params            []Param
}

// Param is a named parameter, or the latents of a decoder (Vector), with its prior.
type Param struct {
	physics.Param
	Vector bool
	Prior  Prior
}

// Kind names a prior as the config does.
type Kind string

// The kinds of prior.
const (
	PriorNormal    Kind = "normal"    // A mean, B standard deviation
	PriorUniform   Kind = "uniform"   // from A to B
	PriorLognormal Kind = "lognormal" // ln of the parameter is normal with mean A, standard deviation B
	PriorFixed     Kind = "fixed"     // at Fixed
	PriorBundle    Kind = "bundle"    // the decoder bundle's own, its covariance times A
)

// Prior is what is known of a parameter beforehand, truncated to [Lo, Hi].
type Prior struct {
	Kind   Kind
	A, B   float64
	Fixed  []float64 // one value, or one per latent
	Lo, Hi float64   // ±Inf where there is no bound
	Truth  []float64 // for mocks; nil, one value, or one per latent
	Init   []float64 // where to start
	Scaled bool      // a default still to be multiplied by the image's brightness
}

// The keys of each mapping.
var (
	topKeys       = []string{"data", "lens", "source", "lens_light", "sky", "noise_scale", "likelihood", "cosmology", "search"}
	dataKeys      = []string{"image", "size", "noise", "psf", "pixel_scale", "supersampling", "mask"}
	componentKeys = []string{"type", "name", "redshift", "priors"}
	decoderKeys   = []string{"type", "name", "redshift", "model", "interpolation", "priors"}
	priorKeys     = []string{"normal", "uniform", "lognormal", "fixed", "bounds", "truth", "init"}
	latentKeys    = append([]string{"bundle"}, priorKeys...)
	nameRule      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
)

// format is a kind of file other than YAML that a model may be written in.
type format struct {
	is   func(text []byte) bool
	read func(path string, text []byte) (*Config, error)
}

var formats []format

// RegisterFormat lets loadConfig read another kind of file: one whose text is accepted goes to read.
func RegisterFormat(is func(text []byte) bool, read func(path string, text []byte) (*Config, error)) {
	formats = append(formats, format{is, read})
}

// Load reads a config file, or one of a registered format. It checks all that can be said without the files it names.
func Load(path string) (*Config, error) {
	text, err := rundir.ReadFile(path, "a config file", term.MaxCOOLESTFile)
	if err != nil {
		return nil, err
	}
	read := Parse
	for _, f := range formats {
		if f.is(text) {
			read = f.read
		}
	}
	c, err := read(path, text)
	if err != nil {
		return nil, err
	}
	c.Sum = disk.SumOf(text)
	return c, nil
}

// Parse reads the text of a config.
func Parse(path string, text []byte) (*Config, error) {
	root, err := parseYAML(path, text)
	if err != nil {
		return nil, err
	}
	c := &Config{File: path, Dir: filepath.Dir(path), Where: map[string]*token.Token{}, Data: DataConfig{Supersampling: 1}, Cosmology: defaultCosmology()}
	sections, err := root.entries(topKeys)
	if err != nil {
		return nil, err
	}
	for _, s := range sections {
		c.Where[s.name] = s.at
		switch s.name {
		case "data":
			err = c.parseData(s.node)
		case "lens":
			c.Lens, err = c.parseComponents(s.node, s.name)
		case "source":
			c.Source, err = c.parseComponents(s.node, s.name)
		case "lens_light":
			c.LensLight, err = c.parseComponents(s.node, s.name)
		case "sky":
			p := scalarParam(s.name)
			err = p.parse(s.node)
			c.Sky = &p.Prior
		case "noise_scale":
			p := scalarParam(s.name)
			err = p.parse(s.node)
			c.NoiseScale = &p.Prior
		case "likelihood":
			err = c.parseLikelihood(s.node)
		case "cosmology":
			c.Cosmology, err = parseCosmology(s.node)
		case "search":
			err = c.parseSearch(s.node)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(c.Lens)+len(c.Source)+len(c.LensLight) == 0 {
		return nil, term.BadInput("%s: found no lens, source or lens_light, expected at least one", path)
	}
	if err := c.checkRedshifts(); err != nil {
		return nil, err
	}
	return c, nil
}

// Fail makes an error at the place of a dotted key.
func (c *Config) Fail(key, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	for k := key; k != "" && c.Flags != nil; k = k[:max(0, strings.LastIndexByte(k, '.'))] {
		if flag, ok := c.Flags[k]; ok {
			return term.BadInput("%s: %s", flag, msg)
		}
	}
	for k := key; k != ""; k = k[:max(0, strings.LastIndexByte(k, '.'))] {
		if t, ok := c.Where[k]; ok {
			return term.BadInput("%s: %s: %s", at(c.File, t), key, msg)
		}
	}
	return term.BadInput("%s: %s: %s", c.File, key, msg)
}

// Path resolves a path of the config.
func (c *Config) Path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, filepath.FromSlash(p))
}

func (c *Config) parseData(n node) error {
	d := &c.Data
	d.Supersampling = 0 // until the PSF's is known
	keys, err := n.entries(dataKeys)
	if err != nil {
		return err
	}
	for _, e := range keys {
		c.Where[e.key] = start(e.n)
		switch e.name {
		case "image":
			d.Image, err = e.text()
			if err == nil && d.Image == "" {
				err = e.fail("found an empty path")
			}
		case "size":
			err = e.parseSize(&d.Size)
		case "noise":
			err = d.Noise.parse(e.node, func(k entry) { c.Where[k.key] = start(k.n) })
		case "psf":
			err = d.parsePSF(e.node)
		case "pixel_scale":
			if d.PixelScale, err = e.number(); err == nil && d.PixelScale <= 0 {
				err = e.fail("found %g, expected arcsec per pixel above 0", d.PixelScale)
			}
		case "supersampling":
			err = d.parseSupersampling(e.node)
		case "mask":
			err = d.Mask.parse(e.node, 0)
		}
		if err != nil {
			return err
		}
	}
	if k := max(d.PSFSampling, 1); d.Supersampling == 0 {
		d.Supersampling = k
	} else if d.Supersampling%k != 0 {
		return c.Fail("data.supersampling", "found %d, expected a multiple of the PSF's %d", d.Supersampling, k)
	}
	return nil
}

// maxSupersampling bounds the rays along a pixel's side.
const maxSupersampling = 32

func (d *DataConfig) parseSupersampling(n node) (err error) {
	if !n.isMapping() {
		d.Supersampling, err = n.whole(1, maxSupersampling)
		return err
	}
	keys, err := n.entries([]string{"adaptive", "tolerance"})
	if err != nil {
		return err
	}
	d.Tolerance = defaultTolerance
	for _, e := range keys {
		switch e.name {
		case "adaptive":
			d.Supersampling, err = e.whole(1, maxSupersampling)
		case "tolerance":
			if d.Tolerance, err = e.number(); err == nil && d.Tolerance <= 0 {
				err = e.fail("found %g, expected an error in units of the noise above 0", d.Tolerance)
			}
		}
		if err != nil {
			return err
		}
	}
	if d.Supersampling == 0 {
		return n.fail("has no adaptive, expected {adaptive: rays along a pixel's side, at the most}")
	}
	return nil
}

func LooksNumeric(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// MaxSide bounds the images that lenskit draws.
const MaxSide = 16384

func (n node) parseSize(size *[2]int) error {
	if items, err := n.list(); err == nil && len(items) == 2 {
		for i := range size {
			if size[i], err = items[i].whole(1, MaxSide); err != nil {
				return err
			}
		}
		return nil
	}
	v, err := n.whole(1, MaxSide)
	if err != nil {
		return n.fail("found %s, expected the side in pixels, or [width, height]", n.describe())
	}
	*size = [2]int{v, v}
	return nil
}

// MaxPSFSampling bounds the pixels of a PSF along a side of the image's.
const MaxPSFSampling = 16

func (d *DataConfig) parsePSF(n node) error {
	if s, err := n.text(); err == nil && s == "none" || n.isNull() {
		return nil
	}
	keys, err := n.entries([]string{"gaussian", "file", "supersampling"})
	if err != nil {
		return err
	}
	for _, e := range keys {
		switch e.name {
		case "file":
			d.PSFFile, err = e.text()
		case "gaussian":
			if d.PSFSigma, err = e.number(); err == nil && d.PSFSigma <= 0 {
				err = e.fail("found %g, expected a standard deviation in arcsec above 0", d.PSFSigma)
			}
		case "supersampling":
			d.PSFSampling, err = e.whole(1, MaxPSFSampling)
		}
		if err != nil {
			return err
		}
	}
	if (d.PSFFile != "") == (d.PSFSigma > 0) {
		return n.fail("expected either gaussian or file, with supersampling if need be")
	}
	return nil
}

// parseComponents reads the list of lenses, sources or lens lights.
func (c *Config) parseComponents(n node, group string) ([]Component, error) {
	if n.isNull() {
		return nil, nil
	}
	items, err := n.list()
	if err != nil {
		return nil, err
	}
	var out []Component
	for i, item := range items {
		item.key = fmt.Sprintf("%s[%d]", group, i)
		comp, err := c.parseComponent(item, group)
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			if o.Name == comp.Name {
				return nil, item.fail("a %s named %q stands already above, expected a name of its own (name: …)", group, comp.Name)
			}
		}
		out = append(out, comp)
	}
	return out, nil
}

func (c *Config) parseComponent(n node, group string) (Component, error) {
	comp := Component{Group: group}
	if !n.isMapping() {
		return comp, n.fail("found %s, expected a mapping with type", n.describe())
	}
	keys, err := n.entries(decoderKeys)
	if err != nil {
		return comp, err
	}
	for _, e := range keys {
		if e.name == "type" {
			comp.Type, err = e.text()
			if err != nil {
				return comp, err
			}
			if kinds := KindNames(group); !Contains(kinds, comp.Type) {
				return comp, e.fail("unknown %s type %q%s", group, comp.Type, ExpectedKeys(comp.Type, kinds))
			}
		}
	}
	if comp.Type == "" {
		return comp, n.fail("has no type, expected one of %s", strings.Join(KindNames(group), ", "))
	}
	comp.Name = comp.Type
	if comp.Type == "decoder" {
		comp.Interpolation = "bilinear"
	} else if keys, err = n.entries(componentKeys); err != nil {
		return comp, err
	}
	comp.Params = DefaultParams(group, comp.Type)
	for _, e := range keys {
		switch e.name {
		case "name":
			if comp.Name, err = e.text(); err == nil && !nameRule.MatchString(comp.Name) {
				err = e.fail("found %q, expected a letter, then letters, digits, - and _", comp.Name)
			}
		case "model":
			comp.Model, err = e.text()
		case "interpolation":
			if comp.Interpolation, err = e.text(); err == nil && comp.Interpolation != "bilinear" && comp.Interpolation != "bicubic" {
				err = e.fail("found %q, expected bilinear or bicubic", comp.Interpolation)
			}
		case "redshift":
			comp.Redshift, err = e.redshift(group)
		case "priors":
			err = comp.parsePriors(e.node)
		}
		if err != nil {
			return comp, err
		}
	}
	key := group + "." + comp.Name
	c.Where[key] = start(n.n)
	for _, e := range keys {
		c.Where[key+"."+e.name] = start(e.n)
		if e.name == "priors" {
			priors, err := e.entries(nil)
			if err != nil {
				return comp, err
			}
			for _, p := range priors {
				c.Where[key+"."+p.name] = p.at
			}
		}
	}
	return comp, nil
}

func (c *Component) parsePriors(n node) error {
	names := make([]string, len(c.Params))
	for i := range c.Params {
		names[i] = c.Params[i].Name
	}
	keys, err := n.entries(names)
	if err != nil {
		return err
	}
	for _, e := range keys {
		for i := range c.Params {
			if c.Params[i].Name == e.name {
				if err := c.Params[i].parse(e.node); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// parse reads the mapping of one parameter over its default. A prior that is given takes the place of the default with
// its bounds; bounds, truth and init alone leave the default prior as it is.
func (p *Param) parse(n node) error {
	allowed := priorKeys
	if p.Vector {
		allowed = latentKeys
	}
	if !n.isMapping() {
		return n.fail("found %s, expected a prior such as {normal: [0, 1]} or {fixed: 0}", n.describe())
	}
	keys, err := n.entries(allowed)
	if err != nil {
		return err
	}
	given := ""
	for _, e := range keys {
		switch e.name {
		case "bounds", "truth", "init":
			continue
		}
		if given != "" {
			return e.fail("stands beside %s, expected one prior", given)
		}
		given = e.name
		p.Prior = Prior{Kind: Kind(e.name), Lo: math.Inf(-1), Hi: math.Inf(1)}
		if err := p.parseKind(e.node); err != nil {
			return err
		}
	}
	for _, e := range keys {
		switch e.name {
		case "bounds":
			b, err := e.numbers(2, true)
			if err != nil {
				return err
			}
			if !(b[0] < b[1]) {
				return e.fail("found [%g, %g], expected the lower bound first", b[0], b[1])
			}
			if p.Prior.Kind == PriorFixed {
				return e.fail("stands beside fixed, which needs no bounds")
			}
			if b[0] < p.Lo || b[1] > p.Hi {
				return e.fail("found [%g, %g], outside the range %s of %s", b[0], b[1], p.RangeText(p.Lo, p.Hi), p.Name)
			}
			p.Prior.Lo, p.Prior.Hi = b[0], b[1]
		case "truth":
			p.Prior.Truth, err = p.values(e.node)
		case "init":
			p.Prior.Init, err = p.values(e.node)
		}
		if err != nil {
			return err
		}
	}
	return p.check(n)
}

// parseKind reads the numbers of a prior.
func (p *Param) parseKind(n node) error {
	pr := &p.Prior
	switch pr.Kind {
	case PriorFixed:
		v, err := p.values(n)
		pr.Fixed = v
		return err
	case PriorBundle:
		pr.A = p.Default.A
		if n.isNull() {
			return nil
		}
		keys, err := n.entries([]string{"scale"})
		if err != nil {
			return err
		}
		for _, e := range keys {
			if pr.A, err = e.number(); err == nil && pr.A <= 0 {
				err = e.fail("found %g, expected a factor of the covariance above 0", pr.A)
			}
		}
		return err
	}
	v, err := n.numbers(2, false)
	if err != nil {
		return err
	}
	pr.A, pr.B = v[0], v[1]
	switch {
	case pr.Kind == PriorUniform && !(pr.A < pr.B):
		return n.fail("found [%g, %g], expected the lower end first and a width above 0", pr.A, pr.B)
	case pr.Kind != PriorUniform && !(pr.B > 0):
		return n.fail("found width %g, expected a standard deviation above 0 (or fixed: %g)", pr.B, pr.Centre1())
	case pr.Kind == PriorUniform && (pr.A < p.Lo || pr.B > p.Hi):
		return n.fail("found [%g, %g], outside the range %s of %s", pr.A, pr.B, p.RangeText(p.Lo, p.Hi), p.Name)
	}
	return nil
}

// values reads a number, or for latents also a list of numbers.
func (p *Param) values(n node) ([]float64, error) {
	if p.Vector {
		if _, err := n.list(); err == nil {
			return n.numbers(-1, false)
		}
	}
	v, err := n.number()
	return []float64{v}, err
}

// check holds a parameter's prior against the range of the parameter.
func (p *Param) check(n node) error {
	pr := &p.Prior
	inside := func(v float64) bool { return v > p.Lo && v < p.Hi && v >= pr.Lo && v <= pr.Hi }
	for _, what := range []struct {
		name   string
		values []float64
	}{{"fixed", pr.Fixed}, {"truth", pr.Truth}, {"init", pr.Init}} {
		for _, v := range what.values {
			if !inside(v) {
				return n.fail("%s %g is outside the range %s", what.name, v, p.RangeText(pr.Lo, pr.Hi))
			}
		}
	}
	if pr.Kind == PriorFixed || pr.Kind == PriorBundle {
		return nil
	}
	lo, hi := max(p.Lo, pr.Lo), min(p.Hi, pr.Hi)
	if pr.Kind == PriorUniform {
		if lo = max(lo, pr.A); lo >= min(hi, pr.B) {
			return n.fail("uniform [%g, %g] leaves nothing within the bounds %s", pr.A, pr.B, p.RangeText(pr.Lo, pr.Hi))
		}
		return nil
	}
	if m := pr.Centre1(); !pr.Scaled && (m < lo || m > hi) {
		return n.fail("the centre %g of the prior is outside the range %s", m, p.RangeText(lo, hi))
	}
	return nil
}

// Centre1 is the centre of a prior of one parameter, bounds apart.
func (p *Prior) Centre1() float64 {
	switch p.Kind {
	case PriorUniform:
		return (p.A + p.B) / 2
	case PriorLognormal:
		return math.Exp(p.A)
	case PriorFixed:
		return p.Fixed[0]
	}
	return p.A
}

// RangeText writes the values that bounds within a parameter's open range (p.Lo, p.Hi) leave.
func (p *Param) RangeText(lo, hi float64) string {
	l, r := "[", "]"
	if lo <= p.Lo {
		l, lo = "(", p.Lo
	}
	if hi >= p.Hi {
		r, hi = ")", p.Hi
	}
	if hi == math.Nextafter(1, 2) { // an open end that contains 1 itself
		r, hi = "]", 1
	}
	return fmt.Sprintf("%s%g, %g%s", l, lo, hi, r)
}

// Components are all parts of the model in the order of the parameters.
func (c *Config) Components() []*Component {
	var out []*Component
	for _, group := range [][]Component{c.Lens, c.Source, c.LensLight} {
		for i := range group {
			out = append(out, &group[i])
		}
	}
	return out
}

// Key is the dotted name of a parameter of the component.
func (c *Component) Key(param string) string { return c.Group + "." + c.Name + "." + param }

const defaultTolerance = 0.05 // error, in units of the noise
