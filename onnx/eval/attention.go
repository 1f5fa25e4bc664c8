package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// splitHeads turns [N, S, H·D] into [N, H, S, D]; four axes stay.
func splitHeads(x *Array, heads int64) (*Array, error) {
	if !x.Type.IsFloat() {
		return nil, fmt.Errorf("found type %v, expected floats", x.Type)
	}
	switch {
	case len(x.Shape) == 4:
		return x, nil
	case len(x.Shape) != 3 || heads < 1 || x.Shape[2]%heads != 0:
		return nil, fmt.Errorf("found shape %v for %d heads, expected [N, S, heads·size] or four axes", x.Shape, heads)
	}
	return transpose(x.view([]int64{x.Shape[0], x.Shape[1], heads, x.Shape[2] / heads}), []int{0, 2, 1, 3})
}

// evalAttention is scaled dot-product attention: softmax(cap(q·kᵀ·scale) + bias)·v. Outputs: y, the keys and values
// with the past ones before them, and the scores at the stage that qk_matmul_output_mode names.
func evalAttention(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	qh, kh := c.Int("q_num_heads", 0), c.Int("kv_num_heads", 0)
	q, err := splitHeads(c.in[0], qh)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	k, err := splitHeads(c.in[1], kh)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	v, err := splitHeads(c.in[2], kh)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	past := int64(0)
	if pk, pv := c.arg(4), c.arg(5); pk != nil && pv != nil {
		if k, err = joinAxis(pk, k, 2); err != nil {
			return nil, fmt.Errorf("past key: %w", err)
		}
		if v, err = joinAxis(pv, v, 2); err != nil {
			return nil, fmt.Errorf("past value: %w", err)
		}
		past = pk.Shape[2]
	}
	n, h, s, d := q.Shape[0], q.Shape[1], q.Shape[2], q.Shape[3]
	hk, l, dv := k.Shape[1], k.Shape[2], v.Shape[3]
	if !slices.Equal(k.Shape, []int64{n, hk, l, d}) || !slices.Equal(v.Shape[:3], k.Shape[:3]) || hk == 0 || h%hk != 0 {
		return nil, fmt.Errorf("shapes of query %v, key %v and value %v do not go together", q.Shape, k.Shape, v.Shape)
	}
	bias, err := c.attentionBias(n, h, s, l, past)
	if err != nil {
		return nil, err
	}
	y, err := newArray(q.Type, []int64{n, h, s, dv})
	if err != nil {
		return nil, err
	}
	shown, err := newArray(q.Type, []int64{n, h, s, l})
	if err != nil {
		return nil, err
	}
	scale, limit, mode := c.Float("scale", 1/math.Sqrt(float64(d))), c.Float("softcap", 0), c.Int("qk_matmul_output_mode", 0)
	S, L, D, V := int(s), int(l), int(d), int(dv)
	scores, prob := make([]float64, S*L), make([]float64, S*L)
	for b := range int(n) {
		for head := range int(h) {
			i, j := b*int(h)+head, b*int(hk)+head/int(h/hk)
			clear(scores)
			gemm(scores, L, q.F[i*S*D:(i+1)*S*D], D, false, k.F[j*L*D:(j+1)*L*D], D, true, S, L, D)
			out := shown.F[i*S*L : (i+1)*S*L]
			for p := range scores {
				scores[p] *= scale
				if mode == 0 {
					out[p] = scores[p]
				}
				if limit > 0 {
					scores[p] = limit * math.Tanh(scores[p]/limit)
				}
				if mode == 1 {
					out[p] = scores[p]
				}
				scores[p] += bias.F[i*S*L+p]
			}
			for r := range S {
				row, to := scores[r*L:(r+1)*L], prob[r*L:(r+1)*L]
				clear(to)
				// A row that may attend to nothing gives zeros.
				if slices.ContainsFunc(bias.F[i*S*L+r*L:i*S*L+(r+1)*L], func(v float64) bool { return !math.IsInf(v, -1) }) {
					softmax(to, row)
				}
			}
			switch mode {
			case 2:
				copy(out, scores)
			case 3:
				copy(out, prob)
			}
			gemm(y.F[i*S*V:(i+1)*S*V], V, prob, L, false, v.F[j*L*V:(j+1)*L*V], V, false, S, V, L)
		}
	}
	if len(c.in[0].Shape) == 3 {
		if y, err = transpose(y, []int{0, 2, 1, 3}); err != nil {
			return nil, err
		}
		y = y.view([]int64{n, s, h * dv})
	}
	return []*Array{y, k, v, shown}, nil
}

