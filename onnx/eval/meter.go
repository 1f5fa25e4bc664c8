package eval

import (
	"fmt"
	"runtime"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/symbolic"
)

// evalMeter counts the bytes of a run's arrays, the turns of its loops and the work of its steps.
type evalMeter struct {
	room, alive int64
	turned      int    // nodes that loops have evaluated, and their turns
	idle        int64  // bytes given up since they were last collected
	left        *int64 // the work that steps may still take, as held counts it
}

// mostIdle is how many bytes of arrays that nothing reads may lie about.
const mostIdle = 64 << 20

// bytes is what an array takes.
func (a *Array) bytes() int64 {
	if a == nil {
		return 0
	}
	n := int64(8*len(a.F) + 8*len(a.I) + 16*len(a.S))
	for _, s := range a.S {
		n += int64(len(s))
	}
	return n
}

func (m *evalMeter) take(a *Array) { m.alive += a.bytes() }

// release is leave of an array that something else counts from now on.
func (m *evalMeter) release(a *Array) { m.alive -= a.bytes() }

// leave counts an array that nothing reads any more.
func (m *evalMeter) leave(a *Array) {
	b := a.bytes()
	m.alive -= b
	m.spent(b)
}

// spent counts memory that can be collected.
func (m *evalMeter) spent(b int64) {
	if m.idle += b; m.idle > mostIdle {
		m.idle = 0
		runtime.GC()
	}
}

// admit refuses a step whose results, with the tables of positions that operators make, have no room. Their shapes are
// inferred from those of the operands and from the values of small ones.
func (m *evalMeter) admit(s *evalStep, in []*Array) error {
	small := true
	for _, a := range in {
		small = small && (a == nil || a.Len() <= symbolic.MaxInts)
	}
	n := &onnx.Node{Op: s.n.Op, Attr: s.n.Attr, In: make([]string, len(in)), Out: make([]string, len(s.n.Out))}
	g := &onnx.Graph{Opset: map[string]int{"": s.opset}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	for i, a := range in {
		if a == nil {
			continue
		}
		n.In[i] = fmt.Sprint("x", i)
		if a.Len() <= symbolic.MaxInts {
			g.Init[n.In[i]] = a.Tensor()
			continue
		}
		v := onnx.Value{Name: n.In[i], Type: a.Type, Shape: make([]onnx.Dim, len(a.Shape))}
		for k, d := range a.Shape {
			v.Shape[k] = onnx.Fixed(d)
		}
		g.Info[v.Name] = v
	}
	for i, name := range s.n.Out {
		if name != "" {
			n.Out[i] = fmt.Sprint("y", i)
		}
	}
	where := func(err error) error {
		return fmt.Errorf("node %s (%s, opset %d): %w", onnx.Quote(s.n.Name), onnx.OpName(s.n), s.opset, err)
	}
	if onnx.HasGraph(n) {
		return nil // its nodes are counted one by one
	}
	z := footprint.NewSizes(g, true)
	if err := z.F.Node(n); err != nil {
		return nil // the operator says what is wrong
	}
	h, err := z.Node(n)
	if err != nil {
		if small && m.alive < m.room/2 {
			return nil
		}
		return where(err)
	}
	if h.Work > *m.left {
		return where(fmt.Errorf("found %d operations, expected at most %d", h.Work, *m.left))
	}
	*m.left -= h.Work
	need := int64(0)
	for _, b := range h.Results {
		need = footprint.Plus(need, b)
	}
	scratch := h.Scratch
	if all := footprint.Plus(footprint.Plus(m.alive, need), scratch); all > m.room {
		return where(fmt.Errorf("%w: found values of %s at a time, expected at most %s", footprint.ErrTooLarge, disk.Size(all), disk.Size(m.room)))
	}
	m.spent(scratch)
	return nil
}
