package eval

import (
	"fmt"
	"slices"

	"lenskit/onnx"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
)

// gemm adds op(a)·op(b) to the m×n matrix c; op(a) is m×k. The leading dimensions are the distances between rows.
func gemm(c []float64, ldc int, a []float64, lda int, ta bool, b []float64, ldb int, tb bool, m, n, k int) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	ma := blas64.General{Rows: m, Cols: k, Stride: lda, Data: a}
	mb := blas64.General{Rows: k, Cols: n, Stride: ldb, Data: b}
	opA, opB := blas.NoTrans, blas.NoTrans
	if ta {
		ma.Rows, ma.Cols, opA = k, m, blas.Trans
	}
	if tb {
		mb.Rows, mb.Cols, opB = n, k, blas.Trans
	}
	blas64.Gemm(opA, opB, 1, ma, mb, 1, blas64.General{Rows: m, Cols: n, Stride: ldc, Data: c})
}

// evalMatMul is numpy.matmul: the last two axes are matrices, those before broadcast, and a vector on either side is
// a row or column whose axis is dropped again.
func evalMatMul(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	return one(matMul(c.in[0], c.in[1]))
}

func matMul(a, b *Array) (*Array, error) {
	if len(a.Shape) == 0 || len(b.Shape) == 0 {
		return nil, fmt.Errorf("found shapes %v and %v, expected at least vectors", a.Shape, b.Shape)
	}
	if a.Type != b.Type && !(a.Type.IsFloat() && b.Type.IsFloat()) || !a.Type.IsFloat() && !a.Type.IsInt() {
		return nil, fmt.Errorf("found types %v and %v, expected numbers of one type", a.Type, b.Type)
	}
	as, bs := a.Shape, b.Shape
	if len(as) == 1 {
		as = []int64{1, as[0]}
	}
	if len(bs) == 1 {
		bs = []int64{bs[0], 1}
	}
	ra, rb := len(as)-2, len(bs)-2
	m, k, n := as[ra], as[ra+1], bs[rb+1]
	if bs[rb] != k {
		return nil, fmt.Errorf("shapes %v and %v do not multiply", a.Shape, b.Shape)
	}
	batch, err := broadcastShapes(as[:ra], bs[:rb])
	if err != nil {
		return nil, err
	}
	full := append(slices.Clone(batch), m, n)
	if _, err := Elements(full); err != nil {
		return nil, err
	}
	shape := slices.Clone(batch)
	if len(a.Shape) > 1 {
		shape = append(shape, m)
	}
	if len(b.Shape) > 1 {
		shape = append(shape, n)
	}
	out, err := newArray(a.Type, shape)
	if err != nil || out.Len() == 0 {
		return out, err
	}
	oa := offsets(batch, broadcastStrides(as[:ra], batch))
	ob := offsets(batch, broadcastStrides(bs[:rb], batch))
	mk, kn, mn := int(m*k), int(k*n), int(m*n)
	for i := range oa {
		pa, pb, pc := oa[i]*mk, ob[i]*kn, i*mn
		if a.Type.IsFloat() {
			gemm(out.F[pc:pc+mn], int(n), a.F[pa:pa+mk], int(k), false, b.F[pb:pb+kn], int(n), false, int(m), int(n), int(k))
		} else {
			intGemm(a.Type, out.I[pc:pc+mn], a.I[pa:pa+mk], b.I[pb:pb+kn], int(n), int(k))
		}
	}
	return out, nil
}

func intGemm(t onnx.DType, c, a, b []int64, n, k int) {
	for i := range c {
		s := int64(0)
		for l := range k {
			s += a[i/n*k+l] * b[l*n+i%n]
		}
		c[i] = onnx.Wrap(t, s)
	}
}

func evalGemm(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1, 2); err != nil {
		return nil, err
	}
	a, b, add := c.in[0], c.in[1], c.arg(2)
	if len(a.Shape) != 2 || len(b.Shape) != 2 {
		return nil, fmt.Errorf("found shapes %v and %v, expected matrices", a.Shape, b.Shape)
	}
	ta, tb := c.Int("transA", 0) != 0, c.Int("transB", 0) != 0
	m, k, kb, n := a.Shape[0], a.Shape[1], b.Shape[0], b.Shape[1]
	if ta {
		m, k = k, m
	}
	if tb {
		kb, n = n, kb
	}
	if k != kb {
		return nil, fmt.Errorf("shapes %v and %v (transA %v, transB %v) do not multiply", a.Shape, b.Shape, ta, tb)
	}
	out, err := newArray(a.Type, []int64{m, n})
	if err != nil {
		return nil, err
	}
	gemm(out.F, int(n), a.F, int(a.Shape[1]), ta, b.F, int(b.Shape[1]), tb, int(m), int(n), int(k))
	alpha, beta := c.Float("alpha", 1), c.Float("beta", 1)
	if alpha != 1 {
		for i := range out.F {
			out.F[i] *= alpha
		}
	}
	if add != nil && beta != 0 {
		if add, err = add.broadcastTo(out.Shape); err != nil {
			return nil, err
		}
		for i, v := range add.F {
			out.F[i] += beta * v
		}
	}
	return []*Array{out}, nil
}
