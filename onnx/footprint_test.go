package onnx

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lenskit/onnx/internal/onnxpb"
)

// bombs are small graphs of z [1, 4] that ask for more memory than they may have, by one value or by many together.
var bombs = []struct {
	name  string
	build func(b *Builder) string
}{
	{"constant", func(b *Builder) string {
		return b.OpAttr("ConstantOfShape", nil, b.Ints(1<<28))
	}},
	{"repeated latents", func(b *Builder) string { return b.Op("Expand", "z", b.Ints(1<<26, 4)) }},
	{"tiles", func(b *Builder) string { return b.Op("Tile", "z", b.Ints(1<<13, 1<<13)) }},
	{"outer sum", func(b *Builder) string {
		return b.Op("Add", b.Op("Expand", "z", b.Ints(30000, 1, 4)), b.Op("Expand", "z", b.Ints(1, 30000, 4)))
	}},
	{"outer choice", func(b *Builder) string {
		x := b.Op("Expand", "z", b.Ints(20000, 1, 4))
		return b.Op("Where", b.Op("Greater", x, b.Scalar(0)), x, b.Op("Expand", "z", b.Ints(1, 20000, 4)))
	}},
	{"outer product", func(b *Builder) string {
		x := b.Op("Expand", "z", b.Ints(20000, 4))
		return b.Op("MatMul", x, b.OpAttr("Transpose", attrs("perm", []int64{1, 0}), x))
	}},
	{"products between operands", func(b *Builder) string {
		x := b.Op("Expand", "z", b.Ints(512, 4))
		return b.OpAttr("Einsum", attrs("equation", "ai,bj,ck->abc"), x, x, x)
	}},
	{"unit matrix", func(b *Builder) string {
		return b.OpAttr("EyeLike", attrs("dtype", int(Float32)), b.Op("Expand", b.Scalar(1), b.Ints(20000, 20000)))
	}},
	{"range", func(b *Builder) string { return b.Op("Range", b.Scalar(0), b.Scalar(2e8), b.Scalar(1)) }},
	{"range of fractions", func(b *Builder) string { return b.Op("Range", b.Scalar(0), b.Scalar(5e7), b.Scalar(0.25)) }},
	{"one of many", func(b *Builder) string {
		x := b.OpAttr("Cast", attrs("to", int(Int64)), b.Op("Expand", "z", b.Ints(5000, 4)))
		return b.Op("OneHot", x, b.Tensor(IntTensor([]int64{20000})), b.Tensor(FloatTensor([]float32{0, 1}, 2)))
	}},
	{"padding", func(b *Builder) string { return b.Op("Pad", "z", b.Ints(0, 0, 1<<14, 1<<14)) }},
	{"enlarged image", func(b *Builder) string {
		return b.Op("Resize", b.Op("Reshape", "z", b.Ints(1, 1, 2, 2)), "", b.Tensor(FloatTensor([]float32{1, 1, 10000, 10000}, 4)))
	}},
	{"stretched image", func(b *Builder) string {
		return b.OpAttr("ConvTranspose", attrs("strides", []int64{15000, 15000}), b.Op("Reshape", "z", b.Ints(1, 1, 2, 2)), draw(b, 1, 1, 1, 1))
	}},
	{"one part many times", func(b *Builder) string {
		x := b.Op("Tile", "z", b.Ints(1024, 256))
		parts := make([]string, 300)
		for i := range parts {
			parts[i] = x
		}
		return b.OpAttr("Concat", attrs("axis", 0), parts...)
	}},
	{"many values kept", func(b *Builder) string {
		x := b.Op("Expand", "z", b.Ints(1<<20, 4))
		var kept []string
		for range 30 {
			x = b.Op("Sin", x)
			kept = append(kept, x)
		}
		return b.Op("Sum", kept...)
	}},
}

func bombGraph(t *testing.T, build func(b *Builder) string) *Graph {
	t.Helper()
	g := &Graph{Name: "bomb", Opset: map[string]int{"": 18}, Inputs: []Value{{Name: "z", Type: Float32, Shape: dimsOf(1, 4)}}}
	b := NewBuilder(g, "n_")
	b.OutputAs("y", b.OpAttr("ReduceMax", attrs("keepdims", 0), build(b)))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return g
}

