package eval

import (
	"fmt"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/footprint"
)

// maxLoopWork is the largest number of nodes that loops may evaluate in one run of a graph; each turn counts as one more.
const maxLoopWork = 1 << 21

// evalIf runs one of the two graphs in its attributes; they see the values of the graph around them.
func evalIf(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	cond, err := c.truth(0)
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	if cond {
		return c.runSub("then_branch")
	}
	return c.runSub("else_branch")
}

// truth is the one bool that input i holds.
func (c *evalCall) truth(i int) (bool, error) { return truthOf(c.in[i]) }

func truthOf(a *Array) (bool, error) {
	if a.Type != onnx.Bool || a.Len() != 1 {
		return false, fmt.Errorf("found shape %v of type %v, expected one bool", a.Shape, a.Type)
	}
	return a.I[0] != 0, nil
}

// turn counts a turn of a loop over p.
func (c *evalCall) turn(p *evalProgram) error {
	if c.meter.turned += 1 + len(p.steps); c.meter.turned > maxLoopWork {
		return fmt.Errorf("found loops that evaluate more than %d nodes", maxLoopWork)
	}
	return nil
}

// stack collects the rows that the turns of a loop give.
type stack struct {
	rows  []*Array
	size  int
	meter *evalMeter
}

// carry counts what goes into the next turn in the place of what came from the last one.
func (m *evalMeter) carry(was, now []*Array) {
	for _, a := range now {
		m.take(a)
	}
	for _, a := range was {
		m.leave(a)
	}
}

// done counts the rows no more.
func (s *stack) done() {
	for _, a := range s.rows {
		s.meter.leave(a)
	}
}

func (s *stack) push(a *Array) error {
	if len(s.rows) > 0 && (s.rows[0].Type != a.Type || fmt.Sprint(s.rows[0].Shape) != fmt.Sprint(a.Shape)) {
		return fmt.Errorf("found a row of shape %v after one of %v", a.Shape, s.rows[0].Shape)
	}
	if s.size += a.Len(); s.size > maxElements {
		return fmt.Errorf("found more than %d elements in the rows of a loop", maxElements)
	}
	s.rows = append(s.rows, a)
	s.meter.take(a)
	if all := footprint.Plus(s.meter.alive, 8*int64(s.size)); all > s.meter.room { // they are put together in a copy
		return fmt.Errorf("%w: found values of %s at a time, expected at most %s", footprint.ErrTooLarge, disk.Size(all), disk.Size(s.meter.room))
	}
	return nil
}

// stacks are as many empty stacks.
func (c *evalCall) stacks(n int) []stack {
	s := make([]stack, n)
	for i := range s {
		s[i].meter = c.meter
	}
	return s
}

// array puts the rows side by side along a new axis, the last row first with backward. Where there are no rows like
// tells the type and the shape of one.
func (s *stack) array(axis int64, backward bool, like onnx.Value) (*Array, error) {
	row := like.Type
	var shape []int64
	if len(s.rows) > 0 {
		row, shape = s.rows[0].Type, s.rows[0].Shape
	} else {
		d, ok := onnx.Known(like.Shape)
		if !ok {
			return nil, fmt.Errorf("found no turns and no shape of %q", like.Name)
		}
		shape = d
	}
	at, err := axisIndex(axis, len(shape)+1)
	if err != nil {
		return nil, err
	}
	full := append(append(append([]int64{}, shape[:at]...), int64(len(s.rows))), shape[at:]...)
	out, err := newArray(row, full)
	if err != nil {
		return nil, err
	}
	inner := int(volume(shape[at:]))
	for k, r := range s.rows {
		if backward {
			k = len(s.rows) - 1 - k
		}
		for o := range int(volume(shape[:at])) {
			from, to := o*inner, (o*len(s.rows)+k)*inner
			switch {
			case out.F != nil:
				copy(out.F[to:to+inner], r.F[from:])
			case out.S != nil:
				copy(out.S[to:to+inner], r.S[from:])
			default:
				copy(out.I[to:to+inner], r.I[from:])
			}
		}
	}
	return out, nil
}

