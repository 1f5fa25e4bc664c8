package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lenskit/physics"
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
// left out, and what it means; then the parameters that priors are stated for.
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
	writeParameters(&b, KindNames("lens"), "lens")
	writeParameters(&b, KindNames("lens_light"), "source", "lens_light")
	writeParameters(&b, []string{TypePixels}, "source")
	b.WriteString(parameterHead("Parameters without a type", "default prior"))
	for _, p := range []physics.Param{physics.Sky, physics.NoiseScale} {
		b.WriteString(parameterRow("", p, Prior{Prior: p.Default}))
	}
	return b.String()
}

// writeParameters writes the section of the parameters of each of the types, with their default priors in each group.
func writeParameters(b *strings.Builder, kinds []string, groups ...string) {
	columns := "default prior"
	if len(groups) > 1 {
		columns = "default prior in `" + strings.Join(groups, "` | in `") + "`"
	}
	b.WriteString(parameterHead("Parameters of `"+strings.Join(groups, "`, `")+"`", columns))
	for _, kind := range kinds {
		shown := "`" + kind + "`"
		for i, p := range DefaultParams(groups[0], kind) {
			var priors []Prior
			for _, g := range groups {
				priors = append(priors, DefaultParams(g, kind)[i].Prior)
			}
			b.WriteString(parameterRow(shown, p.Param, priors...))
			shown = ""
		}
	}
}

// parameterHead begins a section of parameters; columns are those of its default priors.
func parameterHead(title, columns string) string {
	return fmt.Sprintf("\n## %s\n\n| type | parameter | what it is | unit | range | %s |\n|---|---|---|---|---|---|%s\n", title, columns, strings.Repeat("---|", strings.Count(columns, "|")))
}

// parameterRow is the row of a parameter, its priors with four digits.
func parameterRow(kind string, p physics.Param, priors ...Prior) string {
	inside := fmt.Sprintf("%.4g to %.4g", p.Lo, p.Hi)
	switch {
	case math.IsInf(p.Lo, -1) && math.IsInf(p.Hi, 1):
		inside = "any"
	case math.IsInf(p.Hi, 1):
		inside = fmt.Sprintf("above %.4g", p.Lo)
	}
	row := fmt.Sprintf("| %s | `%s` | %s | %s | %s |", kind, p.Name, p.Role, p.Unit, inside)
	for _, d := range priors {
		for _, v := range []*float64{&d.A, &d.B} {
			*v, _ = strconv.ParseFloat(fmt.Sprintf("%.4g", *v), 64)
		}
		row += " `" + d.text() + "`"
		if d.Relative {
			row += " × the image's brightness"
		}
		row += " |"
	}
	return row + "\n"
}
