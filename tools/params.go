package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// namedValues are parameters by name, as P.json holds them.
type namedValues map[string]float64

// readParams reads P.json: an object of parameter names and numbers. The record of a run, fit.json, will do as well:
// its `parameters` are taken. No path means no parameters.
func readParams(path string) (namedValues, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readFile(path, "a JSON object of parameters", maxParamsFile)
	if err != nil {
		return nil, err
	}
	v, err := parseParams(withoutBOM(data))
	if err != nil {
		return nil, badInput("%s: %w", path, err)
	}
	return v, nil
}

func parseParams(data []byte) (namedValues, error) {
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
		return fmt.Errorf("%s: %s", place(data, from), fmt.Sprintf(format, args...))
	}
	t, err := next()
	if err != nil {
		return nil, fail("%s", jsonReason(err))
	}
	if t != json.Delim('{') {
		return nil, fail("found %s, expected an object of parameter names and numbers", shown(jsonText(t)))
	}
	out := namedValues{}
	for d.More() {
		k, err := next()
		if err != nil {
			return nil, fail("%s", jsonReason(err))
		}
		name := k.(string)
		if _, twice := out[name]; twice {
			return nil, fail("%s stands here a second time", shown(name))
		}
		t, err := next()
		if err != nil {
			return nil, fail("%s", jsonReason(err))
		}
		n, ok := t.(json.Number)
		if t == json.Delim('[') {
			return nil, fail("%s: found a list, expected numbers by the names %s.1, %s.2, …", shown(name), shown(name), shown(name))
		}
		if !ok {
			return nil, fail("%s: found %s, expected a number", shown(name), shown(jsonText(t)))
		}
		v, err := n.Float64()
		if err != nil || math.Abs(v) > maxMagnitude {
			return nil, fail("%s: found %s, expected a number of size up to %g", shown(name), shown(string(n)), maxMagnitude)
		}
		out[name] = v
	}
	if _, err := next(); err != nil {
		return nil, fail("%s", jsonReason(err))
	}
	if _, err := next(); err != io.ErrUnexpectedEOF {
		return nil, fail("found more after the object")
	}
	return out, nil
}

// place tells line and column of the token that begins at or after offset from.
func place(data []byte, from int64) string {
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

// checkJSON holds a JSON text against the limits of depth, size and the magnitude of its numbers. What is not valid JSON
// is left to who reads it.
func checkJSON(data []byte) error {
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
				return fmt.Errorf("%s: found more than %d objects and lists in each other", place(data, from), maxJSONDepth)
			}
		case json.Number:
			if x, err := v.Float64(); err != nil || math.Abs(x) > maxMagnitude {
				var keys []string
				for _, l := range path {
					keys = append(keys, shown(l.key))
				}
				return fmt.Errorf("%s: %s: found %s, expected a number of size up to %g", place(data, from), strings.Join(keys, "."), shown(string(v)), maxMagnitude)
			}
		}
	}
}

// jsonText describes a token.
func jsonText(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		return map[json.Delim]string{'{': "an object", '[': "a list"}[v]
	case string:
		return strconv.Quote(v)
	}
	return fmt.Sprint(t)
}

// values are the parameter's values: what named says, else truth, init or the prior's centre. The result has one value,
// or for a decoder's latents count of them. mean is the bundle's (nil: zeros).
func (c *component) values(p *param, count int, mean []float64, named namedValues) ([]float64, error) {
	if !p.Vector {
		count = 1
	}
	out := make([]float64, count)
	if err := p.Prior.start(out, mean); err != nil {
		return nil, badInput("%s: %w", c.key(p.Name), err)
	}
	for i := range out {
		if v, ok := named[c.nameOf(p, i)]; ok {
			out[i] = v
		}
	}
	return out, nil
}

// nameOf is the full name of element i of a parameter: group.name.param, or group.name.z.1 for the first latent.
func (c *component) nameOf(p *param, i int) string {
	if p.Vector {
		return c.key(p.Name) + "." + strconv.Itoa(i+1)
	}
	return c.key(p.Name)
}

// start writes the fixed value, else truth, else init, else the centre of the prior.
func (p *prior) start(out, mean []float64) error {
	given, what := p.Truth, "truth"
	if given == nil {
		given, what = p.Init, "init"
	}
	if p.Kind == priorFixed {
		given, what = p.Fixed, "fixed"
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
	case p.Kind == priorBundle:
		if mean != nil {
			copy(out, mean)
		}
	default:
		m := math.Min(math.Max(p.centre1(), p.Lo), p.Hi)
		for i := range out {
			out[i] = m
		}
	}
	return nil
}

// checkNames holds the names of P.json against those of the model.
func checkNames(path string, named namedValues, known func(name string) bool, names []string) error {
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
	hint := didYouMean(unknown[0], names)
	if hint == "" && len(names) <= 12 {
		hint = ": expected " + strings.Join(names, ", ")
	}
	return badInput("%s: unknown parameter %q%s", path, shown(unknown[0]), hint)
}
