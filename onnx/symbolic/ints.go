package symbolic

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// MaxInts is the largest number of elements of a tensor whose values are followed.
const MaxInts = 1024

// Ints is what is known of the values of a small integer tensor (or one of floats that are whole numbers): one Dim per
// element, in row-major order. Its operations return false where their result is not known.
type Ints struct {
	Shape []int64
	Elems []Dim
}

// Vector is the list e.
func Vector(e []Dim) Ints { return Ints{[]int64{int64(len(e))}, slices.Clone(e)} }

// Numbers are the elements when all of them are numbers.
func (k Ints) Numbers() ([]int64, bool) {
	v := make([]int64, len(k.Elems))
	for i, d := range k.Elems {
		if !d.Known() {
			return nil, false
		}
		v[i] = d.N
	}
	return v, true
}

// Map applies f to every element.
func (k Ints) Map(f func(d Dim) (Dim, bool)) (Ints, bool) {
	e := make([]Dim, len(k.Elems))
	for i, d := range k.Elems {
		var ok bool
		if e[i], ok = f(d); !ok {
			return k, false
		}
	}
	return Ints{k.Shape, e}, true
}

// Gather takes the elements of a list at the places of index, which count from the end where they are negative.
func (k Ints) Gather(index Ints) (Ints, bool) {
	if len(k.Shape) != 1 {
		return k, false
	}
	return index.Map(func(d Dim) (Dim, bool) {
		i := d.N
		if i < 0 {
			i += int64(len(k.Elems))
		}
		if !d.Known() || i < 0 || i >= int64(len(k.Elems)) {
			return d, false
		}
		return k.Elems[i], true
	})
}

// Take keeps count positions of axis a: first, first+step, …
func (k Ints) Take(a int, first, count, step int64) Ints {
	out := Ints{Shape: slices.Clone(k.Shape)}
	out.Shape[a] = count
	inner := int64(1)
	for _, d := range k.Shape[a+1:] {
		inner *= d
	}
	block := inner * k.Shape[a]
	for at := int64(0); at < int64(len(k.Elems)); at += block {
		for i := range count {
			from := at + (first+i*step)*inner
			out.Elems = append(out.Elems, k.Elems[from:from+inner]...)
		}
	}
	return out
}

// Transposed exchanges the axes of a matrix.
func (k Ints) Transposed() Ints {
	rows, cols := k.Shape[0], k.Shape[1]
	out := Ints{Shape: []int64{cols, rows}}
	for j := range cols {
		for i := range rows {
			out.Elems = append(out.Elems, k.Elems[i*cols+j])
		}
	}
	return out
}

// Scatter puts updates in the place of the elements of a list that index names.
func (k Ints) Scatter(index []int64, updates Ints) (Ints, bool) {
	if len(k.Shape) != 1 || len(index) != len(updates.Elems) {
		return k, false
	}
	out := Ints{k.Shape, slices.Clone(k.Elems)}
	for i, at := range index {
		if at < 0 {
			at += int64(len(out.Elems))
		}
		if at < 0 || at >= int64(len(out.Elems)) {
			return out, false
		}
		out.Elems[at] = updates.Elems[i]
	}
	return out, true
}

// Zip applies op to the elements of two tensors of one shape; one of them may have a single element.
func Zip(a, b Ints, op func(a, b Dim) (Dim, bool)) (Ints, bool) {
	out := Ints{Shape: a.Shape}
	na, nb := len(a.Elems), len(b.Elems)
	switch {
	case slices.Equal(a.Shape, b.Shape):
	case na == 1 && len(a.Shape) <= len(b.Shape):
		out.Shape = b.Shape
	case nb == 1 && len(b.Shape) <= len(a.Shape):
	default:
		return out, false
	}
	n := max(na, nb)
	if na == 0 || nb == 0 {
		n = 0
	}
	out.Elems = make([]Dim, n)
	for i := range out.Elems {
		var ok bool
		if out.Elems[i], ok = op(a.Elems[i%na], b.Elems[i%nb]); !ok {
			return out, false
		}
	}
	return out, true
}

