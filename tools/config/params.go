package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"lenskit/physics"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// Named are parameters by name, as P.json holds them.
type Named map[string]float64

// ReadParams reads P.json: an object of parameter names and numbers. The record of a run, fit.json, will do as well:
// its `parameters` are taken. No path means no parameters.
func ReadParams(path string) (Named, error) {
	if path == "" {
		return nil, nil
	}
	data, err := rundir.ReadFile(path, "a JSON object of parameters", term.MaxParamsFile)
	if err != nil {
		return nil, err
	}
	v, err := ParseParams(rundir.WithoutBOM(data))
	if err != nil {
		return nil, term.BadInput("%s: %w", path, err)
	}
	return v, nil
}

func ParseParams(data []byte) (Named, error) {
	var record struct{ Parameters json.RawMessage }
	if err := json.Unmarshal(data, &record); err == nil && len(record.Parameters) > 0 && record.Parameters[0] == '{' {
		data = record.Parameters
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	from := int64(0) // where the token last asked for may begin
	next := func() (json.Token, error) {
		from = d.InputOffset()
		t, err := d.Token()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return t, err
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s", Place(data, from), fmt.Sprintf(format, args...))
	}
	t, err := next()
	if err != nil {
		return nil, fail("%s", term.JSONReason(err))
	}
	if t != json.Delim('{') {
		return nil, fail("found %s, expected an object of parameter names and numbers", term.Shown(term.JSONText(t)))
	}
	out := Named{}
	for d.More() {
		k, err := next()
		if err != nil {
			return nil, fail("%s", term.JSONReason(err))
		}
		name := k.(string)
		if _, twice := out[name]; twice {
			return nil, fail("%s stands here a second time", term.Shown(name))
		}
		t, err := next()
		if err != nil {
			return nil, fail("%s", term.JSONReason(err))
		}
		n, ok := t.(json.Number)
		if t == json.Delim('[') {
			return nil, fail("%s: found a list, expected numbers by the names %s.1, %s.2, …", term.Shown(name), term.Shown(name), term.Shown(name))
		}
		if !ok {
			return nil, fail("%s: found %s, expected a number", term.Shown(name), term.Shown(term.JSONText(t)))
		}
		v, err := n.Float64()
		if err != nil || math.Abs(v) > term.MaxMagnitude {
			return nil, fail("%s: found %s, expected a number of size up to %g", term.Shown(name), term.Shown(string(n)), term.MaxMagnitude)
		}
		out[name] = v
	}
	if _, err := next(); err != nil {
		return nil, fail("%s", term.JSONReason(err))
	}
	if _, err := next(); err != io.ErrUnexpectedEOF {
		return nil, fail("found more after the object")
	}
	return out, nil
}

// Place tells line and column of the token that begins at or after offset from.
func Place(data []byte, from int64) string {
	i := min(int(from), len(data))
	for i < len(data) && strings.IndexByte(" \t\r\n:,", data[i]) >= 0 {
		i++
	}
	line := bytes.Count(data[:i], []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, i-bytes.LastIndexByte(data[:i], '\n'))
}

// Limits of a JSON text that a person or another program wrote.
const (
	maxJSONDepth  = 64
	maxJSONTokens = 400_000
)

// CheckJSON holds a JSON text against the limits of depth, size and the magnitude of its numbers. What is not valid JSON
// is left to who reads it.
func CheckJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type level struct {
		object bool
		keys   int // keys and values so far
		key    string
	}
	var path []level
	for tokens := 0; ; tokens++ {
		from := d.InputOffset()
		t, err := d.Token()
		if err != nil {
			return nil
		}
		if tokens > maxJSONTokens {
			return fmt.Errorf("found more than %d keys and values, expected fewer", maxJSONTokens)
		}
		if t == json.Delim('}') || t == json.Delim(']') {
			path = path[:len(path)-1]
			continue
		}
		if n := len(path); n > 0 {
			top := &path[n-1]
			if name, ok := t.(string); ok && top.object && top.keys%2 == 0 {
				top.key = name
			} else if !top.object {
				top.key = strconv.Itoa(top.keys)
			}
			top.keys++
		}
		switch v := t.(type) {
		case json.Delim:
			path = append(path, level{object: v == '{'})
			if len(path) > maxJSONDepth {
				return fmt.Errorf("%s: found more than %d objects and lists in each other", Place(data, from), maxJSONDepth)
			}
		case json.Number:
			if x, err := v.Float64(); err != nil || math.Abs(x) > term.MaxMagnitude {
				var keys []string
				for _, l := range path {
					keys = append(keys, term.Shown(l.key))
				}
				return fmt.Errorf("%s: %s: found %s, expected a number of size up to %g", Place(data, from), strings.Join(keys, "."), term.Shown(string(v)), term.MaxMagnitude)
			}
		}
	}
}

