package config

import (
	"strconv"
	"strings"
)

// field is a key of a mapping of the config, whose value goes into a T. Reading, writing and Reference go by it.
type field[T any] struct {
	key     string
	value   string // what may stand there, with its unit: what a refusal says was expected
	without string // what holds where the key is left out
	help    string
	sub     section // the keys of the value, where it may be a mapping of its own

	read func(t *T, e entry) error
	// write is the value as YAML; moved rewrites paths. A value that begins with a line break is a block of lines.
	write func(t *T, moved func(string) string) string
	omit  func(t *T) bool // tells that the key is not written; nil: it always is
}

// mapping is the table of the keys of a mapping, in the order in which they are written.
type mapping[T any] []field[T]

func (m mapping[T]) keys() []string {
	out := make([]string, len(m))
	for i := range m {
		out[i] = m[i].key
	}
	return out
}

// field is that of a key, nil where there is none.
func (m mapping[T]) field(key string) *field[T] {
	for i := range m {
		if m[i].key == key {
			return &m[i]
		}
	}
	return nil
}

// read reads a mapping into t; place (nil: none) is told of each key before its value is read.
func (m mapping[T]) read(t *T, n node, place func(entry)) error {
	entries, err := n.entries(m.keys())
	if err != nil {
		return err
	}
	return m.fill(t, entries, place)
}

// fill reads entries, which the table has, into t.
func (m mapping[T]) fill(t *T, entries []entry, place func(entry)) error {
	for _, e := range entries {
		if place != nil {
			place(e)
		}
		if err := m.field(e.name).read(t, e); err != nil {
			return err
		}
	}
	return nil
}

// flow is t as YAML on one line.
func (m mapping[T]) flow(t *T, moved func(string) string) string {
	var parts []string
	for i := range m {
		if f := &m[i]; f.omit == nil || !f.omit(t) {
			parts = append(parts, f.key+": "+f.write(t, moved))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// block is t as lines of YAML, each behind indent.
func (m mapping[T]) block(t *T, indent string, moved func(string) string) string {
	var b strings.Builder
	for i := range m {
		if f := &m[i]; f.omit == nil || !f.omit(t) {
			b.WriteString(indent + line(f.key, f.write(t, moved)))
		}
	}
	return b.String()
}

// line is a key with a value, which may be a block.
func line(key, value string) string {
	if strings.HasPrefix(value, "\n") {
		return key + ":" + value
	}
	return key + ": " + value + "\n"
}

// with completes a field by how its value is read and written.
func (f field[T]) with(read func(t *T, e entry) error, write func(t *T, moved func(string) string) string) field[T] {
	f.read, f.write = read, write
	return f
}

// number completes a field by where its number goes; ok (nil: any) tells the finite ones that may stand there.
func (f field[T]) number(at func(*T) *float64, ok func(v float64) bool) field[T] {
	return f.with(func(t *T, e entry) (err error) {
		v := at(t)
		if *v, err = e.number(); err == nil && ok != nil && !ok(*v) {
			err = e.fail("found %g, expected %s", *v, f.value)
		}
		return err
	}, func(t *T, _ func(string) string) string { return yamlNumber(*at(t)) })
}

func above0(v float64) bool { return v > 0 }

// pair completes a field by where its two numbers go; ok (nil: any) tells those that may stand there.
func (f field[T]) pair(at func(*T) *[2]float64, ok func(a, b float64) bool) field[T] {
	return f.with(func(t *T, e entry) error {
		v, err := e.numbers(2, false)
		if err != nil {
			return err
		}
		if ok != nil && !ok(v[0], v[1]) {
			return e.fail("found [%g, %g], expected %s", v[0], v[1], f.value)
		}
		*at(t) = [2]float64(v)
		return nil
	}, func(t *T, _ func(string) string) string { return yamlNumbers(at(t)[:]) })
}

// whole completes a field by where its whole number goes.
func (f field[T]) whole(at func(*T) *int, lo, hi int) field[T] {
	f.value = wholeFrom(lo, hi)
	return f.with(func(t *T, e entry) (err error) {
		*at(t), err = e.whole(lo, hi)
		return err
	}, func(t *T, _ func(string) string) string { return strconv.Itoa(*at(t)) })
}

// path completes a field by where its path goes.
func (f field[T]) path(at func(*T) *string) field[T] {
	return f.with(func(t *T, e entry) (err error) {
		*at(t), err = e.text()
		return err
	}, func(t *T, moved func(string) string) string { return moved(*at(t)) })
}

// word completes a field by where its word goes; ok tells those that may stand there.
func (f field[T]) word(at func(*T) *string, ok func(s string) bool) field[T] {
	return f.with(func(t *T, e entry) (err error) {
		v := at(t)
		if *v, err = e.text(); err == nil && !ok(*v) {
			err = e.fail("found %q, expected %s", *v, f.value)
		}
		return err
	}, func(t *T, _ func(string) string) string { return *at(t) })
}
