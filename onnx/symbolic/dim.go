package symbolic

import (
	"fmt"
	"slices"
)

// maxCoefficient bounds the numbers of shape arithmetic, so that none of it can overflow.
const maxCoefficient = 1 << 52

// Dim is one extent of a shape: N when Sym is empty, N times the symbol otherwise. An extent that nothing is known
// about has a symbol of its own ("?1", "?2", …), so that equal Dims are equal extents.
type Dim struct {
	N   int64
	Sym string
}

// Known tells whether the extent is a number.
func (d Dim) Known() bool { return d.Sym == "" }

func (d Dim) String() string {
	switch {
	case d.Sym == "":
		return fmt.Sprint(d.N)
	case d.N == 1:
		return d.Sym
	}
	return fmt.Sprintf("%d%s", d.N, d.Sym)
}

// Fixed is the extent n.
func Fixed(n int64) Dim { return Dim{N: n} }

// Bounded tells whether n is small enough to go on computing with.
func Bounded(n int64) bool { return n < maxCoefficient && n > -maxCoefficient }

// floorDiv is ⌊a/b⌋ for b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}

// Algebra computes with extents. One may stand within another, that of a graph around a body for instance, whose symbols
// it then uses.
type Algebra struct {
	Next  int // number of the last symbol made: symbols are ?1, ?2, …
	Outer *Algebra
	exprs map[string]Dim // symbols made for expressions
}

// NewAlgebra is an algebra without symbols.
func NewAlgebra() *Algebra { return &Algebra{exprs: map[string]Dim{}} }

// Fresh is a symbol for the value of the expression key; equal expressions share a symbol.
func (r *Algebra) Fresh(key string) Dim {
	root := r
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

// Add is a + b.
func (r *Algebra) Add(a, b Dim) Dim {
	if a.Sym == b.Sym && Bounded(a.N+b.N) {
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
	return r.Fresh(fmt.Sprintf("(%v)+(%v)", a, b))
}

// Neg is -d.
func (d Dim) Neg() Dim { return Dim{-d.N, d.Sym} }

// Mul is a · b.
func (r *Algebra) Mul(a, b Dim) Dim {
	if !a.Known() {
		a, b = b, a
	}
	if a.Known() && Bounded(a.N) && Bounded(b.N) && (a.N == 0 || Abs(b.N) < maxCoefficient/Abs(a.N)) {
		if a.N == 0 {
			return Fixed(0)
		}
		return Dim{a.N * b.N, b.Sym}
	}
	if b.String() < a.String() {
		a, b = b, a
	}
	return r.Fresh(fmt.Sprintf("(%v)*(%v)", a, b))
}

// Abs is |a|.
func Abs(a int64) int64 {
	if a < 0 {
		return -a
	}
	return a
}

// Affine is ⌊(a·m + p)/d⌋ + q for d > 0. It is exact where a number or a multiple of a's symbol comes out.
func (r *Algebra) Affine(a Dim, m, p, d, q int64) Dim {
	if !Bounded(a.N) || !Bounded(m) || !Bounded(p) || m != 0 && Abs(a.N) > maxCoefficient/Abs(m) || d <= 0 {
		return r.Fresh(fmt.Sprintf("((%v)*%d%+d)/%d%+d", a, m, p, d, q))
	}
	if a.Known() {
		return Fixed(floorDiv(a.N*m+p, d) + q)
	}
	if a.N*m%d == 0 && floorDiv(p, d)+q == 0 && a.N*m != 0 {
		return Dim{a.N * m / d, a.Sym}
	}
	if d == 1 {
		return r.Add(Dim{a.N * m, a.Sym}, Fixed(p+q))
	}
	return r.Fresh(fmt.Sprintf("((%v)*%d%+d)/%d%+d", a, m, p, d, q))
}

// BroadcastDim is the extent that a and b broadcast to.
func (r *Algebra) BroadcastDim(a, b Dim) (Dim, error) {
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
	return r.Fresh(fmt.Sprintf("broadcast(%v, %v)", a, b)), nil
}

// Broadcast is the shape that shapes broadcast to by NumPy's rules, nil when one is unknown.
func (r *Algebra) Broadcast(shapes ...[]Dim) ([]Dim, error) {
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
			if out[i], err = r.BroadcastDim(out[i], s[j]); err != nil {
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

// Same is the extent of two that must be equal, or an error where they cannot be.
func Same(a, b Dim) (Dim, error) {
	if a.Known() && b.Known() && a != b {
		return a, fmt.Errorf("found extents %v and %v, expected equal ones", a, b)
	}
	if b.Known() || !a.Known() && a.Sym[0] == '?' {
		return b, nil
	}
	return a, nil
}

// Monomial is a product of extents: a number times symbols.
type Monomial struct {
	N    int64
	Syms []string // sorted
	OK   bool     // false: none, or one whose number is too large
}

// Product multiplies extents.
func Product(s []Dim) Monomial {
	m := Monomial{N: 1, OK: true}
	for _, d := range s {
		if d.N != 0 && Abs(m.N) > maxCoefficient/Abs(d.N) {
			m.OK = false
			return m
		}
		m.N *= d.N
		if d.Sym != "" {
			m.Syms = append(m.Syms, d.Sym)
		}
	}
	slices.Sort(m.Syms)
	return m
}

// Over is m divided by k; it is not OK where no monomial comes out.
func (m Monomial) Over(k Monomial) Monomial {
	if !m.OK || !k.OK || k.N == 0 || m.N%k.N != 0 {
		return Monomial{}
	}
	r := Monomial{N: m.N / k.N, Syms: slices.Clone(m.Syms), OK: true}
	for _, s := range k.Syms {
		i := slices.Index(r.Syms, s)
		if i < 0 {
			return Monomial{}
		}
		r.Syms = slices.Delete(r.Syms, i, i+1)
	}
	return r
}

// Dim is the monomial m as one extent.
func (r *Algebra) Dim(m Monomial) Dim {
	if m.N == 0 {
		return Fixed(0)
	}
	d := Fixed(m.N)
	for _, s := range m.Syms {
		d = r.Mul(d, Dim{1, s})
	}
	return d
}

// Size is the number of elements of shape s.
func (r *Algebra) Size(s []Dim) Dim {
	if m := Product(s); m.OK {
		return r.Dim(m)
	}
	return r.Fresh(fmt.Sprintf("size%v", s))
}

// Join concatenates lists of extents; unlike slices.Concat it never returns nil, which would mean an unknown rank.
func Join(lists ...[]Dim) []Dim {
	return append([]Dim{}, slices.Concat(lists...)...)
}
