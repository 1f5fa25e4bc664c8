package diff

import (
	"slices"
	"strings"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/symbolic"
)

// bilinear is the forward rule of convolutions: linear in data and weights, with an optional bias in operand 2.
func bilinear(f *fwd) string {
	var terms []string
	x, w := f.in(0), f.in(1)
	if t := f.tan(0); t != "" {
		terms = append(terms, f.same(t, w))
	}
	if t := f.tan(1); t != "" {
		terms = append(terms, f.same(x, t))
	}
	for i, s := range terms {
		terms[i] = f.as(s, f.tanShape(f.out(0)))
	}
	if t := f.tan(2); t != "" {
		terms = append(terms, f.perChannel(t, f.in(0)))
	}
	return f.expand(f.total(terms...), f.tanShape(f.out(0)), f.like(f.out(0)))
}

func gemmBack(b *back) []string {
	// Y = α A' B' + β C with A' = A or Aᵀ, B' = B or Bᵀ
	alpha, beta := b.n.Float("alpha", 1), b.n.Float("beta", 1)
	ta, tb := b.n.Int("transA", 0), b.n.Int("transB", 0)
	g, a, w := b.grad(0), b.in(0), b.in(1)
	gemm := func(x, y string, tx, ty int64) string {
		kv := []any{}
		if tx != 0 {
			kv = append(kv, "transA", tx)
		}
		if ty != 0 {
			kv = append(kv, "transB", ty)
		}
		if alpha != 1 {
			kv = append(kv, "alpha", alpha)
		}
		return b.OpAttr("Gemm", onnx.Attrs(kv...), x, y)
	}
	out := make([]string, 3)
	if b.want(0) {
		if ta == 0 { // dA = α dY B'ᵀ
			out[0] = gemm(g, w, 0, 1-tb)
		} else { // dA = α B' dYᵀ
			out[0] = gemm(w, g, tb, 1)
		}
	}
	if b.want(1) {
		if tb == 0 { // dB = α A'ᵀ dY
			out[1] = gemm(a, g, 1-ta, 0)
		} else { // dB = α dYᵀ A'
			out[1] = gemm(g, a, 1, ta)
		}
	}
	if b.want(2) { // dC = β dY
		out[2] = b.sumTo(b.scale(g, beta), b.shape(b.out(0)), b.in(2))
	}
	return out
}

func gemmFwd(f *fwd) string {
	attr := map[string]onnx.Attr{}
	for k, v := range f.n.Attr {
		if k != "beta" {
			attr[k] = v
		}
	}
	var terms []string
	if t := f.tan(0); t != "" {
		terms = append(terms, f.as(f.OpAttr("Gemm", attr, t, f.in(1)), f.tanShape(f.out(0))))
	}
	if t := f.tan(1); t != "" {
		terms = append(terms, f.as(f.OpAttr("Gemm", attr, f.in(0), t), f.tanShape(f.out(0))))
	}
	if t := f.tan(2); t != "" {
		terms = append(terms, f.scale(t, f.n.Float("beta", 1)))
	}
	return f.expand(f.total(terms...), f.tanShape(f.out(0)), f.like(f.out(0)))
}

