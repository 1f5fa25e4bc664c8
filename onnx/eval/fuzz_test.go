package eval

import (
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/onnxtest"
)

// FuzzEvalNode runs every operator on operands and attributes that need not fit: an error is fine, a panic inside the
// operator (which Node turns into an error), or more than MaxFuzzBytes allocated, is not.
func FuzzEvalNode(f *testing.F) {
	var ops []string
	for op := range evalTable {
		ops = append(ops, op)
	}
	sort.Strings(ops)
	for i := range ops {
		for seed := range uint64(12) {
			f.Add(uint16(i), seed)
		}
	}
	f.Fuzz(func(t *testing.T, op uint16, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, uint64(op)))
		n, in := randomNode(ops[int(op)%len(ops)], rng)
		opset := map[string]int{"": []int{1, 6, 9, 11, 13, 18, 21, 24}[rng.IntN(8)]}
		var err error
		if grown := onnxtest.Allocated(func() { _, err = Node(n, opset, in) }); grown > onnxtest.MaxFuzzBytes {
			t.Errorf("%d bytes allocated by node %+v", grown, n)
		}
		if err != nil && (strings.Contains(err.Error(), "runtime error") || strings.Contains(err.Error(), "blas")) {
			t.Fatalf("%v\nnode %+v", err, n)
		}
	})
}

// randomNode makes a node of the given operator with small operands whose shapes agree more often than by chance.
func randomNode(op string, rng *rand.Rand) (*onnx.Node, []*Array) {
	small := func() int64 { return int64(rng.IntN(7)) - 2 }
	ints := func(n int) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = small()
		}
		return v
	}
	rank := rng.IntN(6)
	base := make([]int64, rank)
	for i := range base {
		base[i] = int64(rng.IntN(5))
		if rng.IntN(3) > 0 {
			base[i] = max(base[i], 1)
		}
	}
	n := &onnx.Node{Op: op, Name: "n", Attr: map[string]onnx.Attr{}}
	var in []*Array
	for range rng.IntN(6) {
		var a *Array
		switch rng.IntN(8) {
		case 0:
			k := rng.IntN(5)
			a = IntArray(ints(k), int64(k))
		case 1:
			a = IntArray(ints(1))
		case 2:
			a = nil
		case 3:
			a, _ = newArray([]onnx.DType{onnx.Bool, onnx.Int8, onnx.Int64, onnx.Uint64, onnx.String, onnx.Float64}[rng.IntN(6)], base)
		default:
			shape := append([]int64{}, base...)
			for i := range shape {
				if rng.IntN(8) == 0 {
					shape[i] = int64(rng.IntN(4))
				}
			}
			if rng.IntN(4) == 0 && len(shape) > 1 {
				shape = shape[1:2]
			}
			a, _ = newArray(onnx.Float32, shape)
			for i := range a.F {
				a.F[i] = rng.NormFloat64()
			}
		}
		n.In = append(n.In, "x")
		if a == nil {
			n.In[len(n.In)-1] = ""
		}
		in = append(in, a)
	}
	for range 1 + rng.IntN(3) {
		n.Out = append(n.Out, "y")
	}
	for _, name := range []string{
		"axis", "group", "keepdims", "noop_with_empty_axes", "ceil_mode", "count_include_pad", "num_groups", "blocksize", "k", "batch_dims",
		"allowzero", "to", "transA", "transB", "align_corners", "antialias", "exclude_outside", "q_num_heads", "kv_num_heads", "num_heads",
		"rotary_embedding_dim", "block_size", "block_size", "start", "end", "num_outputs", "storage_order", "training_mode", "dtype",
		"stash_type", "is_causal", "qk_matmul_output_mode", "reverse", "exclusive", "broadcast", "fmod", "p", "output_dtype",
	} {
		if rng.IntN(6) == 0 {
			n.Attr[name] = onnx.IntAttr(small())
		}
	}
	spatial := max(rank-2, 0)
	for _, a := range []struct {
		name  string
		count int
	}{
		{"kernel_shape", spatial}, {"kernel_shape", spatial}, {"kernel_shape", spatial},
		{"axes", rng.IntN(3)}, {"strides", spatial}, {"dilations", spatial}, {"pads", 2 * spatial}, {"output_padding", spatial},
		{"output_shape", spatial}, {"perm", rank}, {"split", rng.IntN(3)}, {"starts", 1}, {"ends", 1},
	} {
		if rng.IntN(6) == 0 {
			n.Attr[a.name] = onnx.IntsAttr(ints(a.count)...)
		}
	}
	for _, a := range []struct {
		name    string
		choices []string
	}{
		{"mode", []string{"constant", "edge", "reflect", "wrap", "linear", "cubic", "nearest", "DCR", "CRD"}},
		{"auto_pad", []string{"VALID", "SAME_UPPER", "SAME_LOWER", "odd"}},
		{"coordinate_transformation_mode", []string{"half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "half_pixel_symmetric"}},
		{"equation", []string{"ij,jk->ik", "...i,...i", "ii->i", "abc->cb", "i,j", "...ij->...ji", "->", "a..b"}},
		{"reduction", []string{"add", "mul", "max", "min", "none"}},
		{"padding_mode", []string{"zeros", "border", "reflection"}},
	} {
		if rng.IntN(3) == 0 {
			n.Attr[a.name] = onnx.StringAttr(a.choices[rng.IntN(len(a.choices))])
		}
	}
	if rng.IntN(3) == 0 {
		n.Attr["scales"] = onnx.Attr{Kind: onnx.AttrFloats, Floats: []float64{1, rng.Float64() * 3, 2, 0.5}[:rng.IntN(5)]}
	}
	if rng.IntN(2) == 0 {
		n.Attr["value"] = onnx.TensorAttr(onnx.FloatTensor([]float32{1}, 1))
	}
	return n, in
}