// Each bomb is refused by both engines, with the node, what it takes and what it may; refusing takes neither memory nor
// time. What is refused would take more than the limit: a value of n elements of float32 takes 4n bytes.
func TestGraphsThatTakeTooMuchAreRefused(t *testing.T) {
	for _, c := range bombs {
		g := bombGraph(t, c.build)
		for name, open := range map[string]func() error{
			"onnxruntime": func() error { _, err := Open(g, SessionOptions{}); return err },
			"evaluator": func() error {
				e, err := NewEvaluator(g)
				if err == nil {
					_, err = e.Run(map[string]*Array{"z": FloatArray([]float64{1, 2, 3, 4}, 1, 4)})
				}
				return err
			},
			"evaluator of an open shape": func() error {
				h := g.shallow()
				h.Inputs[0].Shape = nil
				e, err := NewEvaluator(h)
				if err == nil {
					_, err = e.Run(map[string]*Array{"z": FloatArray([]float64{1, 2, 3, 4}, 1, 4)})
				}
				return err
			},
		} {
			start := time.Now()
			var err error
			took := allocated(func() { err = open() })
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s, %s: found error %v, expected %v", c.name, name, err, ErrTooLarge)
				continue
			}
			for _, part := range []string{"node ", "opset 18", "expected at most"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s, %s: %v, expected it to say %q", c.name, name, err, part)
				}
			}
			if most := uint64(2 * DefaultRoom); took > most || time.Since(start) > 20*time.Second {
				t.Errorf("%s, %s: took %d bytes and %v", c.name, name, took, time.Since(start))
			}
		}
	}
}

// A loop's turns are counted before an engine takes one: the values of 2⁶², of a number that the latents give, of a value
// that doubles, and of a list that grows have no end that fits.
func TestLoopsWithoutEndAreRefused(t *testing.T) {
	body := func(out Value, nodes ...*Node) *Graph {
		c := &Graph{Name: "body", Init: map[string]*Tensor{}, Inputs: []Value{{"i", Int64, []Dim{}}, {"c", Bool, []Dim{}}, {"x", Float32, dimsOf(1, 4)}}}
		c.Nodes = append([]*Node{{Op: "Identity", In: []string{"c"}, Out: []string{"c2"}}}, nodes...)
		c.Outputs = []Value{{"c2", Bool, []Dim{}}, {"x2", Float32, nil}}
		if out.Name != "" {
			c.Outputs = append(c.Outputs, out)
		}
		return c
	}
	same := &Node{Op: "Neg", In: []string{"x"}, Out: []string{"x2"}}
	double := &Node{Op: "Concat", In: []string{"x", "x"}, Out: []string{"x2"}, Attr: attrs("axis", 0)}
	wide := &Node{Op: "Expand", In: []string{"x", "wide"}, Out: []string{"s"}}
	for _, c := range []struct {
		name  string
		turns string
		body  *Graph
		want  string // part of the refusal, "" for none
	}{
		{"a hundred turns", "hundred", body(Value{}, same), ""},
		{"2⁶² turns", "many", body(Value{}, same), "4611686018427387904 turns"},
		{"turns of the latents", "z0", body(Value{}, same), "unknown number of turns"},
		{"a value that doubles", "hundred", body(Value{}, double), "changes its shape"},
		{"a list that grows", "hundred", body(Value{"s", Float32, nil}, same, wide), "expected at most"},
	} {
		g := &Graph{Name: c.name, Opset: map[string]int{"": 18}, Inputs: []Value{{Name: "z", Type: Float32, Shape: dimsOf(1, 4)}},
			Init: map[string]*Tensor{"hundred": IntTensor([]int64{100}), "many": IntTensor([]int64{1 << 62}), "yes": {Type: Bool, Shape: []int64{}, Ints: []int64{1}},
				"wide": IntTensor([]int64{1 << 18, 4}, 2), "none": IntTensor([]int64{}, 0)},
			Outputs: []Value{{Name: "y", Type: Float32, Shape: nil}}}
		out := []string{"y0"}
		if len(c.body.Outputs) > 2 {
			out = append(out, "list")
		}
		g.Nodes = []*Node{
			{Op: "ReduceMax", In: []string{"z"}, Out: []string{"m"}, Attr: attrs("keepdims", 0)},
			{Op: "Cast", In: []string{"m"}, Out: []string{"z0"}, Attr: attrs("to", int(Int64))},
			{Op: "Loop", Name: "turns", In: []string{c.turns, "yes", "z"}, Out: out, Attr: map[string]Attr{"body": {Kind: AttrGraph, Graph: c.body}}},
			{Op: "ReduceMax", In: []string{out[len(out)-1]}, Out: []string{"y1"}, Attr: attrs("keepdims", 0)},
			{Op: "Reshape", In: []string{"y1", "none"}, Out: []string{"y"}},
		}
		_, err := g.fits(false, DefaultRoom, 0)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: found error %v, expected one with %q", c.name, err, c.want)
		}
	}
}