// matMulBack: dA = dY Bᵀ, dB = Aᵀ dY, summed over the batch axes that were broadcast. A vector operand is a matrix of
// one row or column.
func matMulBack(b *back) []string {
	g, x, y := b.grad(0), b.in(0), b.in(1)
	rx, ry := b.rank(x), b.rank(y)
	if rx == 0 || ry == 0 {
		failf("operands of rank %d and %d", rx, ry)
	}
	sx, sy := b.shape(x), b.shape(y)
	one := onnx.Dim{N: 1}
	x2, y2 := x, y
	if rx == 1 {
		x2, sx = b.unsqueeze(x, 0), []onnx.Dim{one, sx[0]}
	}
	if ry == 1 {
		y2, sy = b.unsqueeze(y, 1), []onnx.Dim{sy[0], one}
	}
	if rx == 1 && ry == 1 {
		g = b.reshape(g, []onnx.Dim{one, one}, "")
	} else if rx == 1 {
		g = b.unsqueeze(g, len(sy)-2)
	} else if ry == 1 {
		g = b.unsqueeze(g, len(sx)-1)
	}
	batch, _ := b.Inf.Broadcast(sx[:len(sx)-2], sy[:len(sy)-2])
	if !symbolic.Among(batch, sx, sy) {
		batch = nil
	}
	m, k, n := sx[len(sx)-2], sx[len(sx)-1], sy[len(sy)-1]
	if batch != nil {
		b.as(g, append(slices.Clone(batch), m, n))
	}
	full := func(r, c onnx.Dim) []onnx.Dim {
		if batch == nil {
			return nil
		}
		return append(slices.Clone(batch), r, c)
	}
	out := make([]string, 2)
	if b.want(0) {
		var d string
		switch {
		case len(sy) == 2 && len(sx) == 2:
			d = b.as(b.OpAttr("Gemm", onnx.Attrs("transB", 1), g, y2), sx)
		case len(sy) == 2: // rows of all batches at once, so that the weights need no transposed copy
			rows := b.reshape(g, []onnx.Dim{b.rowsOf(sx), n}, "")
			d = b.reshape(b.as(b.OpAttr("Gemm", onnx.Attrs("transB", 1), rows, y2), []onnx.Dim{b.rowsOf(sx), k}), sx, x)
		default:
			d = b.as(b.Op("MatMul", g, b.swapLast(y2)), full(m, k))
		}
		out[0] = b.fit(d, full(m, k), x, sx)
	}
	if b.want(1) {
		var d string
		switch {
		case len(sy) == 2:
			rows, xs := b.rowsOf(sx), x2
			gs := g
			if len(sx) > 2 {
				xs = b.reshape(x2, []onnx.Dim{rows, k}, "")
				gs = b.reshape(g, []onnx.Dim{rows, n}, "")
			}
			d = b.as(b.OpAttr("Gemm", onnx.Attrs("transA", 1), xs, gs), sy)
		default:
			d = b.as(b.Op("MatMul", b.swapLast(x2), g), full(k, n))
		}
		out[1] = b.fit(d, full(k, n), y, sy)
	}
	return out
}

// fit sums d over broadcast batch axes and gives it the shape of operand x, whose matrix form has the shape s.
func (b *back) fit(d string, full []onnx.Dim, x string, s []onnx.Dim) string {
	if b.rank(x) == len(s) {
		if len(b.shape(d)) == len(s) && sameShape(b.shape(d), s) {
			return d
		}
		return b.sumTo(d, full, x)
	}
	// A vector: everything but its own axis is summed.
	if len(full) > 2 && !sameShape(b.shape(d), s) {
		var lead []int64
		for i := range full[:len(full)-2] {
			lead = append(lead, int64(i))
		}
		d = b.as(b.reduce("ReduceSum", d, lead, 0), s)
	}
	return b.reshape(d, b.shape(x), x)
}

// extentOf is the extent a·b of axes that become one.
func extentOf(a, b int64) int64 {
	n := footprint.Product(a, b)
	if n > onnx.MaxExtent {
		failf("axes of %d and %d elements become one, expected at most %d", a, b, onnx.MaxExtent)
	}
	return n
}

// rowsOf is the number of rows of a stack of matrices of shape s, a symbol of its own when it is not known.
func (t *tape) rowsOf(s []onnx.Dim) onnx.Dim {
	n, sym := int64(1), ""
	for _, d := range s[:len(s)-1] {
		switch {
		case d.Known():
			n = extentOf(n, d.N)
		case sym == "":
			n, sym = extentOf(n, d.N), d.Sym
		default:
			return onnx.Dim{N: 1, Sym: "?rows"}
		}
	}
	if n == 0 {
		return onnx.Dim{}
	}
	return onnx.Dim{N: n, Sym: sym}
}

// unsqueeze inserts an axis of extent 1.
func (t *tape) unsqueeze(a string, axis int) string {
	return t.Op("Unsqueeze", a, t.Ints(int64(axis)))
}

func matMulFwd(f *fwd) string {
	var terms []string
	if t := f.tan(0); t != "" {
		terms = append(terms, f.Op("MatMul", t, f.in(1)))
	}
	if t := f.tan(1); t != "" {
		terms = append(terms, f.Op("MatMul", f.in(0), t))
	}
	for i, s := range terms {
		terms[i] = f.as(s, f.tanShape(f.out(0)))
	}
	return f.total(terms...)
}

// einsum is an equation taken apart, with the ellipsis written out in letters of its own.
type einsum struct {
	in  []string
	out string
}

