package eval

import (
	"fmt"
	"slices"
	"strings"
)

// term is an operand of Einsum with one label per axis. The axes that an ellipsis stands for have negative labels,
// counted from the right.
type term struct {
	x      *Array
	labels []rune
}

// maxEinsumRank limits the axes of a term.
const maxEinsumRank = 32

// evalEinsum contracts the operands from left to right, each time as a batch of matrix products.
func evalEinsum(c *evalCall) ([]*Array, error) {
	if len(c.in) == 0 {
		return nil, fmt.Errorf("found no inputs")
	}
	if err := c.need(len(c.in)); err != nil {
		return nil, err
	}
	terms, out, err := einsumTerms(c.Str("equation", ""), c.in)
	if err != nil {
		return nil, err
	}
	extent := map[rune]int64{}
	for _, t := range terms {
		for i, l := range t.labels {
			switch d, ok := extent[l]; {
			case !ok || d == 1:
				extent[l] = t.x.Shape[i]
			case t.x.Shape[i] != d && t.x.Shape[i] != 1:
				return nil, fmt.Errorf("equation: label %q is %d and %d long", l, d, t.x.Shape[i])
			}
		}
	}
	for i, t := range terms {
		if t.x.Type != terms[0].x.Type && !(t.x.Type.IsFloat() && terms[0].x.Type.IsFloat()) || !t.x.Type.IsFloat() && !t.x.Type.IsInt() {
			return nil, fmt.Errorf("input %d: found type %v, expected numbers of one type", i, t.x.Type)
		}
		if terms[i], err = t.unique(extent); err != nil {
			return nil, err
		}
	}
	acc := terms[0]
	for i, t := range terms[1:] {
		keep := slices.Clone(out)
		for _, later := range terms[i+2:] {
			keep = append(keep, later.labels...)
		}
		if acc, err = contract(acc, t, keep); err != nil {
			return nil, err
		}
	}
	if acc, err = acc.sum(out); err != nil {
		return nil, err
	}
	return one(acc.order(out))
}

// einsumTerms reads the labels of operands and result. Without "->" the result has the ellipsis and then, in
// alphabetical order, the labels that occur once.
func einsumTerms(equation string, in []*Array) (terms []term, out []rune, err error) {
	equation = strings.ReplaceAll(equation, " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	parts := strings.Split(left, ",")
	if len(parts) != len(in) {
		return nil, nil, fmt.Errorf("equation %q has %d terms for %d inputs", equation, len(parts), len(in))
	}
	count := map[rune]int{}
	dots := 0
	for i, p := range parts {
		labels, err := termLabels(p, len(in[i].Shape))
		if err != nil {
			return nil, nil, fmt.Errorf("equation %q: %w", equation, err)
		}
		if len(labels) != len(in[i].Shape) {
			return nil, nil, fmt.Errorf("equation %q: term %q does not fit shape %v", equation, p, in[i].Shape)
		}
		for _, l := range labels {
			if count[l]++; l < 0 {
				dots = max(dots, int(-l))
			}
		}
		terms = append(terms, term{in[i], labels})
	}
	if !explicit {
		for l, n := range count {
			if n == 1 && l > 0 {
				out = append(out, l)
			}
		}
		slices.Sort(out)
		for k := 1; k <= dots; k++ {
			out = slices.Insert(out, 0, rune(-k))
		}
		return terms, out, nil
	}
	if out, err = termLabels(right, len(strings.Replace(right, "...", "", 1))+dots); err != nil {
		return nil, nil, fmt.Errorf("equation %q: %w", equation, err)
	}
	for i, l := range out {
		if count[l] == 0 || slices.Contains(out[:i], l) {
			return nil, nil, fmt.Errorf("equation %q: label %q of the result is repeated or in no term", equation, l)
		}
	}
	return terms, out, nil
}

// termLabels reads one term; an ellipsis fills it up to rank axes.
func termLabels(p string, rank int) ([]rune, error) {
	before, after, dots := strings.Cut(p, "...")
	var labels []rune
	add := func(s string) error {
		for _, r := range s {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
				return fmt.Errorf("found %q in term %q, expected letters", r, p)
			}
			labels = append(labels, r)
		}
		return nil
	}
	if err := add(before); err != nil {
		return nil, err
	}
	if dots {
		for k := rank - len(before) - len(after); k > 0; k-- {
			labels = append(labels, rune(-k))
		}
	}
	if err := add(after); err != nil {
		return nil, err
	}
	if rank > maxEinsumRank || len(labels) > maxEinsumRank {
		return nil, fmt.Errorf("term %q has more than %d axes", p, maxEinsumRank)
	}
	return labels, nil
}