// The turns of a Loop that ends by its condition are followed one by one, those of a Scan are as many as the axis is long,
// and an If takes what its larger branch takes. Sizes are counted by hand: 4 bytes an element.
func TestFootprintsCountBodies(t *testing.T) {
	loop := func(less string, more ...*Node) *Graph {
		body := &Graph{Inputs: []Value{{"i", Int64, []Dim{}}, {"c", Bool, []Dim{}}, {"x", Float32, nil}},
			Nodes:   append([]*Node{{Op: "Less", In: []string{"i", less}, Out: []string{"c2"}}}, more...),
			Outputs: []Value{{"c2", Bool, []Dim{}}, {"x2", Float32, nil}, {"x2", Float32, nil}}}
		return &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"z", Float32, dimsOf(1024)}, {"n", Int64, []Dim{}}},
			Init:    map[string]*Tensor{"many": IntTensor([]int64{math.MaxInt64}), "nine": IntTensor([]int64{9})},
			Nodes:   []*Node{{Op: "Loop", Name: "turns", In: []string{"many", "", "z"}, Out: []string{"y", "rows"}, Attr: map[string]Attr{"body": {Kind: AttrGraph, Graph: body}}}},
			Outputs: []Value{{Name: "y", Type: Float32}, {Name: "rows", Type: Float32}}}
	}
	same := &Node{Op: "Neg", In: []string{"x"}, Out: []string{"x2"}}
	double := &Node{Op: "Concat", In: []string{"x", "x"}, Out: []string{"x2"}, Attr: attrs("axis", 0)}
	peak, _, err := loop("nine", same).footprint(false)
	if err != nil || peak < 2*10*4096 || peak > 2*10*4096+8*4096 {
		t.Errorf("10 turns: found %d bytes, %v, expected twice 10 rows of 4096 bytes and a few values", peak, err)
	}
	growing := loop("nine", double)
	growing.Nodes[0].Attr["body"].Graph.Outputs = growing.Nodes[0].Attr["body"].Graph.Outputs[:2]
	growing.Nodes[0].Out, growing.Outputs = growing.Nodes[0].Out[:1], growing.Outputs[:1]
	if peak, _, err = growing.footprint(false); err != nil || peak < 4096<<10 || peak > 4*4096<<10 {
		t.Errorf("10 doublings: found %d bytes, %v, expected about %d", peak, err, 2*4096<<10)
	}
	endless := loop("n", same)
	if _, err = endless.fits(false, DefaultRoom, 0); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "--device reference") {
		t.Errorf("turns of an input: found %v, expected a refusal that names --device reference", err)
	}
	// The evaluator counts while it runs: a few turns are computed, and rows without end have no room.
	e, err := NewEvaluator(endless)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		last int64
		fits bool
	}{{3, true}, {1 << 40, false}} {
		out, err := e.Run(map[string]*Array{"z": FloatArray(make([]float64, 1024), 1024), "n": {Type: Int64, Shape: []int64{}, I: []int64{c.last}}})
		if c.fits && (err != nil || out["rows"].Shape[0] != c.last+1) || !c.fits && !errors.Is(err, ErrTooLarge) {
			t.Errorf("a last turn of %d: found %v", c.last, err)
		}
	}

	scan := &Graph{Inputs: []Value{{"s", Float32, nil}, {"r", Float32, nil}}, Nodes: []*Node{
		{Op: "Add", In: []string{"s", "r"}, Out: []string{"s2"}}, {Op: "Expand", In: []string{"r", "wide"}, Out: []string{"w"}}}, Outputs: []Value{{Name: "s2"}, {Name: "w"}}}
	g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"z", Float32, dimsOf(1024)}, {"rows", Float32, dimsOf(7, 1024)}},
		Init:    map[string]*Tensor{"wide": IntTensor([]int64{5, 1024}, 2)},
		Nodes:   []*Node{{Op: "Scan", In: []string{"z", "rows"}, Out: []string{"last", "all"}, Attr: map[string]Attr{"body": {Kind: AttrGraph, Graph: scan}, "num_scan_inputs": IntAttr(1)}}},
		Outputs: []Value{{Name: "last", Type: Float32}, {Name: "all", Type: Float32}}}
	if peak, _, err = g.footprint(false); err != nil || peak < 2*7*5*4096 || peak > 2*7*5*4096+30*4096 {
		t.Errorf("scan: found %d bytes, %v, expected twice 7 rows of 5 · 4096 and a few values", peak, err)
	}

	branch := func(turns int64) Attr {
		return Attr{Kind: AttrGraph, Graph: &Graph{Init: map[string]*Tensor{"k": IntTensor([]int64{turns}, 1)},
			Nodes: []*Node{{Op: "Tile", In: []string{"z", "k"}, Out: []string{"v"}}}, Outputs: []Value{{Name: "v"}}}}
	}
	g = &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"z", Float32, dimsOf(1024)}, {"c", Bool, []Dim{}}},
		Nodes: []*Node{{Op: "If", In: []string{"c"}, Out: []string{"a"}, Attr: map[string]Attr{"then_branch": branch(3), "else_branch": branch(20)}},
			{Op: "Neg", In: []string{"a"}, Out: []string{"y"}}},
		Outputs: []Value{{Name: "y", Type: Float32}}}
	if peak, _, err = g.footprint(false); err != nil || peak < 2*20*4096 || peak > 2*20*4096+4*4096 {
		t.Errorf("branches: found %d bytes, %v, expected two values of 20 · 4096", peak, err)
	}
}

