package config

import (
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"lenskit/tools/internal/rundir"
)

// Save writes c to path, atomically, with defaults filled in and its paths made relative to path's folder.
func (c *Config) Save(path string) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, c.Text(filepath.Dir(path)))
		return err
	})
}

// Text is the config as YAML for a file in folder dir.
func (c *Config) Text(dir string) string {
	return topFields.block(c, "", func(p string) string { return c.moved(p, dir) })
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
func (p *Prior) text() string { return priorFields.flow(&Param{Prior: *p}, nil) }

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

// LooksNumeric tells whether a text reads as a number.
func LooksNumeric(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
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
