package config

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"lenskit/physics"
	"lenskit/tools/internal/rundir"
)

// writeConfig writes c to path, atomically, with defaults filled in and its paths made relative to path's folder.
func (c *Config) Save(path string) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, c.Text(filepath.Dir(path)))
		return err
	})
}

// Text is the config as YAML for a file in folder dir.
func (c *Config) Text(dir string) string {
	var b strings.Builder
	d := &c.Data
	b.WriteString("data:\n")
	if d.Image != "" {
		fmt.Fprintf(&b, "  image: %s\n", c.moved(d.Image, dir))
	}
	if d.Size[0] > 0 {
		fmt.Fprintf(&b, "  size: [%d, %d]\n", d.Size[0], d.Size[1])
	}
	moved := func(p string) string { return c.moved(p, dir) }
	if d.Noise != (noiseConfig{}) {
		fmt.Fprintf(&b, "  noise: %s\n", d.Noise.text(moved))
	}
	sampling := ""
	if d.PSFSampling > 1 {
		sampling = fmt.Sprintf(", supersampling: %d", d.PSFSampling)
	}
	switch {
	case d.PSFFile != "":
		fmt.Fprintf(&b, "  psf: {file: %s%s}\n", moved(d.PSFFile), sampling)
	case d.PSFSigma > 0:
		fmt.Fprintf(&b, "  psf: {gaussian: %s%s}\n", yamlNumber(d.PSFSigma), sampling)
	}
	if d.PixelScale > 0 {
		fmt.Fprintf(&b, "  pixel_scale: %s\n", yamlNumber(d.PixelScale))
	}
	switch {
	case d.Tolerance > 0:
		fmt.Fprintf(&b, "  supersampling: {adaptive: %d, tolerance: %s}\n", d.Supersampling, yamlNumber(d.Tolerance))
	case d.Supersampling > 1:
		fmt.Fprintf(&b, "  supersampling: %d\n", d.Supersampling)
	}
	if d.Mask.Kind != "" {
		fmt.Fprintf(&b, "  mask: %s\n", d.Mask.text(moved))
	}
	for _, g := range []struct {
		name  string
		parts []Component
	}{{"lens", c.Lens}, {"source", c.Source}, {"lens_light", c.LensLight}} {
		if len(g.parts) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:\n", g.name)
		for i := range g.parts {
			c.writeComponent(&b, &g.parts[i], dir)
		}
	}
	if c.Sky != nil {
		fmt.Fprintf(&b, "sky: %s\n", c.Sky.text())
	}
	b.WriteString(c.likelihoodText())
	if c.HasRedshifts() {
		u := c.Cosmology
		fmt.Fprintf(&b, "cosmology: {H0: %s, Omega_m: %s, Omega_lambda: %s}\n", yamlNumber(u.H0), yamlNumber(u.OmegaM), yamlNumber(u.OmegaLambda))
	}
	b.WriteString(c.searchText())
	return b.String()
}

func (c *Config) writeComponent(b *strings.Builder, p *Component, dir string) {
	fmt.Fprintf(b, "  - type: %s\n", p.Type)
	if p.Name != p.Type {
		fmt.Fprintf(b, "    name: %s\n", p.Name)
	}
	if p.Redshift > 0 {
		fmt.Fprintf(b, "    redshift: %s\n", yamlNumber(p.Redshift))
	}
	if p.Model != "" {
		fmt.Fprintf(b, "    model: %s\n", c.moved(p.Model, dir))
	}
	if p.Interpolation != "" {
		fmt.Fprintf(b, "    interpolation: %s\n", p.Interpolation)
	}
	if len(p.Params) > 0 {
		b.WriteString("    priors:\n")
	}
	for i := range p.Params {
		fmt.Fprintf(b, "      %s: %s\n", p.Params[i].Name, p.Params[i].Prior.text())
	}
}

// moved rewrites a path of the config for a file in folder dir, quoted for YAML.
func (c *Config) moved(p, dir string) string {
	if !filepath.IsAbs(p) {
		from, err1 := filepath.Abs(c.Path(p))
		base, err2 := filepath.Abs(dir)
		if err1 == nil && err2 == nil {
			if r, err := filepath.Rel(base, from); err == nil {
				p = filepath.ToSlash(r)
			} else {
				p = from
			}
		}
	}
	if strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+") == "" && !LooksNumeric(p) && !strings.HasPrefix(p, "-") {
		return p
	}
	return strconv.Quote(p)
}

// text is the prior as a YAML mapping.
func (p *Prior) text() string {
	var s string
	switch p.Family {
	case physics.FamilyFixed:
		s = "fixed: " + yamlValues(p.Values)
	case physics.FamilyDecoder:
		s = "bundle: {scale: " + yamlNumber(p.A) + "}"
	default:
		s = string(p.Family) + ": " + yamlNumbers([]float64{p.A, p.B})
	}
	if !math.IsInf(p.Lo, -1) || !math.IsInf(p.Hi, 1) {
		s += ", bounds: " + yamlNumbers([]float64{p.Lo, p.Hi})
	}
	if p.Truth != nil {
		s += ", truth: " + yamlValues(p.Truth)
	}
	if p.Init != nil {
		s += ", init: " + yamlValues(p.Init)
	}
	return "{" + s + "}"
}

func yamlValues(v []float64) string {
	if len(v) == 1 {
		return yamlNumber(v[0])
	}
	return yamlNumbers(v)
}

func yamlNumbers(v []float64) string {
	s := make([]string, len(v))
	for i := range v {
		s[i] = yamlNumber(v[i])
	}
	return "[" + strings.Join(s, ", ") + "]"
}

// yamlNumber is the shortest text that reads back as v.
func yamlNumber(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return ".inf"
	case math.IsInf(v, -1):
		return "-.inf"
	case v != 0 && (math.Abs(v) < 1e-5 || math.Abs(v) >= 1e15):
		s := strconv.FormatFloat(v, 'e', -1, 64)
		if m, e, _ := strings.Cut(s, "e"); !strings.Contains(m, ".") {
			s = m + ".0e" + e // without a point it would be text to YAML 1.1
		}
		return s
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