func (c *call) einsum() einsum {
	eq := strings.ReplaceAll(c.n.Str("equation", ""), " ", "")
	lhs, rhs, explicit := strings.Cut(eq, "->")
	e := einsum{in: strings.Split(lhs, ","), out: rhs}
	if len(e.in) != len(c.n.In) {
		failf("the equation %q has %d operands, the node %d", eq, len(e.in), len(c.n.In))
	}
	if strings.Contains(eq, "...") {
		dots := 0
		for i, s := range e.in {
			if strings.Contains(s, "...") {
				k := c.rank(c.in(i)) - len(strings.Replace(s, "...", "", 1))
				if k < 0 {
					failf("the equation %q does not fit the operands", eq)
				}
				dots = max(dots, k)
			}
		}
		letters := ""
		for r := 'z'; len(letters) < dots && r >= 'A'; r-- {
			if !strings.ContainsRune(eq, r) && (r >= 'a' || r <= 'Z') {
				letters += string(r)
			}
		}
		for i, s := range e.in {
			if strings.Contains(s, "...") {
				k := c.rank(c.in(i)) - len(strings.Replace(s, "...", "", 1))
				e.in[i] = strings.Replace(s, "...", letters[dots-k:], 1)
			}
		}
		if explicit {
			e.out = strings.Replace(e.out, "...", letters, 1)
		} else {
			e.out = letters
		}
	}
	if !explicit {
		// Letters that occur once, in alphabetical order.
		count := map[rune]int{}
		for _, s := range e.in {
			for _, r := range s {
				count[r]++
			}
		}
		var once []rune
		for r, k := range count {
			if k == 1 && !strings.ContainsRune(e.out, r) {
				once = append(once, r)
			}
		}
		slices.Sort(once)
		e.out += string(once)
	}
	for i, s := range e.in {
		if c.rank(c.in(i)) != len(s) {
			failf("operand %d has rank %d, its subscripts are %q", i, c.rank(c.in(i)), s)
		}
		for j, r := range s {
			if strings.ContainsRune(s[j+1:], r) {
				failf("the subscript %c is repeated within %q", r, s)
			}
		}
	}
	return e
}

// dims is the extent of each letter; broadcast ones take the larger.
func (e einsum) dims(c *call) map[rune]onnx.Dim {
	m := map[rune]onnx.Dim{}
	for i, s := range e.in {
		for j, r := range s {
			d := c.shape(c.in(i))[j]
			if old, ok := m[r]; !ok || old == (onnx.Dim{N: 1}) {
				m[r] = d
			}
		}
	}
	return m
}

// einsumBack: the gradient of an operand is the product of dY and the other operands, summed to its letters. A letter
// that stands nowhere else was summed alone: the gradient is broadcast along it.
func einsumBack(b *back) []string {
	e := b.einsum()
	dims := e.dims(&b.call)
	out := make([]string, len(e.in))
	for i, s := range e.in {
		if !b.want(i) {
			continue
		}
		subs, ops := []string{e.out}, []string{b.grad(0)}
		for k, other := range e.in {
			if k != i {
				subs, ops = append(subs, other), append(ops, b.in(k))
			}
		}
		have := strings.Join(subs, "")
		result, shape := "", []onnx.Dim{}
		full := []onnx.Dim{}
		for _, r := range s {
			full = append(full, dims[r])
			if strings.ContainsRune(have, r) {
				result += string(r)
				shape = append(shape, dims[r])
			}
		}
		d := b.as(b.OpAttr("Einsum", onnx.Attrs("equation", strings.Join(subs, ",")+"->"+result), ops...), shape)
		if len(result) < len(s) {
			for j, r := range s {
				if !strings.ContainsRune(have, r) {
					d = b.unsqueeze(d, j)
				}
			}
			// Letters without an extent of their own in d broadcast to the operand.
			if !sameShape(full, b.shape(b.in(i))) {
				failf("a broadcast extent is summed away")
			}
			out[i] = d
			continue
		}
		out[i] = b.sumTo(d, full, b.in(i))
	}
	return out
}

func einsumFwd(f *fwd) string {
	f.einsum()
	var terms []string
	for i := range f.n.In {
		if t := f.tan(i); t != "" {
			in := slices.Clone(f.n.In)
			in[i] = t
			terms = append(terms, f.as(f.same(in...), f.tanShape(f.out(0))))
		}
	}
	return f.total(terms...)
}
