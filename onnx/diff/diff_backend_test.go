package diff

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

// kinked names backend tests whose operands lie on kinks or steps, where a difference is no derivative, or beyond what
// a difference can resolve.
var kinked = map[string]string{
	"test_cast_FLOAT_to_BFLOAT16":                        "operands are not finite",
	"test_cast_FLOAT_to_FLOAT16":                         "operands are not finite",
	"test_castlike_FLOAT_to_BFLOAT16_expanded":           "operands are not finite",
	"test_elu_example":                                   "an operand is zero",
	"test_leakyrelu_example":                             "an operand is zero",
	"test_thresholdedrelu_example":                       "an operand is the threshold",
	"test_maxpool_3d_dilations_use_ref_impl":             "maxima are equal",
	"test_resize_downsample_scales_cubic_align_corners":  "the scaled length is not whole: onnxruntime, which the rule follows, reads it otherwise",
	"test_resize_downsample_scales_linear_align_corners": "the scaled length is not whole: onnxruntime, which the rule follows, reads it otherwise",
	"test_pow":           "an operand is zero",
	"test_operator_pow":  "operands are negative",
	"test_operator_sqrt": "operands are negative",
}

func TestBackendModelsDifferentiate(t *testing.T) {
	if testing.Short() {
		t.Skip("several hundred models")
	}
	without := map[string]int{}
	done := 0
	for _, file := range []string{"data/onnx_node/onnx_node.zip", "data/onnx_pytorch/onnx_pytorch.zip"} {
		for _, b := range onnxtest.BackendTests(t, check.Shared(t, file)) {
			g, err := onnx.Parse(b.Model, "")
			if err != nil {
				continue
			}
			if _, err := eval.New(g); err != nil {
				continue
			}
			for _, set := range b.Sets {
				in := map[string]*eval.Array{}
				var wrt []string
				ok := true
				for i, v := range g.Inputs {
					a, typ, err := evaltest.ReadTensor(set[fmt.Sprintf("input_%d.pb", i)])
					if err != nil {
						ok = false
						break
					}
					in[v.Name] = a
					if typ == onnx.Float32 && a.Len() > 0 {
						wrt = append(wrt, v.Name)
					}
				}
				if !ok || len(wrt) == 0 {
					break
				}
				h, wrt, err := bound(g, in, wrt)
				if errors.Is(err, ErrNoRule) {
					without[err.Error()[strings.Index(err.Error(), "("):]]++
					break
				}
				if err != nil || len(wrt) == 0 {
					break
				}
				done++
				t.Run(b.Name, func(t *testing.T) {
					if why := kinked[b.Name]; why != "" {
						t.Skip(why)
					}
					checkDerivativesBy(t, h, wrt, in, rand.New(rand.NewPCG(3, 4)), 1e-4, 1e-7)
				})
				break
			}
		}
	}
	t.Logf("%d models differentiated; without a rule:", done)
	for _, k := range onnx.SortedKeys(without) {
		t.Logf("%4d %s", without[k], k)
	}
}

// bound puts integer operands, and float ones that the rules need as constants, into the graph.
func bound(g *onnx.Graph, in map[string]*eval.Array, wrt []string) (*onnx.Graph, []string, error) {
	var first error
	for range 2 {
		h := g.Shallow()
		h.Inputs = nil
		for _, v := range g.Inputs {
			if slices.Contains(wrt, v.Name) {
				v.Shape = graphtest.DimsOf(in[v.Name].Shape...)
				h.Inputs = append(h.Inputs, v)
			} else {
				h.Init[v.Name] = in[v.Name].Tensor()
			}
		}
		probe := h.Shallow()
		if err := probe.Infer(); err != nil {
			return nil, nil, err
		}
		var of []string
		for _, v := range probe.Outputs {
			if v.Type == onnx.Float32 {
				of = append(of, v.Name)
			}
		}
		if len(of) == 0 {
			return nil, nil, nil
		}
		h.Outputs = slices.DeleteFunc(h.Outputs, func(v onnx.Value) bool { return !slices.Contains(of, v.Name) })
		errs := Unsupported(h, Options{Wrt: wrt, Of: of})
		if len(errs) == 0 {
			return h, wrt, nil
		}
		if first == nil {
			first = errs[0]
		}
		wrt = wrt[:1]
	}
	return nil, nil, first
}