// Values are the parameter's values: what named says, else truth, init or the prior's centre. The result has one value,
// or for a decoder's latents count of them. mean is the bundle's (nil: zeros).
func (c *Component) Values(p *Param, count int, mean []float64, named Named) ([]float64, error) {
	if !p.Vector {
		count = 1
	}
	out := make([]float64, count)
	if err := p.Prior.Start(out, mean); err != nil {
		return nil, term.BadInput("%s: %w", c.Key(p.Name), err)
	}
	for i := range out {
		if v, ok := named[c.NameOf(p, i)]; ok {
			out[i] = v
		}
	}
	return out, nil
}

// NameOf is the full name of element i of a parameter: group.name.param, or group.name.z.1 for the first latent.
func (c *Component) NameOf(p *Param, i int) string {
	if p.Vector {
		return c.Key(p.Name) + "." + strconv.Itoa(i+1)
	}
	return c.Key(p.Name)
}

// ByRole is the first parameter of a role, nil where the component has none.
func (c *Component) ByRole(role physics.Role) *Param {
	for i := range c.Params {
		if c.Params[i].Role == role {
			return &c.Params[i]
		}
	}
	return nil
}

// KeyOf is the full name of the first parameter of a role, "" where the component has none.
func (c *Component) KeyOf(role physics.Role) string {
	if p := c.ByRole(role); p != nil {
		return c.Key(p.Name)
	}
	return ""
}

// IsLatent tells whether a full name, as NameOf writes it, is that of a latent of one of the config's decoders.
func (c *Config) IsLatent(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	return dot > 0 && slices.ContainsFunc(c.Components(), func(comp *Component) bool { return comp.KeyOf(physics.RoleLatent) == name[:dot] })
}

// Start writes the fixed value, else truth, else init, else the centre of the prior.
func (p *Prior) Start(out, mean []float64) error {
	given, what := p.Truth, "truth"
	if given == nil {
		given, what = p.Init, "init"
	}
	if p.IsFixed() {
		given, what = p.Values, "fixed"
	}
	switch {
	case len(given) == 1:
		for i := range out {
			out[i] = given[0]
		}
	case given != nil && len(given) != len(out):
		return fmt.Errorf("%s has %d values, expected %d", what, len(given), len(out))
	case given != nil:
		copy(out, given)
	case p.Family == physics.FamilyDecoder:
		if mean != nil {
			copy(out, mean)
		}
	default:
		m := math.Min(math.Max(p.Centre(), p.Lo), p.Hi)
		for i := range out {
			out[i] = m
		}
	}
	return nil
}

// CheckNames holds the names of P.json against those of the model.
func CheckNames(path string, named Named, known func(name string) bool, names []string) error {
	var unknown []string
	for n := range named {
		if !known(n) {
			unknown = append(unknown, n)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	hint := term.DidYouMean(unknown[0], names)
	if hint == "" && len(names) <= 12 {
		hint = ": expected " + strings.Join(names, ", ")
	}
	return term.BadInput("%s: unknown parameter %q%s", path, term.Shown(unknown[0]), hint)
}