// unique takes the diagonal over repeated labels and repeats axes of 1 to their label's extent.
func (t term) unique(extent map[rune]int64) (term, error) {
	own := strides(t.x.Shape)
	var labels []rune
	var shape []int64
	var str []int
	for i, l := range t.labels {
		k := slices.Index(labels, l)
		if k < 0 {
			k = len(labels)
			labels, shape, str = append(labels, l), append(shape, extent[l]), append(str, 0)
		}
		if t.x.Shape[i] == extent[l] && extent[l] != 1 {
			str[k] += own[i]
		}
	}
	if slices.Equal(shape, t.x.Shape) {
		return t, nil
	}
	if _, err := Elements(shape); err != nil {
		return t, err
	}
	x, err := t.x.take(shape, offsets(shape, str))
	return term{x, labels}, err
}

// sum adds up over the labels that are not in keep.
func (t term) sum(keep []rune) (term, error) {
	set := make([]bool, len(t.labels))
	var labels []rune
	for i, l := range t.labels {
		if set[i] = !slices.Contains(keep, l); !set[i] {
			labels = append(labels, l)
		}
	}
	if len(labels) == len(t.labels) {
		return t, nil
	}
	x, err := laneSum.apply(t.x, set, false)
	return term{x, labels}, err
}

// order transposes t to the given order of its labels.
func (t term) order(labels []rune) (*Array, error) {
	perm := make([]int, len(labels))
	for i, l := range labels {
		perm[i] = slices.Index(t.labels, l)
	}
	return transpose(t.x, perm)
}

// contract multiplies two terms and sums over the labels that are not in keep.
func contract(a, b term, keep []rune) (term, error) {
	a, err := a.sum(append(slices.Clone(keep), b.labels...))
	if err != nil {
		return a, err
	}
	if b, err = b.sum(append(slices.Clone(keep), a.labels...)); err != nil {
		return b, err
	}
	var batch, inner, left, right []rune
	for _, l := range a.labels {
		switch {
		case !slices.Contains(b.labels, l):
			left = append(left, l)
		case slices.Contains(keep, l):
			batch = append(batch, l)
		default:
			inner = append(inner, l)
		}
	}
	for _, l := range b.labels {
		if !slices.Contains(a.labels, l) {
			right = append(right, l)
		}
	}
	x, err := a.order(slices.Concat(batch, left, inner))
	if err != nil {
		return a, err
	}
	y, err := b.order(slices.Concat(batch, inner, right))
	if err != nil {
		return b, err
	}
	nb, nl, ni := len(batch), len(left), len(inner)
	shape := slices.Concat(x.Shape[:nb+nl], y.Shape[nb+ni:])
	rows, cols, depth := volume(x.Shape[nb:nb+nl]), volume(y.Shape[nb+ni:]), volume(x.Shape[nb+nl:])
	n := volume(x.Shape[:nb])
	z, err := matMul(x.view([]int64{n, rows, depth}), y.view([]int64{n, depth, cols}))
	if err != nil {
		return a, err
	}
	return term{z.view(shape), slices.Concat(batch, left, right)}, nil
}