// Where takes elements of a where cond is not 0 and of b elsewhere, for lists and scalars.
func Where(cond, a, b Ints) (Ints, bool) {
	truth, ok := cond.Numbers()
	if !ok {
		return cond, false
	}
	out := Ints{Shape: []int64{}}
	n := 1
	for _, s := range []Ints{cond, a, b} {
		if len(s.Shape) > 1 {
			return cond, false
		}
		if len(s.Shape) == 1 {
			if n != 1 && len(s.Elems) != 1 && len(s.Elems) != n {
				return cond, false
			}
			if len(s.Elems) != 1 {
				n = len(s.Elems)
			}
			out.Shape = []int64{int64(n)}
		}
	}
	for i := range n {
		pick := b
		if truth[i%len(truth)] != 0 {
			pick = a
		}
		out.Elems = append(out.Elems, pick.Elems[i%len(pick.Elems)])
	}
	return out, true
}

// Range is start, start+step, … before limit.
func Range(start, limit, step int64) (Ints, bool) {
	if step == 0 || !Bounded(start) || !Bounded(limit) || !Bounded(step) {
		return Ints{}, false
	}
	sign := int64(cmp.Compare(step, 0))
	count := max(0, -floorDiv(-(limit-start)*sign, Abs(step)))
	if count > MaxInts {
		return Ints{}, false
	}
	out := Ints{Shape: []int64{count}}
	for i := range count {
		out.Elems = append(out.Elems, Fixed(start+i*step))
	}
	return out, true
}

// Extremum is the largest of e for a sign of 1, the smallest for -1.
func Extremum(e []Dim, sign int) (Dim, bool) {
	if len(e) == 0 {
		return Dim{}, false
	}
	best := e[0]
	for _, d := range e[1:] {
		s, ok := Compare(d, best)
		if !ok {
			return best, false
		}
		if s*sign > 0 {
			best = d
		}
	}
	return best, true
}

// Span is the first index and the number of elements that a slice from start to end by step takes of n.
func Span(start, end, step, n int64) (first, count int64, err error) {
	if step == 0 || step == math.MinInt64 {
		return 0, 0, fmt.Errorf("step: found %d, expected another number", step)
	}
	at := func(v, lo, hi int64) int64 {
		if v < 0 {
			if v < -n {
				v = -1
				if lo == 0 {
					v = 0
				}
			} else {
				v += n
			}
		}
		return min(max(v, lo), hi)
	}
	if step > 0 {
		first, end = at(start, 0, n), at(end, 0, n)
		if end > first {
			count = (end - first - 1) / step
			count++
		}
		return first, count, nil
	}
	first, end = at(start, -1, n-1), at(end, -1, n-1)
	if start < -n {
		first = -1
	}
	if first > end {
		count = (first-end-1)/(-step) + 1
	}
	return first, count, nil
}

// Compare tells the sign of a - b where it is known. Symbols stand for extents of at least 0; a symbolic extent is
// taken to be different from -1.
func Compare(a, b Dim) (int, bool) {
	switch {
	case a.Sym == b.Sym:
		return cmp.Compare(a.N, b.N), a.Known() || a.N == b.N
	case a.Known() && a.N < 0 && b.N > 0 && b.Sym[0] != '?':
		return -1, true
	case b.Known() && b.N < 0 && a.N > 0 && a.Sym[0] != '?':
		return 1, true
	}
	return 0, false
}

// Div is a/b of whole numbers: of integers, rounded towards zero as ONNX does, or of floats, where it must be whole.
func (r *Algebra) Div(a, b Dim, integer bool) (Dim, bool) {
	switch {
	case b.Known() && b.N == 0:
		return a, false
	case a.Known() && b.Known():
		return Fixed(a.N / b.N), integer || a.N%b.N == 0
	case b.Known() && a.N%b.N == 0:
		return Dim{a.N / b.N, a.Sym}, true
	case a.Sym == b.Sym && a.N%b.N == 0:
		return Fixed(a.N / b.N), true
	case !integer:
		return a, false
	case b.Known() && b.N > 0:
		return r.Affine(a, 1, 0, b.N, 0), true
	}
	return r.Fresh(fmt.Sprintf("(%v)/(%v)", a, b)), true
}

// Mod is a modulo b with the sign of b.
func (r *Algebra) Mod(a, b Dim) (Dim, bool) {
	switch {
	case !b.Known() || b.N == 0:
		return a, false
	case a.Known():
		m := a.N % b.N
		if m != 0 && (m < 0) != (b.N < 0) {
			m += b.N
		}
		return Fixed(m), true
	case a.N%b.N == 0:
		return Fixed(0), true
	}
	return r.Fresh(fmt.Sprintf("(%v)%%(%v)", a, b)), true
}