// A chain of activations keeps two values at a time, however long it is: 2 · 4 · 2²² bytes.
func TestFootprintCountsWhatIsAliveAtATime(t *testing.T) {
	g := bombGraph(t, func(b *Builder) string {
		x := b.Op("Expand", "z", b.Ints(1<<20, 4))
		for range 200 {
			x = b.Op("Sin", x)
		}
		return x
	})
	peak, _, err := g.footprint(false)
	if want := int64(2*4<<22 + 16); err != nil || math.Abs(float64(peak-want)) > 64 {
		t.Errorf("found %d bytes, %v, expected %d", peak, err, want)
	}
}

// Weights in a file of their own take what the file has: tensors that share it, or that are wider in memory, cannot take
// more without end. The file is sparse.
func TestExternalDataTakesNoMoreThanItsFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "w.bin"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	tensor := func(typ DType, width int64) *onnxpb.Tensor {
		return &onnxpb.Tensor{Name: "w", Dims: []int64{size / width}, Type: int32(typ), Location: 1, External: []onnxpb.Entry{{Key: "location", Value: "w.bin"}}}
	}
	read := func(r *reader, p *onnxpb.Tensor) (took uint64, err error) {
		took = allocated(func() { _, err = r.tensor(p) })
		return took, err
	}
	r := &reader{dir: dir}
	if took, err := read(r, tensor(Float32, 4)); err != nil || took > size+8<<20 {
		t.Errorf("float32: took %d bytes for %d, %v", took, size, err)
	}
	if took, err := read(&reader{dir: dir}, tensor(Uint8, 1)); err == nil || took > 8<<20 {
		t.Errorf("uint8: took %d bytes for %d, %v, expected a refusal", took, size, err)
	}
	for k := range 20 {
		if _, err = read(r, tensor(Float32, 4)); err != nil {
			if k < 2 || !strings.Contains(err.Error(), "w.bin") {
				t.Errorf("after %d tensors: %v", k+1, err)
			}
			break
		}
	}
	if err == nil {
		t.Error("20 tensors of one file were read, expected a refusal")
	}
}

func TestNamesOfFilesAreQuotedAndCut(t *testing.T) {
	if got := Quote("a\x1b[31m\nb"); got != `"a\x1b[31m\nb"` {
		t.Errorf("found %s", got)
	}
	if got := Quote(strings.Repeat("long", 1000)); len(got) > 100 {
		t.Errorf("found %d bytes: %s", len(got), got)
	}
	n := &Node{Op: "Bo\x1bmb\n" + strings.Repeat("x", 1e6)}
	g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{Name: "z", Type: Float32, Shape: dimsOf(1)}}, Nodes: []*Node{n}, Outputs: []Value{{Name: "z"}}}
	err := g.Check()
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 400 {
		t.Errorf("found %.500s", fmt.Sprint(err))
	}
}
