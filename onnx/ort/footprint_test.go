package ort

import (
	"errors"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/footprint"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

// bombs are small graphs of z [1, 4] that ask for more memory than they may have, by one value or by many together.
var bombs = []struct {
	name  string
	build func(b *onnx.Builder) string
}{
	{"constant", func(b *onnx.Builder) string {
		return b.OpAttr("ConstantOfShape", nil, b.Ints(1<<28))
	}},
	{"repeated latents", func(b *onnx.Builder) string { return b.Op("Expand", "z", b.Ints(1<<26, 4)) }},
	{"tiles", func(b *onnx.Builder) string { return b.Op("Tile", "z", b.Ints(1<<13, 1<<13)) }},
	{"outer sum", func(b *onnx.Builder) string {
		return b.Op("Add", b.Op("Expand", "z", b.Ints(30000, 1, 4)), b.Op("Expand", "z", b.Ints(1, 30000, 4)))
	}},
	{"outer choice", func(b *onnx.Builder) string {
		x := b.Op("Expand", "z", b.Ints(20000, 1, 4))
		return b.Op("Where", b.Op("Greater", x, b.Scalar(0)), x, b.Op("Expand", "z", b.Ints(1, 20000, 4)))
	}},
	{"outer product", func(b *onnx.Builder) string {
		x := b.Op("Expand", "z", b.Ints(20000, 4))
		return b.Op("MatMul", x, b.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), x))
	}},
	{"products between operands", func(b *onnx.Builder) string {
		x := b.Op("Expand", "z", b.Ints(512, 4))
		return b.OpAttr("Einsum", onnx.Attrs("equation", "ai,bj,ck->abc"), x, x, x)
	}},
	{"unit matrix", func(b *onnx.Builder) string {
		return b.OpAttr("EyeLike", onnx.Attrs("dtype", int(onnx.Float32)), b.Op("Expand", b.Scalar(1), b.Ints(20000, 20000)))
	}},
	{"range", func(b *onnx.Builder) string { return b.Op("Range", b.Scalar(0), b.Scalar(2e8), b.Scalar(1)) }},
	{"range of fractions", func(b *onnx.Builder) string { return b.Op("Range", b.Scalar(0), b.Scalar(5e7), b.Scalar(0.25)) }},
	{"one of many", func(b *onnx.Builder) string {
		x := b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Int64)), b.Op("Expand", "z", b.Ints(5000, 4)))
		return b.Op("OneHot", x, b.Tensor(onnx.IntTensor([]int64{20000})), b.Tensor(onnx.FloatTensor([]float32{0, 1}, 2)))
	}},
	{"padding", func(b *onnx.Builder) string { return b.Op("Pad", "z", b.Ints(0, 0, 1<<14, 1<<14)) }},
	{"enlarged image", func(b *onnx.Builder) string {
		return b.Op("Resize", b.Op("Reshape", "z", b.Ints(1, 1, 2, 2)), "", b.Tensor(onnx.FloatTensor([]float32{1, 1, 10000, 10000}, 4)))
	}},
	{"stretched image", func(b *onnx.Builder) string {
		return b.OpAttr("ConvTranspose", onnx.Attrs("strides", []int64{15000, 15000}), b.Op("Reshape", "z", b.Ints(1, 1, 2, 2)), graphtest.Draw(b, 1, 1, 1, 1))
	}},
	{"one part many times", func(b *onnx.Builder) string {
		x := b.Op("Tile", "z", b.Ints(1024, 256))
		parts := make([]string, 300)
		for i := range parts {
			parts[i] = x
		}
		return b.OpAttr("Concat", onnx.Attrs("axis", 0), parts...)
	}},
	{"many values kept", func(b *onnx.Builder) string {
		x := b.Op("Expand", "z", b.Ints(1<<20, 4))
		var kept []string
		for range 30 {
			x = b.Op("Sin", x)
			kept = append(kept, x)
		}
		return b.Op("Sum", kept...)
	}},
}

// Each bomb is refused by both engines, with the node, what it takes and what it may; refusing takes little
// memory. What is refused would take more than the limit: a value of n elements of float32 takes 4n bytes.
func TestGraphsThatTakeTooMuchAreRefused(t *testing.T) {
	for _, c := range bombs {
		g := graphtest.BombGraph(t, c.build)
		for name, open := range map[string]func() error{
			"onnxruntime": func() error { _, err := Open(g, Options{}); return err },
			"evaluator": func() error {
				e, err := eval.New(g)
				if err == nil {
					_, err = e.Run(map[string]*eval.Array{"z": eval.FloatArray([]float64{1, 2, 3, 4}, 1, 4)})
				}
				return err
			},
			"evaluator of an open shape": func() error {
				h := g.Shallow()
				h.Inputs[0].Shape = nil
				e, err := eval.New(h)
				if err == nil {
					_, err = e.Run(map[string]*eval.Array{"z": eval.FloatArray([]float64{1, 2, 3, 4}, 1, 4)})
				}
				return err
			},
		} {
			var err error
			took := onnxtest.Allocated(func() { err = open() })
			if !errors.Is(err, footprint.ErrTooLarge) {
				t.Errorf("%s, %s: found error %v, expected %v", c.name, name, err, footprint.ErrTooLarge)
				continue
			}
			for _, part := range []string{"node ", "opset 18", "expected at most"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s, %s: %v, expected it to say %q", c.name, name, err, part)
				}
			}
			if most := uint64(2 * footprint.DefaultRoom); took > most {
				t.Errorf("%s, %s: took %d bytes, expected at most %d", c.name, name, took, most)
			}
		}
	}
}
