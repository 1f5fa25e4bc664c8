package config

import (
	"fmt"
	"slices"
	"strings"
)

// section is the table of a mapping, whatever it goes into.
type section interface {
	rows() []row
	same(other section) bool
}

// row is a key as Reference has it.
type row struct {
	key, value, without, help string
	sub                       section
}

func (m mapping[T]) rows() []row {
	out := make([]row, len(m))
	for i, f := range m {
		out[i] = row{f.key, f.value, f.without, f.help, f.sub}
	}
	return out
}

func (m mapping[T]) same(other section) bool {
	o, ok := other.(mapping[T])
	return ok && &m[0] == &o[0]
}

// Reference lists the keys of a config, as sections of Markdown: what may stand for each, in which unit, what holds where it is
// left out, and what it means.
func Reference() string {
	type part struct {
		paths []string
		of    section
	}
	parts := []part{{of: topFields}}
	var b strings.Builder
	for i := 0; i < len(parts); i++ {
		p, next := parts[i], i+1
		title := "A config"
		if len(p.paths) > 0 {
			title = "`" + strings.Join(p.paths, "`, `") + "`"
		}
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "## %s\n\n| key | value | left out | meaning |\n|---|---|---|---|\n", title)
		for _, r := range p.of.rows() {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.key, r.value, r.without, r.help)
			if r.sub == nil {
				continue
			}
			path := r.key
			if len(p.paths) == 1 {
				path = p.paths[0] + "." + r.key
			}
			if k := slices.IndexFunc(parts, func(q part) bool { return q.of.same(r.sub) }); k >= 0 {
				parts[k].paths = append(parts[k].paths, path)
			} else {
				parts = slices.Insert(parts, next, part{[]string{path}, r.sub})
				next++
			}
		}
	}
	return b.String()
}