// joinAxis puts b behind a along an axis.
func joinAxis(a, b *Array, axis int64) (*Array, error) {
	out, err := evalConcat(&evalCall{Node: &onnx.Node{Op: "Concat", Attr: map[string]onnx.Attr{"axis": onnx.IntAttr(axis)}}, in: []*Array{a, b}})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// attentionBias is what is added to the scores [n, h, s, l]: the mask (a mask that is too short ends in -∞), and -∞
// for keys that causality, the window or the padding hides.
func (c *evalCall) attentionBias(n, h, s, l, past int64) (*Array, error) {
	bias, err := newArray(onnx.Float64, []int64{n, h, s, l})
	if err != nil {
		return nil, err
	}
	valid, err := c.ints(6)
	if err != nil {
		return nil, err
	}
	if valid != nil && int64(len(valid)) != n {
		return nil, fmt.Errorf("nonpad_kv_seqlen: found %d values, expected %d", len(valid), n)
	}
	mask, idx, width := c.arg(3), []int(nil), int64(0)
	if mask != nil {
		if len(mask.Shape) == 0 || len(mask.Shape) > 4 || mask.Type != onnx.Bool && !mask.Type.IsFloat() {
			return nil, fmt.Errorf("mask: found shape %v of type %v, expected bool or floats of up to four axes", mask.Shape, mask.Type)
		}
		width = mask.Shape[len(mask.Shape)-1]
		to := []int64{n, h, s, width}
		if full, err := broadcastShapes(mask.Shape, to); err != nil || !slices.Equal(full, to) || width > l {
			return nil, fmt.Errorf("mask: found shape %v, expected one that broadcasts to %v", mask.Shape, []int64{n, h, s, l})
		}
		idx = offsets(to, broadcastStrides(mask.Shape, to))
	}
	causal, left, right := c.Int("is_causal", 0) != 0, c.Int("left_window_size", -1), c.Int("right_window_size", -1)
	for p := range bias.F {
		j, i, b := int64(p)%l, int64(p)/l%s, int64(p)/(l*s*h)
		if mask != nil {
			switch {
			case j >= width:
				bias.F[p] = math.Inf(-1)
			case mask.Type != onnx.Bool:
				bias.F[p] = mask.F[idx[int64(p)/l*width+j]]
			case mask.I[idx[int64(p)/l*width+j]] == 0:
				bias.F[p] = math.Inf(-1)
			}
		}
		at := i + past // the query's place among the keys
		if valid != nil {
			if j >= valid[b] {
				bias.F[p] = math.Inf(-1)
			}
			if c.arg(4) == nil {
				at = i + valid[b] - s
			}
		}
		if causal && j > at || left >= 0 && j < at-left || right >= 0 && j > at+right {
			bias.F[p] = math.Inf(-1)
		}
	}
	return bias, nil
}

// evalRotaryEmbedding rotates pairs of features by the angle of their position.
func evalRotaryEmbedding(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1, 2); err != nil {
		return nil, err
	}
	x, err := splitHeads(c.in[0], c.Int("num_heads", 0))
	if err != nil {
		return nil, err
	}
	n, h, s, d := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	rot := c.Int("rotary_embedding_dim", 0)
	if rot == 0 {
		rot = d
	}
	if rot < 0 || rot > d || rot%2 != 0 {
		return nil, fmt.Errorf("rotary_embedding_dim: found %d, expected an even number up to %d", rot, d)
	}
	half := rot / 2
	cosine, sine := c.in[1], c.in[2]
	ids, err := c.ints(3)
	if err != nil {
		return nil, err
	}
	rows := n * s
	if ids != nil {
		if int64(len(ids)) != n*s || len(cosine.Shape) != 2 {
			return nil, fmt.Errorf("found %d positions and a cache of shape %v, expected %d and a matrix", len(ids), cosine.Shape, n*s)
		}
		rows = cosine.Shape[0]
	}
	if int64(cosine.Len()) != rows*half || !slices.Equal(cosine.Shape, sine.Shape) {
		return nil, fmt.Errorf("found caches of shapes %v and %v, expected %d rows of %d", cosine.Shape, sine.Shape, rows, half)
	}
	y := x.clone()
	interleaved := c.Int("interleaved", 0) != 0
	for b := range n {
		for t := range s {
			row := b*s + t
			if ids != nil {
				if row, err = gatherIndex(ids[row], rows); err != nil {
					return nil, err
				}
			}
			for head := range h {
				at := ((b*h+head)*s + t) * d
				for k := range half {
					i, j := at+k, at+half+k
					if interleaved {
						i, j = at+2*k, at+2*k+1
					}
					co, si := cosine.F[row*half+k], sine.F[row*half+k]
					y.F[i], y.F[j] = co*x.F[i]-si*x.F[j], si*x.F[i]+co*x.F[j]
				}
			}
		}
	}
	if len(c.in[0].Shape) == 3 {
		if y, err = transpose(y, []int{0, 2, 1, 3}); err != nil {
			return nil, err
		}
		y = y.view(c.in[0].Shape)
	}
	return []*Array{y}, nil
}