// evalLoop runs its body until the condition or the number of turns ends it.
func evalLoop(c *evalCall) ([]*Array, error) {
	p, body := c.sub["body"], c.Attr["body"].Graph
	if p == nil {
		return nil, fmt.Errorf("attribute %q is missing", "body")
	}
	kept := max(len(c.in)-2, 0)
	if len(p.inputs) != kept+2 || len(p.outputs) < kept+1 {
		return nil, fmt.Errorf("body: found %d inputs and %d outputs, expected %d and at least %d", len(p.inputs), len(p.outputs), kept+2, kept+1)
	}
	most := int64(-1)
	if a := c.arg(0); a != nil {
		v, err := c.ints(0)
		if err != nil || len(v) != 1 {
			return nil, fmt.Errorf("number of turns: found shape %v of type %v, expected one integer", a.Shape, a.Type)
		}
		most = max(v[0], 0)
	}
	cond := true
	if c.arg(1) != nil {
		var err error
		if cond, err = c.truth(1); err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
	}
	shapes := [2][]int64{{}, {}}
	for i := range shapes {
		if len(body.Inputs[i].Shape) == 1 {
			shapes[i] = []int64{1}
		}
	}
	var state []*Array
	for i := range kept {
		if c.in[2+i] == nil {
			return nil, fmt.Errorf("input %d is left out", 2+i)
		}
		state = append(state, c.in[2+i])
	}
	c.meter.carry(nil, state)
	rows := c.stacks(len(p.outputs) - 1 - kept)
	for turn := int64(0); cond && turn != most; turn++ {
		if err := c.turn(p); err != nil {
			return nil, err
		}
		in := append([]*Array{{Type: onnx.Int64, Shape: shapes[0], I: []int64{turn}}, {Type: onnx.Bool, Shape: shapes[1], I: []int64{1}}}, state...)
		out, err := c.runSub("body", in...)
		if err != nil {
			return nil, fmt.Errorf("turn %d: %w", turn, err)
		}
		if cond, err = truthOf(out[0]); err != nil {
			return nil, fmt.Errorf("turn %d: condition: %w", turn, err)
		}
		c.meter.carry(state, out[1:1+kept])
		state = out[1 : 1+kept : 1+kept]
		for k := range rows {
			if err := rows[k].push(out[1+kept+k]); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range state {
		c.meter.release(a)
	}
	for k := range rows {
		if !c.names(kept + k) {
			rows[k].done()
			state = append(state, nil)
			continue
		}
		a, err := rows[k].array(0, false, body.Outputs[1+kept+k])
		if err != nil {
			return nil, err
		}
		rows[k].done()
		state = append(state, a)
	}
	return state, nil
}

// evalScan runs its body for each slice of the scanned operands, from operator set 9 on.
func evalScan(c *evalCall) ([]*Array, error) {
	p, body := c.sub["body"], c.Attr["body"].Graph
	if p == nil {
		return nil, fmt.Errorf("attribute %q is missing", "body")
	}
	if c.opset < 9 {
		return nil, fmt.Errorf("found operator set %d, expected 9 or later: %w", c.opset, ErrNoEval)
	}
	if err := c.need(len(c.in)); err != nil {
		return nil, err
	}
	taken := int(c.Int("num_scan_inputs", 0))
	kept := len(c.in) - taken
	if taken < 1 || kept < 0 || len(p.inputs) != len(c.in) || len(p.outputs) < kept {
		return nil, fmt.Errorf("body: found %d inputs and %d outputs for %d operands, %d of them scanned", len(p.inputs), len(p.outputs), len(c.in), taken)
	}
	pick := func(name string, i int) int64 {
		if v := c.Ints(name); i < len(v) {
			return v[i]
		}
		return 0
	}
	turns := int64(-1)
	axes := make([]int, taken)
	for i, x := range c.in[kept:] {
		var err error
		if axes[i], err = axisIndex(pick("scan_input_axes", i), len(x.Shape)); err != nil {
			return nil, err
		}
		if len(x.Shape) == 0 {
			return nil, fmt.Errorf("input %d: found a number, expected an axis to scan", kept+i)
		}
		if d := x.Shape[axes[i]]; turns >= 0 && d != turns {
			return nil, fmt.Errorf("input %d: found %d slices, expected %d", kept+i, d, turns)
		}
		turns = x.Shape[axes[i]]
	}
	state := append([]*Array{}, c.in[:kept]...)
	c.meter.carry(nil, state)
	rows := c.stacks(len(p.outputs) - kept)
	for turn := range turns {
		if err := c.turn(p); err != nil {
			return nil, err
		}
		in := append([]*Array{}, state...)
		for i, x := range c.in[kept:] {
			at := turn
			if pick("scan_input_directions", i) != 0 {
				at = turns - 1 - turn
			}
			s, err := x.sliceAt(axes[i], at)
			if err != nil {
				return nil, err
			}
			in = append(in, s)
		}
		out, err := c.runSub("body", in...)
		if err != nil {
			return nil, fmt.Errorf("turn %d: %w", turn, err)
		}
		c.meter.carry(state, out[:kept])
		state = out[:kept:kept]
		for k := range rows {
			if err := rows[k].push(out[kept+k]); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range state {
		c.meter.release(a)
	}
	for k := range rows {
		if !c.names(kept + k) {
			rows[k].done()
			state = append(state, nil)
			continue
		}
		a, err := rows[k].array(pick("scan_output_axes", k), pick("scan_output_directions", k) != 0, body.Outputs[kept+k])
		if err != nil {
			return nil, err
		}
		rows[k].done()
		state = append(state, a)
	}
	return state, nil
}

// sliceAt is a without an axis, at one place of it.
func (a *Array) sliceAt(axis int, at int64) (*Array, error) {
	shape := append(append([]int64{}, a.Shape[:axis]...), a.Shape[axis+1:]...)
	inner := int(volume(a.Shape[axis+1:]))
	var idx []int
	for o := range int(volume(a.Shape[:axis])) {
		for i := range inner {
			idx = append(idx, (o*int(a.Shape[axis])+int(at))*inner+i)
		}
	}
	return a.take(shape, idx)
}
