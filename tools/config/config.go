package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
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
		out[i].Pixels.Grids = slices.Clone(out[i].Pixels.Grids)
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
	q.Values, q.Truth, q.Init = slices.Clone(p.Values), slices.Clone(p.Truth), slices.Clone(p.Init)
	return &q
}

func (m MaskConfig) clone() MaskConfig {
	m.Parts = slices.Clone(m.Parts)
	for i := range m.Parts {
		m.Parts[i] = m.Parts[i].clone()
	}
	return m
}

// topFields are the keys of a config.
var topFields = mapping[Config]{
	field[Config]{key: "data", value: "a mapping", help: "what was observed", sub: dataFields}.with(
		func(c *Config, e entry) error { return c.parseData(e.node) },
		func(c *Config, moved func(string) string) string { return "\n" + dataFields.block(c, "  ", moved) }),
	components("lens", "mass profiles", func(c *Config) *[]Component { return &c.Lens }),
	components("source", "light that they deflect", func(c *Config) *[]Component { return &c.Source }),
	components("lens_light", "light in front of it", func(c *Config) *[]Component { return &c.LensLight }),
	scalar("sky", "none", "constant background, in image units", func(c *Config) **Prior { return &c.Sky }),
	scalar("noise_scale", "1", "factor of the noise", func(c *Config) **Prior { return &c.NoiseScale }),
	field[Config]{key: "likelihood", value: "gaussian or student_t, or a mapping", without: "gaussian", help: "how residuals are distributed",
		sub: likelihoodFields, omit: func(c *Config) bool { return c.StudentT <= 0 },
	}.with(func(c *Config, e entry) error { return c.parseLikelihood(e.node) },
		func(c *Config, moved func(string) string) string { return likelihoodFields.flow(c, moved) }),
	field[Config]{key: "cosmology", value: "a mapping", without: "defaults", help: "distances to the redshifts that are stated",
		sub: cosmologyFields, omit: func(c *Config) bool { return !c.HasRedshifts() },
	}.with(func(c *Config, e entry) (err error) {
		c.Cosmology, err = parseCosmology(e.node)
		return err
	}, func(c *Config, moved func(string) string) string { return cosmologyFields.flow(&c.Cosmology, moved) }),
	field[Config]{key: "search", value: "a mapping of settings", without: "defaults", help: "settings of the search for the maximum: [search.md](search.md) lists them",
		omit: func(c *Config) bool { return len(c.Search) == 0 },
	}.with(func(c *Config, e entry) error { return c.parseSearch(e.node) },
		func(c *Config, _ func(string) string) string { return "\n" + c.searchText("  ") }),
}

// components is a key for lenses, sources or lens lights.
func components(key, help string, at func(*Config) *[]Component) field[Config] {
	return field[Config]{key: key, value: "a list of mappings", without: "none; one of the three has to be there", help: help, sub: componentFields,
		omit: func(c *Config) bool { return len(*at(c)) == 0 },
	}.with(func(c *Config, e entry) (err error) {
		*at(c), err = c.parseComponents(e.node, key)
		return err
	}, func(c *Config, moved func(string) string) string {
		s := "\n"
		for _, comp := range *at(c) {
			s += "  - " + strings.TrimPrefix(componentFields.block(&comp, "    ", moved), "    ")
		}
		return s
	})
}

// scalar is a key for a parameter that belongs to no component.
func scalar(key, without, help string, at func(*Config) **Prior) field[Config] {
	return field[Config]{key: key, value: "a prior, {} for the default one", without: without, help: help, sub: priorFields,
		omit: func(c *Config) bool { return *at(c) == nil },
	}.with(func(c *Config, e entry) error {
		p := scalarParam(key)
		*at(c) = &p.Prior
		return p.parse(e.node)
	}, func(c *Config, _ func(string) string) string { return (*at(c)).text() })
}

// format is a kind of file other than YAML that a model may be written in.
type format struct {
	is   func(text []byte) bool
	read func(path string, text []byte) (*Config, error)
}

var formats []format

// RegisterFormat lets Load read another kind of file: one whose text is accepted goes to read.
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
	if err := topFields.read(c, root, func(e entry) { c.Where[e.key] = e.at }); err != nil {
		return nil, err
	}
	if len(c.Lens)+len(c.Source)+len(c.LensLight) == 0 {
		return nil, term.BadInput("%s: found no lens, source or lens_light, expected at least one", path)
	}
	if err := c.checkRedshifts(); err != nil {
		return nil, err
	}
	if err := c.checkPixels(); err != nil {
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
