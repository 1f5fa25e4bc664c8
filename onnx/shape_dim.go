package onnx

import (
	"fmt"
	"slices"
)

// maxCoefficient bounds the numbers of shape arithmetic, so that none of it can overflow.
const maxCoefficient = 1 << 52

// Fixed is the extent n.
func Fixed(n int64) Dim { return Dim{N: n} }

// bounded tells whether n is small enough to go on computing with.
func bounded(n int64) bool { return n < maxCoefficient && n > -maxCoefficient }

// floorDiv is ⌊a/b⌋ for b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}

// fresh is a symbol for the value of the expression key; equal expressions share a symbol.
func (f *Inferer) fresh(key string) Dim {
	root := f
	for root.Outer != nil {
		root = root.Outer
	}
	if d, ok := root.exprs[key]; ok && key != "" {
		return d
	}
	root.Next++
	d := Dim{N: 1, Sym: fmt.Sprintf("?%d", root.Next)}
	if key != "" {
		root.exprs[key] = d
	}
	return d
}

// add is a + b.
func (f *Inferer) add(a, b Dim) Dim {
	if a.Sym == b.Sym && bounded(a.N+b.N) {
		if a.N+b.N == 0 {
			return Fixed(0)
		}
		return Dim{a.N + b.N, a.Sym}
	}
	if a == Fixed(0) {
		return b
	}
	if b == Fixed(0) {
		return a
	}
	if b.String() < a.String() {
		a, b = b, a
	}
	return f.fresh(fmt.Sprintf("(%v)+(%v)", a, b))
}

// neg is -a.
func neg(a Dim) Dim { return Dim{-a.N, a.Sym} }

// mul is a · b.
func (f *Inferer) mul(a, b Dim) Dim {
	if !a.Known() {
		a, b = b, a
	}
	if a.Known() && bounded(a.N) && bounded(b.N) && (a.N == 0 || absInt(b.N) < maxCoefficient/absInt(a.N)) {
		if a.N == 0 {
			return Fixed(0)
		}
		return Dim{a.N * b.N, b.Sym}
	}
	if b.String() < a.String() {
		a, b = b, a
	}
	return f.fresh(fmt.Sprintf("(%v)*(%v)", a, b))
}

func absInt(a int64) int64 {
	if a < 0 {
		return -a
	}
	return a
}

// affine is ⌊(a·m + p)/d⌋ + q for d > 0. It is exact where a number or a multiple of a's symbol comes out.
func (f *Inferer) affine(a Dim, m, p, d, q int64) Dim {
	if !bounded(a.N) || !bounded(m) || !bounded(p) || m != 0 && absInt(a.N) > maxCoefficient/absInt(m) || d <= 0 {
		return f.fresh(fmt.Sprintf("((%v)*%d%+d)/%d%+d", a, m, p, d, q))
	}
	if a.Known() {
		return Fixed(floorDiv(a.N*m+p, d) + q)
	}
	if a.N*m%d == 0 && floorDiv(p, d)+q == 0 && a.N*m != 0 {
		return Dim{a.N * m / d, a.Sym}
	}
	if d == 1 {
		return f.add(Dim{a.N * m, a.Sym}, Fixed(p+q))
	}
	return f.fresh(fmt.Sprintf("((%v)*%d%+d)/%d%+d", a, m, p, d, q))
}

// broadcastDim is the extent that a and b broadcast to.
func (f *Inferer) broadcastDim(a, b Dim) (Dim, error) {
	switch {
	case a == b || b == Fixed(1):
		return a, nil
	case a == Fixed(1):
		return b, nil
	case a.Known() && b.Known():
		return a, fmt.Errorf("extents %v and %v do not broadcast", a, b)
	case a.Known():
		return a, nil
	case b.Known():
		return b, nil
	}
	if b.String() < a.String() {
		a, b = b, a
	}
	return f.fresh(fmt.Sprintf("broadcast(%v, %v)", a, b)), nil
}

// Broadcast is the shape that shapes broadcast to by NumPy's rules, nil when one is unknown.
func (f *Inferer) Broadcast(shapes ...[]Dim) ([]Dim, error) {
	rank := 0
	for _, s := range shapes {
		if s == nil {
			return nil, nil
		}
		rank = max(rank, len(s))
	}
	out := make([]Dim, rank)
	for i := range out {
		out[i] = Fixed(1)
		for _, s := range shapes {
			j := i - rank + len(s)
			if j < 0 {
				continue
			}
			var err error
			if out[i], err = f.broadcastDim(out[i], s[j]); err != nil {
				return nil, fmt.Errorf("shapes %v: %w", shapes, err)
			}
		}
	}
	return out, nil
}

// Among tells whether every extent of s is a number or one of the given shapes'.
func Among(s []Dim, shapes ...[]Dim) bool {
	return !slices.ContainsFunc(s, func(d Dim) bool {
		return !d.Known() && !slices.ContainsFunc(shapes, func(of []Dim) bool { return slices.Contains(of, d) })
	})
}

// same is the extent of two that must be equal.
func same(a, b Dim) (Dim, error) {
	if a.Known() && b.Known() && a != b {
		return a, fmt.Errorf("found extents %v and %v, expected equal ones", a, b)
	}
	if b.Known() || !a.Known() && a.Sym[0] == '?' {
		return b, nil
	}
	return a, nil
}

// monomial is a product of extents: a number times symbols.
type monomial struct {
	n    int64
	syms []string // sorted
	ok   bool
}

// dimProduct multiplies extents.
func dimProduct(s []Dim) monomial {
	m := monomial{n: 1, ok: true}
	for _, d := range s {
		if d.N != 0 && absInt(m.n) > maxCoefficient/absInt(d.N) {
			m.ok = false
			return m
		}
		m.n *= d.N
		if d.Sym != "" {
			m.syms = append(m.syms, d.Sym)
		}
	}
	slices.Sort(m.syms)
	return m
}

// over is m divided by k; ok is false where no monomial comes out.
func (m monomial) over(k monomial) monomial {
	if !m.ok || !k.ok || k.n == 0 || m.n%k.n != 0 {
		return monomial{}
	}
	r := monomial{n: m.n / k.n, syms: slices.Clone(m.syms), ok: true}
	for _, s := range k.syms {
		i := slices.Index(r.syms, s)
		if i < 0 {
			return monomial{}
		}
		r.syms = slices.Delete(r.syms, i, i+1)
	}
	return r
}

// dim is the monomial as one extent.
func (f *Inferer) dim(m monomial) Dim {
	if m.n == 0 {
		return Fixed(0)
	}
	d := Fixed(m.n)
	for _, s := range m.syms {
		d = f.mul(d, Dim{1, s})
	}
	return d
}

// size is the number of elements of shape s.
func (f *Inferer) size(s []Dim) Dim {
	if m := dimProduct(s); m.ok {
		return f.dim(m)
	}
	return f.fresh(fmt.Sprintf("size%v", s))
}

// joinDims concatenates lists of extents; unlike slices.Concat it never returns nil, which would mean an unknown rank.
func joinDims(lists ...[]Dim) []Dim {
	return append([]Dim{}, slices.Concat(lists...)...)
}
