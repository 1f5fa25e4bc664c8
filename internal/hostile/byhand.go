//go:build unix

package hostile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

const (
	huge = 1 << 62
	esc  = "\x1b]0;t\x07\x1b[31m"
)

// add takes a case with one file of interest; the command line may name it as FILE.
func (c *corpus) add(kind, name, line, base, file string, b []byte) *Case {
	args := strings.Fields(line)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", file)
	}
	c.cases = append(c.cases, Case{Name: "hand/" + kind + "/" + name + "/" + strings.Join(args[:min(2, len(args))], "-"), Kind: kind, Args: args, Base: strings.Fields(base), Files: map[string][]byte{file: b}, Note: name})
	return &c.cases[len(c.cases)-1]
}

// later is add for a file that is made only when its case is run, as it is large.
func (c *corpus) later(kind, name, line, base, file string, make func() []byte) *Case {
	k := c.add(kind, name, line, base, file, nil)
	k.Files, k.Later, k.Slow = nil, map[string]func() []byte{file: make}, true
	return k
}

// byHand writes the cases that no change of a few bytes leads to.
func (c *corpus) byHand() {
	c.handONNX()
	c.handWeights()
	c.handFITS()
	c.handText()
	c.handRuns()
}

func (c *corpus) handONNX() {
	vals := func(in, out message) ([]message, []message) { return []message{in}, []message{out} }
	in, out := vals(value("z", 1, "N", 4), value("y", 1, "N", 1, 8, 8))
	deep := graph([]message{node("Identity", "a", "d")}, nil, nil, []message{value("d", 1)})
	for range 200 {
		deep = graph([]message{node("If", "c", "d", attr("then_branch", deep), attr("else_branch", deep[:0:0]))}, nil, nil, []message{value("d", 1)})
	}
	var chain []message
	last := "a"
	for i := range 20000 {
		next := fmt.Sprintf("r%d", i)
		chain = append(chain, node("Relu", last, next))
		last = next
	}
	chain = append(chain, node("Reshape", last+",s", "y"))
	var fan []message
	last = "a"
	for i := range 40 {
		next := fmt.Sprintf("d%d", i)
		fan = append(fan, node("Add", last+","+last, next))
		last = next
	}
	fan = append(fan, node("Reshape", last+",s", "y"))
	body := func(condition string) message {
		return graph([]message{node("Identity", "cond", condition), node("Identity", "x", "xo")}, nil,
			[]message{value("i", 7), value("cond", 9), value("x", 1, 1, 64)}, []message{value(condition, 9), value("xo", 1, 1, 64)})
	}
	yes := raw("yes", 9, []byte{1})
	grow := graph([]message{node("Identity", "cond", "co"), node("Concat", "x,x", "xo", attr("axis", 0))}, nil,
		[]message{value("i", 7), value("cond", 9), value("x", 1, "K", 64)}, []message{value("co", 9), value("xo", 1, "K", 64)})
	models := map[string][]byte{
		"constant of 2^29":          decoder(18, []message{node("ConstantOfShape", "big", "k"), node("ReduceSum", "k", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("big", []int{1 << 29}, 1)),
		"eight constants of 2^26":   decoder(18, many(8, 1<<26), ints("big", []int{1 << 26}, 1)),
		"constant of 2^62":          decoder(18, []message{node("ConstantOfShape", "big", "k"), node("ReduceSum", "k", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("big", []int{huge}, 1)),
		"range of 2^40":             decoder(18, []message{node("Range", "r0,r1,r2", "k"), node("ReduceSum", "k", "q", attr("keepdims", 0)), node("Cast", "q", "qf", attr("to", 1)), node("Add", "a,qf", "b"), node("Reshape", "b,s", "y")}, ints("r0", []int{0}), ints("r1", []int{1 << 40}), ints("r2", []int{1})),
		"tile 2^24 times":           decoder(18, []message{node("Tile", "a,t", "k"), node("ReduceMax", "k", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("t", []int{1, 1 << 24}, 2)),
		"expand to 2^30":            decoder(18, []message{node("Unsqueeze", "a,u", "k"), node("Expand", "k,e", "f"), node("ReduceMax", "f", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("u", []int{0}, 1), ints("e", []int{1 << 24, 1, 64}, 3)),
		"pad of 2^30":               decoder(18, []message{node("Reshape", "a,s", "r"), node("Pad", "r,p", "k"), node("ReduceMax", "k", "q", attr("keepdims", 0)), node("Add", "r,q", "y")}, ints("p", []int{0, 0, 1 << 15, 1 << 15, 0, 0, 0, 0}, 8)),
		"resize to 2^15 on a side":  decoder(18, []message{node("Reshape", "a,s", "r"), node("Resize", "r,,,z2", "k"), node("ReduceMax", "k", "q", attr("keepdims", 0)), node("Add", "r,q", "y")}, ints("z2", []int{1, 1, 1 << 15, 1 << 15}, 4)),
		"eye of 2^16 on a side":     decoder(18, []message{node("ConstantOfShape", "big", "k"), node("EyeLike", "k", "e"), node("ReduceMax", "e", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("big", []int{1 << 16, 1 << 16}, 2)),
		"one-hot of 2^28":           decoder(18, []message{node("Cast", "a", "i", attr("to", 7)), node("OneHot", "i,dep,v", "h"), node("ReduceMax", "h", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, ints("dep", []int{1 << 22}), floats("v", []float32{0, 1}, 2)),
		"convolution padded widely": decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "c", attr("pads", []int{20000, 20000, 20000, 20000})), node("ReduceMax", "c", "q", attr("keepdims", 0)), node("Add", "r,q", "y")}, floats("k", []float32{1}, 1, 1, 1, 1)),
		"strides of 0":              decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "c", attr("strides", []int{0, 0})), node("ReduceMax", "c", "q", attr("keepdims", 0)), node("Add", "r,q", "y")}, floats("k", []float32{1}, 1, 1, 1, 1)),
		"dilations of 2^62":         decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "y", attr("dilations", []int{huge, huge}))}, floats("k", []float32{1, 1, 1, 1}, 1, 1, 2, 2)),
		"pads of -2^62":             decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "y", attr("pads", []int{-huge, 0, 0, huge}))}, floats("k", []float32{1}, 1, 1, 1, 1)),
		"group of 0":                decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "y", attr("group", 0))}, floats("k", []float32{1}, 1, 1, 1, 1)),
		"transposed, huge output":   decoder(18, []message{node("Reshape", "a,s", "r"), node("ConvTranspose", "r,k", "c", attr("strides", []int{4096, 4096})), node("ReduceMax", "c", "q", attr("keepdims", 0)), node("Add", "r,q", "y")}, floats("k", []float32{1}, 1, 1, 1, 1)),
		"pool with kernel of 2^31":  decoder(18, []message{node("Reshape", "a,s", "r"), node("MaxPool", "r", "y", attr("kernel_shape", []int{1 << 31, 1 << 31}))}),
		"split into 10^5":           decoder(18, []message{node("Split", "a", "y", attr("axis", 1), attr("num_outputs", 100000))}),
		"gather far out":            decoder(18, []message{node("Gather", "a,i", "b", attr("axis", 1)), node("Reshape", "b,s", "y")}, ints("i", make64(64, huge), 64)),
		"transpose twice the axis":  decoder(18, []message{node("Reshape", "a,s", "r"), node("Transpose", "r", "y", attr("perm", []int{0, 0, 1, 9}))}),
		"concat on axis 2^31":       decoder(18, []message{node("Concat", "a,a", "b", attr("axis", 1<<31)), node("Reshape", "b,s", "y")}),
		"reshape to -5":             decoder(18, []message{node("Reshape", "a,q", "y")}, ints("q", []int{-5, 1, 8, 8}, 4)),
		"slice with step 0":         decoder(18, []message{node("Slice", "a,b0,b1,ax,b0", "q"), node("Reshape", "a,s", "y")}, ints("b0", []int{0}, 1), ints("b1", []int{64}, 1), ints("ax", []int{1}, 1)),
		"einsum of many letters":    decoder(18, []message{node("Einsum", "a,a,a,a,a", "b", attr("equation", "na,nb,nc,nd,ne->nabcde")), node("ReduceMax", "b", "q", attr("keepdims", 0)), node("Add", "a,q", "c"), node("Reshape", "c,s", "y")}),
		"loop of 2^62 turns":        decoder(18, []message{node("Loop", "n,yes,a", "b", attr("body", body("co"))), node("Reshape", "b,s", "y")}, ints("n", []int{huge}), yes),
		"loop without an end":       decoder(18, []message{node("Loop", ",yes,a", "b", attr("body", body("co"))), node("Reshape", "b,s", "y")}, yes),
		"loop that grows":           decoder(18, []message{node("Loop", "n,yes,a", "b", attr("body", grow)), node("ReduceMax", "b", "q", attr("keepdims", 0)), node("Add", "a,q", "c"), node("Reshape", "c,s", "y")}, ints("n", []int{40}), yes),
		"scan without a body":       decoder(18, []message{node("Scan", "a", "b", attr("num_scan_inputs", huge)), node("Reshape", "b,s", "y")}),
		"if within if, 200 deep":    decoder(18, []message{node("If", "yes", "b", attr("then_branch", deep), attr("else_branch", deep)), node("Reshape", "b,s", "y")}, yes),
		"chain of 20000":            decoder(18, chain),
		"forty doublings":           decoder(18, fan),
		"cycle":                     decoder(18, []message{node("Add", "a,q", "p"), node("Add", "p,a", "q"), node("Reshape", "q,s", "y")}),
		"output made twice":         decoder(18, []message{node("Relu", "a", "b"), node("Tanh", "a", "b"), node("Reshape", "b,s", "y")}),
		"no such input":             decoder(18, []message{node("Add", "a,nobody", "b"), node("Reshape", "b,s", "y")}),
		"operator of control chars": decoder(18, []message{node(esc+"Relu", "a", "b"), node("Reshape", "b,s", "y")}),
		"name of control chars":     decoder(18, []message{node("Relu", "a", esc+"\nb"), node("Reshape", esc+"\nb,s", "y")}),
		"name of 1 MB":              decoder(18, []message{node("Relu", "a", strings.Repeat("n", 1<<20)), node("Reshape", strings.Repeat("n", 1<<20)+",s", "y")}),
		"operator of 1 MB":          decoder(18, []message{node(strings.Repeat("Op", 1<<19), "a", "b"), node("Reshape", "b,s", "y")}),
		"operator set 2^62":         decoder(huge, []message{node("Reshape", "a,s", "y")}),
		"operator set -1":           decoder(-1, []message{node("Reshape", "a,s", "y")}),
		"tensor of 2^62":            decoder(18, []message{node("Add", "a,w2", "b"), node("Reshape", "b,s", "y")}, raw("w2", 1, make([]byte, 64), huge)),
		"tensor of 2^32 squared":    decoder(18, []message{node("Add", "a,w2", "b"), node("Reshape", "b,s", "y")}, raw("w2", 1, make([]byte, 64), 1<<32, 1<<32)),
		"tensor of -1":              decoder(18, []message{node("Add", "a,w2", "b"), node("Reshape", "b,s", "y")}, raw("w2", 1, make([]byte, 64), -1)),
		"tensor of type 99":         decoder(18, []message{node("Add", "a,w2", "b"), node("Reshape", "b,s", "y")}, raw("w2", 99, make([]byte, 256), 64)),
		"weights of NaN":            decoder(18, []message{node("Add", "a,w2", "b"), node("Reshape", "b,s", "y")}, floats("w2", []float32{float32(math.NaN())}, 1)),
		"weights of 1e38":           decoder(18, []message{node("Mul", "a,w2", "b"), node("Mul", "b,w2", "b2"), node("Reshape", "b2,s", "y")}, floats("w2", []float32{3e38}, 1)),
		"image of 20000 on a side":  model(18, graph([]message{node("ConstantOfShape", "big", "y")}, []message{ints("big", []int{1, 1, 20000, 20000}, 4)}, []message{value("z", 1, 1, 4)}, []message{value("y", 1, 1, 1, 20000, 20000)})),
		"2^31 latents":              model(18, graph([]message{node("ReduceMax", "z", "y")}, nil, []message{value("z", 1, "N", 1<<31)}, []message{value("y", 1, "N", 1)})),
		"latents of 2^62":           model(18, graph([]message{node("Relu", "z", "y")}, nil, []message{value("z", 1, "N", huge)}, []message{value("y", 1, "N", huge)})),
		"no nodes":                  model(18, graph(nil, nil, in, out)),
		"no graph":                  {8, 8},
		"output is the input":       model(18, graph(nil, nil, []message{value("z", 1, "N", 64)}, []message{value("z", 1, "N", 64)})),
		"100000 inputs":             model(18, graph([]message{node("Relu", "z", "y")}, nil, inputs(100000), out)),
		"cast to text":              decoder(18, []message{node("Cast", "a", "t", attr("to", 8)), node("Cast", "t", "b", attr("to", 1)), node("Reshape", "b,s", "y")}),
		"zeros in the batch":        decoder(18, []message{node("Slice", "a,b0,b0,b0", "q"), node("ReduceSum", "q", "k", attr("keepdims", 0)), node("Add", "a,k", "b"), node("Reshape", "b,s", "y")}, ints("b0", []int{0}, 1)),
	}
	for _, name := range sorted(models) {
		b := models[name]
		c.add("onnx", name, "eval d.yaml --grad --quiet", "m.fits", "d.onnx", b).Files["d.yaml"] = decoderConfig("d.onnx")
		c.add("onnx", name, "onnx run FILE --input z=z.npy -o out --device reference --quiet", "z.npy", "d.onnx", b)
		c.add("onnx", name, "onnx inspect FILE", "", "d.onnx", b)
		if strings.Contains(name, "name") || strings.Contains(name, "operator") || strings.Contains(name, "cycle") || strings.Contains(name, "deep") || strings.Contains(name, "chain") {
			c.add("onnx", name, "onnx vjp FILE -o v.onnx --quiet", "", "d.onnx", b)
		}
	}
	// weights in a file beside the model: far away, longer than it says, or of a size that takes no place
	for name, place := range map[string][]string{"outside": {"location", "../../../../etc/passwd"}, "absolute": {"location", "/etc/passwd"}, "device": {"location", "/dev/zero"},
		"sparse": {"location", "w.bin", "offset", "0", "length", fmt.Sprint(int64(4) << 30)}, "negative": {"location", "w.bin", "offset", "-8", "length", "256"}, "text": {"location", "w.bin", "offset", "1e3", "length", "x"}} {
		dims := 64
		if name == "sparse" {
			dims = 1 << 30
		}
		var t message
		t.varint(1, uint64(dims))
		t.varint(2, 1)
		t.text(8, "w2")
		for i := 0; i < len(place); i += 2 {
			var e message
			e.text(1, place[i])
			e.text(2, place[i+1])
			t.bytes(13, e)
		}
		t.varint(14, 1)
		k := c.add("onnx", "external "+name, "onnx inspect FILE", "", "d.onnx", decoder(18, []message{node("ReduceMax", "w2", "q", attr("keepdims", 0)), node("Add", "a,q", "b"), node("Reshape", "b,s", "y")}, t))
		k.Files["w.bin"] = make([]byte, 256)
		if name == "sparse" {
			k.Sparse = map[string]int64{"w.bin": 4 << 30}
		}
		e := *k
		e.Name, e.Args = "hand/onnx/external "+name+"/run", strings.Fields("onnx run d.onnx --input z=z.npy -o out --quiet")
		e.Base = []string{"z.npy"}
		c.cases = append(c.cases, e)
	}
	for name, b := range map[string][]byte{
		"2^62 by 2^62":     npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }", nil),
		"-1":               npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }", make([]byte, 16)),
		"2^40":             npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", make([]byte, 16)),
		"0 by 2^62":        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904), }", nil),
		"pickled":          npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 4), }", make([]byte, 16)),
		"deep header":      npy("{'descr': '<f4', 'fortran_order': False, 'shape': "+strings.Repeat("(", 20000)+", }", nil),
		"control chars":    npy("{'descr': '"+esc+"', 'fortran_order': False, 'shape': (1, 4), }", make([]byte, 16)),
		"nan":              npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }", bytes.Repeat([]byte{0xff}, 16)),
		"many dims":        npy("{'descr': '<f4', 'fortran_order': False, 'shape': ("+strings.Repeat("1, ", 15000)+"), }", make([]byte, 4)),
		"header of 4 GiB":  append([]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff"), make([]byte, 200)...),
		"a zip of its own": zipOf("z.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }", make([]byte, 16)), zip.Deflate),
	} {
		c.add("npy", name, "onnx run net.onnx --input z=FILE -o out --quiet", "net.onnx", "z.npy", b)
	}
	for name, make := range map[string]func() []byte{
		"100 MB of bool": func() []byte {
			return npy("{'descr': '|b1', 'fortran_order': False, 'shape': (104857600,), }", make([]byte, 100<<20))
		},
		"100 MB of int8": func() []byte {
			return npy("{'descr': '|i1', 'fortran_order': False, 'shape': (26214400, 4), }", make([]byte, 100<<20))
		},
		"a batch of 2^20": func() []byte {
			return npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 4), }", make([]byte, 16<<20))
		},
	} {
		c.later("npy", name, "onnx run net.onnx --input z=FILE -o out --quiet", "net.onnx", "z.npy", make)
	}
}

// many are n constants that live at one time.
func many(n, size int) []message {
	var nodes []message
	sum := "a"
	for i := range n {
		nodes = append(nodes, node("ConstantOfShape", "big", fmt.Sprintf("k%d", i)))
	}
	for i := range n {
		nodes = append(nodes, node("ReduceSum", fmt.Sprintf("k%d", i), fmt.Sprintf("q%d", i), attr("keepdims", 0)), node("Add", fmt.Sprintf("%s,q%d", sum, i), fmt.Sprintf("t%d", i)))
		sum = fmt.Sprintf("t%d", i)
	}
	return append(nodes, node("Reshape", sum+",s", "y"))
}

func make64(n, v int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func inputs(n int) []message {
	out := []message{value("z", 1, "N", 4)}
	for i := range n {
		out = append(out, value(fmt.Sprintf("i%d", i), 1, 1))
	}
	return out
}

func decoderConfig(path string) []byte {
	return fmt.Appendf(nil, "data: {image: m.fits, noise: 0.05, pixel_scale: 0.15}\nlens: [{type: sis}]\nsource: [{type: decoder, model: %s, interpolation: bicubic}]\n", path)
}

func zipOf(name string, b []byte, method uint16) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err != nil {
		panic(err)
	}
	f.Write(b)
	w.Close()
	return buf.Bytes()
}

func sorted(m map[string][]byte) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	for i := range names {
		for j := i; j > 0 && names[j] < names[j-1]; j-- {
			names[j], names[j-1] = names[j-1], names[j]
		}
	}
	return names
}

func (c *corpus) handWeights() {
	small := func(count, offset int, shape, strides []int) []tensor {
		return []tensor{{"w", []float32{1, 2, 3, 4}, count, offset, shape, strides}}
	}
	torch := func(ts []tensor, method uint16) []byte { return torchZip(stateDict(ts, false), ts, method) }
	var views []tensor
	for i := range 300 {
		views = append(views, tensor{fmt.Sprint("w", i), []float32{1}, 1, 0, []int{1 << 20}, []int{0}})
	}
	crc := torch(small(4, 0, []int{4}, []int{1}), 0)
	crc[bytes.Index(crc, floatBytes([]float32{1, 2, 3, 4}))+2] ^= 0x40
	long := func(op string, size []byte, n int) []byte {
		return torchZip(append(append([]byte("\x80\x02"+op), size...), append(bytes.Repeat([]byte{0x7f}, n), '.')...), nil, 0)
	}
	deep := append(append([]byte("\x80\x02"), bytes.Repeat([]byte("]"), 1<<20)...), append(bytes.Repeat([]byte("a"), 1<<20-1), '.')...)
	memo := []byte("\x80\x02]")
	for i := range 60 {
		memo = append(memo, 'q', byte(i), '(', 'h', byte(i), 'h', byte(i), 'l')
	}
	memo = append(memo, '.')
	pickles := map[string][]byte{
		"views beyond":          torch(small(4, 3, []int{4}, []int{1}), 0),
		"offset of -1":          torch(small(4, -1, []int{4}, []int{1}), 0),
		"strides of 2^62":       torch(small(4, 0, []int{2, 2}, []int{huge, 1}), 0),
		"negative strides":      torch(small(4, 3, []int{4}, []int{-1}), 0),
		"shape of 2^62":         torch(small(4, 0, []int{huge, huge}, []int{0, 0}), 0),
		"shape of -4":           torch(small(4, 0, []int{-4}, []int{1}), 0),
		"claims 2^40":           torch(small(1<<40, 0, []int{4}, []int{1}), 0),
		"300 wide views":        torch(views, 0),
		"wrong sum":             crc,
		"deflated":              torch(small(4, 0, []int{4}, []int{1}), zip.Deflate),
		"integer of 2 MB":       long("\x8b", []byte{0, 0, 32, 0}, 2<<20),
		"integer of 4 GB":       long("\x8b", []byte{255, 255, 255, 127}, 100),
		"integer of 3e6 digits": torchZip(append(append([]byte("\x80\x02L"), bytes.Repeat([]byte("7"), 3_000_000)...), "L\n."...), nil, 0),
		"old integer of digits": torchZip(append(append([]byte("\x80\x02I"), bytes.Repeat([]byte("7"), 3_000_000)...), "\n."...), nil, 0),
		"nested 2^20 deep":      torchZip(deep, nil, 0),
		"doubled 60 times":      torchZip(memo, nil, 0),
		"text of 30 MB":         torchZip(append(append([]byte("\x80\x02ccollections\nOrderedDict\n(X\x00\x00\xe0\x01"), bytes.Repeat([]byte("t"), 30<<20-2<<20)...), "tR."...), nil, 0),
		"calls os.system":       torchZip([]byte("\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR."), nil, 0),
		"calls " + esc:          torchZip([]byte("\x80\x02cos"+esc+"\nsystem\n(X\x04\x00\x00\x00truetR."), nil, 0),
		"name of 1 MB":          torch([]tensor{{strings.Repeat("w", 1<<20), []float32{1}, 1, 0, []int{1}, []int{1}}}, 0),
		"name of control chars": torch([]tensor{{esc + "\nw\r", []float32{1}, 1, 0, []int{1}, []int{1}}}, 0),
		"empty pickle":          torchZip(nil, nil, 0),
		"no end":                torchZip([]byte("\x80\x02]"), nil, 0),
		"stack runs dry":        torchZip([]byte("\x80\x02R."), nil, 0),
		"memo not there":        torchZip([]byte("\x80\x02h\x05."), nil, 0),
		"legacy claims 2^62":    torchLegacy(stateDict(small(huge, 0, []int{4}, []int{1}), true), small(4, 0, []int{4}, []int{1})),
		"legacy views beyond":   torchLegacy(stateDict(small(4, 4, []int{4}, []int{1}), true), small(4, 0, []int{4}, []int{1})),
		"not a dict":            torchZip([]byte("\x80\x02K\x05."), nil, 0),
		"no pickle":             zipOf("m/data/0", make([]byte, 16), 0),
	}
	for _, name := range sorted(pickles) {
		c.add("pt", name, "weights FILE", "", "h.pt", pickles[name])
		c.add("pt", name, "export-vae FILE -o eb --quiet", "", "h.pt", pickles[name])
	}
	for name, make := range map[string]func() []byte{
		"bomb of zeros": func() []byte { return torchBomb(200 << 20) },
		"bomb of opcodes": func() []byte {
			return torchZip(append(append([]byte("\x80\x02"), bytes.Repeat([]byte("N0"), 64<<20)...), 'N', '.'), nil, zip.Deflate)
		},
	} {
		c.later("pt", name, "weights FILE", "", "h.pt", make)
		c.later("pt", name, "export-vae FILE -o eb --quiet", "", "h.pt", make)
	}
	heads := map[string][]byte{
		"header of 2^62":  append(binary.LittleEndian.AppendUint64(nil, huge), "{}"...),
		"many names":      safetensors("{"+strings.TrimSuffix(strings.Repeat(`"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},`, 100000), ",")+"}", make([]byte, 4)),
		"shape of 2^62":   safetensors(`{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"shape of -1":     safetensors(`{"w":{"dtype":"F32","shape":[-1,-4],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"offsets back":    safetensors(`{"w":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}`, make([]byte, 16)),
		"offsets of 2^63": safetensors(`{"w":{"dtype":"F32","shape":[4],"data_offsets":[9223372036854775807,9223372036854775823]}}`, make([]byte, 16)),
		"overlap":         safetensors(`{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"v":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}`, make([]byte, 24)),
		"type of text":    safetensors(`{"w":{"dtype":"\u001b[31m","shape":[4],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"control chars":   safetensors(`{"\u001b[31m\nw\r\u0000\u009b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"name of 1 MB":    safetensors(`{"`+strings.Repeat("w", 1<<20)+`":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"deep":            safetensors(`{"w":`+strings.Repeat("[", 50000)+strings.Repeat("]", 50000)+"}", nil),
		"0 by 2^62":       safetensors(`{"w":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}`, nil),
		"many dims":       safetensors(`{"w":{"dtype":"F32","shape":[`+strings.Repeat("1,", 100000)+`1],"data_offsets":[0,4]}}`, make([]byte, 4)),
		"nan":             safetensors(`{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, bytes.Repeat([]byte{0xff}, 16)),
	}
	for _, name := range sorted(heads) {
		c.add("safetensors", name, "weights FILE", "", "h.safetensors", heads[name])
		c.add("safetensors", name, "weights FILE --json", "", "h.safetensors", heads[name])
		c.add("safetensors", name, "export-vae FILE -o eb --quiet", "", "h.safetensors", heads[name])
	}
	for name, make := range map[string]func() []byte{
		"header of 90 MB": func() []byte { return safetensors(`{"a":"`+strings.Repeat("x", 90<<20)+`"}`, nil) },
		"100 MB of U8": func() []byte {
			return safetensors(`{"w":{"dtype":"U8","shape":[104857600],"data_offsets":[0,104857600]}}`, make([]byte, 100<<20))
		},
		"100 MB of BOOL": func() []byte {
			return safetensors(`{"w":{"dtype":"BOOL","shape":[104857600],"data_offsets":[0,104857600]}}`, make([]byte, 100<<20))
		},
	} {
		c.later("safetensors", name, "weights FILE", "", "h.safetensors", make)
		c.later("safetensors", name, "export-vae FILE -o eb --quiet", "", "h.safetensors", make)
	}
}

// torchBomb is a file of a few hundred kilobytes whose storage of zeros has n bytes.
func torchBomb(n int) []byte {
	ts := []tensor{{"w", nil, n / 4, 0, []int{n / 4}, []int{1}}}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, data := range map[string][]byte{"m/data.pkl": stateDict(ts, false), "m/data/0": make([]byte, n)} {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			panic(err)
		}
		f.Write(data)
	}
	w.Close()
	return b.Bytes()
}

func (c *corpus) handFITS() {
	px := constant(24*24, 1)
	end := func(rows, heap []byte) ([]byte, []byte) { return rows, heap[:len(heap)/2] }
	far := func(rows, heap []byte) ([]byte, []byte) {
		binary.BigEndian.PutUint32(rows[4:], 1<<31-1)
		return rows, heap
	}
	long := func(rows, heap []byte) ([]byte, []byte) {
		binary.BigEndian.PutUint32(rows, 1<<31-1)
		return rows, heap
	}
	noise := func(rows, heap []byte) ([]byte, []byte) {
		for i := range heap {
			heap[i] = byte(i * 7919)
		}
		return rows, heap
	}
	bomb := func(rows, heap []byte) ([]byte, []byte) {
		z := zipped(make([]byte, 700<<20))
		for i := 0; i < len(rows); i += 8 {
			binary.BigEndian.PutUint32(rows[i:], uint32(len(z)))
			binary.BigEndian.PutUint32(rows[i+4:], 0)
		}
		return rows, z
	}
	files := map[string][]byte{
		"sides of 2^31":    image(-32, 1<<31-1, 1<<31-1, px),
		"sides of 2^62":    image(-32, huge, huge, px),
		"0 by 2^62":        image(-32, 0, huge, nil),
		"no pixels":        image(-32, 0, 0, nil),
		"one pixel":        image(-32, 1, 1, px[:4]),
		"one row":          image(-32, 576, 1, px),
		"NaN alone":        image(-32, 24, 24, constant(24*24, float32(math.NaN()))),
		"infinite":         image(-32, 24, 24, constant(24*24, float32(math.Inf(1)))),
		"1e38":             image(-32, 24, 24, constant(24*24, 3e38)),
		"scale of 1e308":   image(16, 24, 24, make([]byte, 2*576), card("BSCALE", "1E308"), card("BZERO", "1E308")),
		"scale of NaN":     image(16, 24, 24, make([]byte, 2*576), "BSCALE  = NaN"),
		"scale of 0":       image(16, 24, 24, bytes.Repeat([]byte{1}, 2*576), card("BSCALE", "0.0")),
		"bitpix of 7":      image(7, 24, 24, px),
		"bitpix of 64":     image(64, 24, 24, bytes.Repeat([]byte{0x7f}, 8*576)),
		"999 axes":         hdu(px, "SIMPLE  =                    T", card("BITPIX", -32), card("NAXIS", 999), card("NAXIS1", 24), card("NAXIS2", 24)),
		"many axes of 2":   hdu(px, append([]string{"SIMPLE  =                    T", card("BITPIX", 8), card("NAXIS", 60)}, axes(60)...)...),
		"wcs of 1e308":     image(-32, 24, 24, px, card("CRPIX1", "1E308"), card("CDELT1", "1E308"), card("CD1_1", "-1E308"), card("CTYPE1", "RA---TAN"), card("CTYPE2", "DEC--TAN")),
		"wcs of NaN":       image(-32, 24, 24, px, "CRPIX1  = NaN", "CD1_1   = NaN", card("CTYPE1", "RA---TAN")),
		"wcs of zeros":     image(-32, 24, 24, px, card("CD1_1", "0.0"), card("CD2_2", "0.0"), card("CTYPE1", "RA---TAN")),
		"control chars":    image(-32, 24, 24, px, card("CUNIT1", esc), card("CTYPE1", esc), card("BUNIT", esc+"\n")),
		"long text":        image(-32, 24, 24, px, continued(20000)...),
		"100000 cards":     image(-32, 24, 24, px, comments(100000)...),
		"no END":           []byte(fmt.Sprintf("%-80s%-80s%-80s", "SIMPLE  =                    T", card("BITPIX", -32), card("NAXIS", 2)) + strings.Repeat(" ", 2880*200)),
		"header alone":     image(-32, 24, 24, nil),
		"gzip of small":    zipped(zipped(image(-32, 24, 24, px))),
		"gzip without end": zipped(image(-32, 24, 24, px))[:60],
		"heap cut":         tiled("GZIP_1", 24, 24, end), "rows far": tiled("GZIP_1", 24, 24, far), "rows long": tiled("RICE_1", 24, 24, long),
		"heap of noise":     tiled("RICE_1", 24, 24, noise),
		"noise for gzip":    tiled("GZIP_1", 24, 24, noise),
		"noise for gzip 2":  tiled("GZIP_2", 24, 24, noise),
		"noise for plio":    tiled("PLIO_1", 24, 24, noise),
		"noise for hcomp":   tiled("HCOMPRESS_1", 24, 24, noise),
		"sides of fz":       tiled("RICE_1", 24, 24, nil, card("ZNAXIS1", 1<<31-1), card("ZNAXIS2", 1<<31-1)),
		"tiles of fz":       tiled("RICE_1", 24, 24, nil, card("ZTILE1", 0), card("ZTILE2", -5)),
		"wide tiles of fz":  tiled("RICE_1", 24, 24, nil, card("ZTILE1", huge), card("ZTILE2", huge)),
		"blocks of fz":      tiled("RICE_1", 24, 24, nil, card("ZVAL1", 0), card("ZVAL2", 3)),
		"blocks of 2^62":    tiled("RICE_1", 24, 24, nil, card("ZVAL1", huge), card("ZVAL2", 4)),
		"type of fz":        tiled("RICE_1", 24, 24, nil, card("ZBITPIX", 99)),
		"method of fz":      tiled("RICE_1", 24, 24, nil, card("ZCMPTYPE", esc+"X")),
		"dither of fz":      tiled("RICE_1", 24, 24, nil, card("ZBITPIX", -32), card("ZQUANTIZ", "SUBTRACTIVE_DITHER_1"), card("ZDITHER0", huge), card("ZSCALE", "NaN"), card("ZZERO", "1E308")),
		"dither 2 of fz":    tiled("RICE_1", 24, 24, nil, card("ZBITPIX", -32), card("ZQUANTIZ", "SUBTRACTIVE_DITHER_2"), card("ZDITHER0", -7), card("ZSCALE", "1E-320")),
		"heap offset of fz": tiled("RICE_1", 24, 24, nil, card("THEAP", huge)),
		"pcount of fz":      tiled("RICE_1", 24, 24, nil, card("PCOUNT", huge)),
		"fields of fz":      tiled("RICE_1", 24, 24, nil, card("TFIELDS", 999999)),
		"axes of fz":        tiled("RICE_1", 24, 24, nil, card("ZNAXIS", 999)),
		"xz bomb header":    append([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\xff"), bytes.Repeat([]byte{0xff}, 400)...),
		"bz2 of noise":      append([]byte("BZh91AY&SY"), bytes.Repeat([]byte{0x5a, 0xa5, 0xff}, 400)...),
	}
	for _, name := range sorted(files) {
		file := "h.fits"
		if strings.Contains(name, "gzip of") {
			file = "h.fits.gz"
		}
		c.add("fits", name, imageFit, "", file, files[name]).Files["image.yaml"] = imageConfig("image: " + file)
		c.add("fits", name, "dataset show FILE -o p.png --quiet", "", file, files[name])
		c.add("fits", name+" as PSF", "eval image.yaml --quiet", "m.fits", file, files[name]).Files["image.yaml"] = imageConfig("psf: {file: " + file + "}")
	}
	for name, make := range map[string]func() []byte{
		"gzip of 900 MB":     func() []byte { return zipped(append(image(8, 30000, 30000, nil), make([]byte, 900_000_000)...)) },
		"tile bomb":          func() []byte { return tiled("GZIP_1", 24, 24, bomb) },
		"a pattern of sides": func() []byte { return image(8, 14000, 1000, make([]byte, 14_000_000)) },
	} {
		file := "h.fits"
		if strings.Contains(name, "gzip of") {
			file = "h.fits.gz"
		}
		c.later("fits", name, "eval image.yaml --quiet", "", file, make).Files = map[string][]byte{"image.yaml": imageConfig("image: " + file)}
		c.later("fits", name, "dataset show FILE -o p.png --quiet", "", file, make)
	}
	c.add("fits", "sparse of 1 TiB", "dataset show FILE -o p.png --quiet", "", "h.fits", image(8, 1_000_000, 1_000_000, nil)).Sparse = map[string]int64{"h.fits": 1 << 40}
	c.add("fits", "sparse of 400 MB", "eval d.yaml --quiet", "", "h.fits", image(8, 20_000, 20_000, nil)).Sparse = map[string]int64{"h.fits": 400_005_760}
	c.cases[len(c.cases)-1].Files["d.yaml"] = []byte("data: {image: h.fits, noise: 1, pixel_scale: 0.1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n")
}

func axes(n int) (cards []string) {
	for i := range n {
		cards = append(cards, card(fmt.Sprintf("NAXIS%d", i+1), 2))
	}
	return cards
}

func comments(n int) []string {
	cards := make([]string, n)
	for i := range cards {
		cards[i] = fmt.Sprintf("K%07d= %20d", i%10000000, i)
	}
	return cards
}

// continued is a text that goes on over n cards.
func continued(n int) []string {
	cards := []string{"CUNIT1  = '" + strings.Repeat("x", 60) + "&'"}
	for range n {
		cards = append(cards, "CONTINUE  '"+strings.Repeat("x", 60)+"&'")
	}
	return cards
}

func (c *corpus) handText() {
	const data = "data: {image: m.fits, noise: 0.05, pixel_scale: 0.15}\n"
	const lens = "lens: [{type: sis}]\nsource: [{type: sersic}]\n"
	long := strings.Repeat("long", 1<<18)
	var keys, anchors strings.Builder
	for i := range 200000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	anchors.WriteString("a0: &a0 [1, 1]\n")
	for i := range 40 {
		fmt.Fprintf(&anchors, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	var lenses, indent strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&lenses, "  - {type: sis, name: l%d}\n", i)
	}
	for i := range 3000 {
		indent.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	texts := map[string]string{
		"brackets":          data + "lens: " + strings.Repeat("[", 250000),
		"brackets, bypass":  "# " + strings.Repeat("]", 200000) + "\nlens: " + strings.Repeat("[", 200000),
		"braces":            "data: " + strings.Repeat("{", 125000) + strings.Repeat("}", 125000),
		"braces in quotes":  "x: \"" + strings.Repeat("}", 100000) + "\"\ndata: " + strings.Repeat("{a: ", 100000),
		"dashes":            "lens:\n " + strings.Repeat("- ", 20000) + "1\n",
		"questions":         "lens:\n " + strings.Repeat("? ", 20000) + "1\n",
		"indented":          indent.String(),
		"many keys":         keys.String(),
		"anchors":           anchors.String() + data + lens,
		"merge of itself":   "a: &a\n  <<: *a\n" + data + lens,
		"alias of itself":   "data: &d [*d]\n" + lens,
		"tags":              "data: !!binary abc\nlens: !!python/object:os.system [x]\n",
		"many documents":    strings.Repeat("---\n{}\n", 50000),
		"many lenses":       data + "lens:\n" + lenses.String() + "source: [{type: sersic}]\n",
		"long name":         data + "lens: [{type: sis, name: " + long + "}]\nsource: [{type: sersic}]\n",
		"long type":         data + "lens: [{type: " + long + "}]\n",
		"long key":          data + long + ": 1\n",
		"long path":         "data: {image: " + long + ", noise: 1, pixel_scale: 0.1}\n" + lens,
		"long number":       "data: {image: m.fits, noise: " + strings.Repeat("9", 1<<20) + ", pixel_scale: 0.1}\n" + lens,
		"long comment":      "# " + long + long + long + long + "\n" + data + lens,
		"control name":      data + "lens: [{type: sis, name: \"a\\e[31m\\nb\"}]\nsource: [{type: sersic}]\n",
		"control type":      data + "lens: [{type: \"\\e]0;x\\a\"}]\n",
		"control key":       data + "\"\\e[31m\\r\": 1\n" + lens,
		"control path":      "data: {image: \"\\e[31m.fits\", noise: 1, pixel_scale: 0.1}\n" + lens,
		"raw escape":        data + "lens: [{type: \x1b[31m}]\n",
		"null bytes":        data + "lens: [{type: \"s\x00is\"}]\n",
		"utf-16":            "\xff\xfed\x00a\x00t\x00a\x00:\x00",
		"no utf-8":          data + "lens: [{type: \"\xff\xfe\xfa\"}]\n",
		"huge size":         "data: {size: [1000000000, 1000000000], noise: 1, pixel_scale: 0.1}\n" + lens,
		"size of 2^62":      "data: {size: [4611686018427387904, 4], noise: 1, pixel_scale: 0.1}\n" + lens,
		"size of -1":        "data: {size: [-1, 24], noise: 1, pixel_scale: 0.1}\n" + lens,
		"size of 16000":     "data: {size: [16000, 16000], noise: 1, pixel_scale: 0.1}\n" + lens,
		"noise of 1e-320":   "data: {image: m.fits, noise: 1e-320, pixel_scale: 0.15}\n" + lens,
		"noise of 1e308":    "data: {image: m.fits, noise: 1e308, pixel_scale: 0.15}\n" + lens,
		"scale of 1e308":    "data: {image: m.fits, noise: 1, pixel_scale: 1e308}\n" + lens,
		"scale of 1e-320":   "data: {image: m.fits, noise: 1, pixel_scale: 1e-320}\n" + lens,
		"psf of 1e9":        "data: {image: m.fits, noise: 1, pixel_scale: 0.15, psf: {gaussian: 1e9}}\n" + lens,
		"psf of 1e-300":     "data: {image: m.fits, noise: 1, pixel_scale: 0.15, psf: {gaussian: 1e-300}}\n" + lens,
		"psf of 50":         "data: {image: m.fits, noise: 1, pixel_scale: 0.15, psf: {gaussian: 50}}\n" + lens,
		"samples of 10^9":   "data: {image: m.fits, noise: 1, pixel_scale: 0.15, supersampling: 1000000000}\n" + lens,
		"samples of 16":     "data: {image: m.fits, noise: 1, pixel_scale: 0.15, supersampling: 16, psf: {gaussian: 1}}\n" + lens,
		"mask of masks":     "data: {image: m.fits, noise: 1, pixel_scale: 0.15, mask: " + strings.Repeat("{not: ", 15) + "{circle: 1}" + strings.Repeat("}", 15) + "}\n" + lens,
		"mask of 20000":     "data: {image: m.fits, noise: 1, pixel_scale: 0.15, mask: [" + strings.Repeat("{circle: 1},", 20000) + "]}\n" + lens,
		"prior of 1e308":    data + "lens: [{type: sis, priors: {theta_E: {normal: [1e308, 1e308]}}}]\nsource: [{type: sersic}]\n",
		"prior of 1e-320":   data + "lens: [{type: sis, priors: {theta_E: {normal: [1, 1e-320]}}}]\nsource: [{type: sersic}]\n",
		"uniform of 1e308":  data + "lens: [{type: sis, priors: {theta_E: {uniform: [-1e308, 1e308]}}}]\nsource: [{type: sersic}]\n",
		"lognormal of 1e9":  data + "lens: [{type: sis, priors: {theta_E: {lognormal: [1e9, 1e9]}}}]\nsource: [{type: sersic}]\n",
		"bounds far out":    data + "lens: [{type: sis, priors: {theta_E: {normal: [1, 0.001], bounds: [1e6, 1e7]}}}]\nsource: [{type: sersic}]\n",
		"bounds of a point": data + "lens: [{type: sis, priors: {theta_E: {normal: [1, 1], bounds: [1, 1.0000000000000002]}}}]\nsource: [{type: sersic}]\n",
		"bounds turned":     data + "lens: [{type: sis, priors: {theta_E: {normal: [1, 1], bounds: [5, 1]}}}]\nsource: [{type: sersic}]\n",
		"nan for a prior":   data + "lens: [{type: sis, priors: {theta_E: {fixed: .nan}}}]\nsource: [{type: sersic}]\n",
		"all fixed":         data + "lens: [{type: sis, priors: {theta_E: {fixed: 1}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\nsource: [{type: gaussian, priors: {amp: {fixed: 1}, sigma: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\n",
		"redshift of 1e308": data + "lens: [{type: sis, redshift: 1e308}]\nsource: [{type: sersic, redshift: 1.5}]\n",
		"redshift turned":   data + "lens: [{type: sis, redshift: 5}]\nsource: [{type: sersic, redshift: 1.5}]\n",
		"extension of 10^9": "data: {image: \"m.fits[1000000000]\", noise: 1, pixel_scale: 0.1}\n" + lens,
		"extension -1":      "data: {image: \"m.fits[-1]\", noise: 1, pixel_scale: 0.1}\n" + lens,
		"sersic of n 1e300": data + "lens: [{type: sis}]\nsource: [{type: sersic, priors: {n: {fixed: 1e300}}}]\n",
		"sersic of n 1e-9":  data + "lens: [{type: sis}]\nsource: [{type: sersic, priors: {n: {fixed: 1e-9}}}]\n",
		"lens of 1e300":     data + "lens: [{type: epl, priors: {theta_E: {fixed: 1e300}, gamma: {fixed: 2}, e1: {fixed: 0.999}}}]\nsource: [{type: sersic}]\n",
		"gamma of 3":        data + "lens: [{type: epl, priors: {gamma: {fixed: 3}}}]\nsource: [{type: sersic}]\n",
		"no lens":           data,
		"empty":             "",
		"a list":            "[1, 2, 3]\n",
		"a number":          "1e999\n",
		"17 MB":             strings.Repeat("# comment\n", 1_800_000),
	}
	for name, text := range texts {
		base := "m.fits points.csv"
		c.add("yaml", name, "eval FILE --quiet", base, "h.yaml", []byte(text))
		c.add("yaml", name, "fit FILE -o o"+quickFit, base, "h.yaml", []byte(text))
		switch {
		case strings.Contains(name, "prior") || strings.Contains(name, "bounds") || strings.Contains(name, "uniform") || strings.Contains(name, "lognormal") || strings.Contains(name, "size") || strings.Contains(name, "redshift"):
			c.add("yaml", name, "mock FILE -o o.fits --draw --quiet", base, "h.yaml", []byte(text))
			c.add("yaml", name, "deflect FILE --points points.csv --quiet", base, "h.yaml", []byte(text))
		case name == "all fixed":
			c.add("yaml", name, "sample FILE -o o"+quickSample, base, "h.yaml", []byte(text))
			c.add("yaml", name, "fit FILE --optimizer adam -o o"+quickFit, base, "h.yaml", []byte(text))
		}
	}
	many := strings.Builder{}
	for i := range 200000 {
		fmt.Fprintf(&many, `"lens.k%d": 1,`, i)
	}
	for name, text := range map[string]string{
		"deep": strings.Repeat("[", 1_000_000), "deep objects": strings.Repeat(`{"a":`, 500_000), "many": "{" + many.String() + `"x": 1}`, "long": `{"` + long + `": 1}`, "control": `{"\u001b[31m\n": 1}`, "raw control": "{\"\x1b[31m\": 1}",
		"1e400": `{"lens.sie.theta_E": 1e400}`, "nan": `{"lens.sie.theta_E": NaN}`, "1e308": `{"lens.sie.theta_E": 1e308}`, "1e-308": `{"lens.sie.theta_E": 1e-308}`, "negative": `{"lens.sie.theta_E": -1e300}`, "text": `{"lens.sie.theta_E": "1"}`, "list": `{"source.decoder.z": [1, 2]}`,
		"twice": `{"lens.sie.theta_E": 1, "lens.sie.theta_E": 2}`, "null": "null", "empty": "", "latents of 1e30": `{"source.decoder.z.1": 1e30, "source.decoder.z.2": 1e38}`, "scale of 1e-300": `{"source.decoder.s": 1e-300}`, "e of 1": `{"lens.sie.e1": 1, "lens.sie.e2": 1}`,
		"two documents": "{} {}", "long number": `{"lens.sie.theta_E": ` + strings.Repeat("9", 1<<20) + "}", "parameters": `{"parameters": {"lens.sie.theta_E": null}}`,
	} {
		c.add("json", name, "eval m.yaml --params FILE --grad --quiet", "m.yaml m.fits b", "h.json", []byte(text))
		c.add("json", name, "mock m.yaml --params FILE -o o.fits --quiet", "m.yaml m.fits b", "h.json", []byte(text))
	}
	for name, text := range map[string]string{
		"1e308": "x,y\n1e308,1e308\n", "nan": "x,y\nnan,inf\n", "ragged": "x,y\n1\n1,2,3\n", "no rows": "x,y\n", "empty": "", "quote": "x,y\n\"1,2\n", "long field": "x,y\n" + long + long + ",1\n", "control": "x,y\n\x1b[31m,1\n",
		"header": esc + ",y\n1,2\n", "long header": long + ",y\n1,2\n", "many columns": strings.Repeat("x,", 200000) + "y\n", "1e-320": "x,y\n1e-320,0\n", "centre": "x,y\n0,0\n", "null": "x,y\n\x00,\x00\n", "million": "x,y\n" + strings.Repeat("1,2\n", 1_000_000),
	} {
		c.add("csv", name, "deflect m.yaml --points FILE --quiet", "m.yaml m.fits b", "h.csv", []byte(text))
		c.add("csv", name, "survey plan FILE -o s2 --quiet", "m.yaml m.fits b", "h.csv", []byte(strings.NewReplacer("x,y", "name,image").Replace(text)))
		c.add("csv", name, "dataset prepare g.fits --catalog FILE -o p.fits --size 16 --quiet", "g.fits", "h.csv", []byte(strings.NewReplacer("x,y", "id,peak_snr").Replace(text)))
	}
}

func (c *corpus) handRuns() {
	const all = "m.yaml m.fits b f"
	config, coolest := string(c.read("f/config.yaml")), string(c.read("c/coolest.json"))
	fit, chain := string(c.read("f/fit.json")), string(c.read("f/samples_1.csv"))
	column := func(k int, v string) []byte {
		lines := strings.Split(chain, "\n")
		for i, l := range lines {
			if f := strings.Split(l, ","); len(f) > k && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "lp__") {
				f[k] = v
				lines[i] = strings.Join(f, ",")
			}
		}
		return []byte(strings.Join(lines, "\n"))
	}
	for _, k := range []int{0, 2, 3, 7, 9} {
		for _, v := range []string{"1e308", "-1e308", "NaN", "1e-320", "0", "1e15", "inf", "x"} {
			c.add("run", fmt.Sprintf("column %d is %s", k, v), "plot f --quiet", all, "f/samples_1.csv", column(k, v))
		}
	}
	for name, b := range map[string][]byte{
		"chain of one draw": []byte(strings.Join(strings.Split(chain, "\n")[:12], "\n")), "chain empty": nil, "chain without numbers": []byte("lp__\n"), "chain twice the header": []byte(chain + chain),
		"chain of 10^5 columns": []byte(strings.Repeat("lens.x,", 100000) + "lp__\n" + strings.Repeat("1,", 100000) + "1\n"),
	} {
		c.add("run", name, "plot f --quiet", all, "f/samples_1.csv", b)
		c.add("run", name, "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet", all, "f/samples_1.csv", b)
	}
	for name, b := range map[string]string{
		"status": strings.Replace(fit, `"converged"`, `"\u001b[31mdone"`, 1), "empty object": "{}", "null": "null", "deep": strings.Repeat("[", 200000), "long reason": strings.Replace(fit, `"status"`, `"reason": "`+strings.Repeat("r", 1<<20)+`", "status"`, 1),
		"reason of control chars": strings.Replace(fit, `"status": "converged"`, `"status": "failed", "reason": "\u001b[31m\nx"`, 1), "input is a device": strings.Replace(fit, `"path": "m.yaml"`, `"path": "/dev/zero"`, 1),
	} {
		for _, line := range []string{"plot f --quiet", "sample f -o o" + quickSample, "eval m.yaml --params f/fit.json --quiet", "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet"} {
			c.add("run", name, line, all, "f/fit.json", []byte(b))
		}
		for _, line := range []string{"survey status s", "survey merge s --quiet", "survey run s --index 1 --quiet"} {
			c.add("survey", name, line, "m.yaml m.fits b s", "s/one/fit.json", []byte(b))
		}
	}
	for name, b := range map[string]string{
		"config of another image": strings.Replace(config, "m.fits", "g.fits", 1), "config is a device": strings.Replace(config, "m.fits", "/dev/zero", 1), "config empty": "",
	} {
		for _, line := range []string{"plot f --quiet", "sample f" + quickSample} {
			c.add("run", name, line, all+" g.fits", "f/config.yaml", []byte(b))
		}
	}
	for name, b := range map[string]string{
		"1e300": `{"mean": [0,0,0,0], "covariance": [[1e300,0,0,0],[0,1e300,0,0],[0,0,1e300,0],[0,0,0,1e300]]}`, "1e308": `{"mean": [1e308,0,0,0], "covariance": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}`,
		"1e-300": `{"mean": [0,0,0,0], "covariance": [[1e-300,0,0,0],[0,1e-300,0,0],[0,0,1e-300,0],[0,0,0,1e-300]]}`, "zeros": `{"mean": [0,0,0,0], "covariance": [[0,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,0]]}`,
		"negative": `{"mean": [0,0,0,0], "covariance": [[-1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}`, "no mean": `{"covariance": []}`, "ragged": `{"mean": [0,0,0,0], "covariance": [[1],[],[1,2,3],[]]}`, "deep": `{"mean": ` + strings.Repeat("[", 100000), "null": "null",
		"mean of 1e20": `{"mean": [1e20,1e20,0,0], "covariance": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}`, "rows of 10^6": `{"mean": [0,0,0,0], "covariance": [` + strings.TrimSuffix(strings.Repeat("[],", 1_000_000), ",") + `]}`,
	} {
		c.add("bundle", name, "plot vb -o o --quiet", "vb", "vb/prior.json", []byte(b))
		c.add("bundle", name, "eval m.yaml --grad --quiet", "m.yaml m.fits b", "b/prior.json", []byte(b))
		c.add("bundle", name, "fit m.yaml -o o"+quickFit, "m.yaml m.fits b", "b/prior.json", []byte(b))
		c.add("bundle", name, "mock m.yaml --draw -o o.fits --quiet", "m.yaml m.fits b", "b/prior.json", []byte(b))
	}
	for name, b := range map[string]string{
		"device": strings.Replace(coolest, `"data.fits"`, `"/dev/zero"`, 1), "far": strings.Replace(coolest, `"data.fits"`, `"../../../../../etc/passwd"`, 1), "deep": strings.Repeat(`{"lensing_entities":[`, 100000), "null": "null", "empty": "{}",
		"control": strings.Replace(coolest, `"COOLEST"`, `"\u001b[31m"`, 1), "long": strings.Replace(coolest, `"data.fits"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1),
	} {
		c.add("coolest", name, "eval FILE --quiet", "c", "c/coolest.json", []byte(b))
		c.add("coolest", name, "mock FILE -o o.fits --quiet", "c", "c/coolest.json", []byte(b))
	}
	plan := string(c.read("s/survey.json"))
	for name, b := range map[string]string{
		"starts of 10^12": strings.Replace(plan, `"Starts": 2`, `"Starts": 1000000000000`, 1), "starts of -5": strings.Replace(plan, `"Starts": 2`, `"Starts": -5`, 1), "iterations of -9": strings.Replace(plan, `"Iterations": 40`, `"Iterations": -9`, 1),
		"iterations of 2^62": strings.Replace(plan, `"Iterations": 40`, `"Iterations": 4611686018427387904`, 1), "device": strings.Replace(plan, `"cpu"`, `"\u001b[31m"`, 1), "optimizer": strings.Replace(plan, `"lm"`, `"`+strings.Repeat("x", 100000)+`"`, 1),
		"lenses of 10^9": strings.Replace(plan, `"lenses": 2`, `"lenses": 1000000000`, 1), "per task 2^62": strings.Replace(plan, `"lenses_per_task": 1`, `"lenses_per_task": 4611686018427387904`, 1), "null": "null", "empty": "", "deep": strings.Repeat("[", 100000),
	} {
		for _, line := range []string{"survey run s --index 1 --force --quiet", "survey status s", "survey merge s --quiet"} {
			c.add("survey", name, line, "m.yaml m.fits b s", "s/survey.json", []byte(b))
		}
	}
	for name, b := range map[string]string{
		"name of dots": "name,config\n../../x,m.yaml\n", "device": "name,config,image,noise,psf,pixel_scale\none,/dev/zero,,,,\ntwo,,/dev/zero,0.05,none,0.15\n", "control": "name,config\n\x1b[31m,../m.yaml\ntwo,x\n", "formula": "name,config\n=1+1,../m.yaml\n@x,../m.yaml\n",
		"twice": "name,config\none,../m.yaml\none,../m.yaml\n", "long": "name,config\n" + strings.Repeat("n", 1<<20) + ",../m.yaml\ntwo,x\n",
	} {
		for _, line := range []string{"survey run s --index 1 --quiet", "survey status s", "survey merge s --quiet"} {
			c.add("survey", "manifest "+name, line, "m.yaml m.fits b s", "s/manifest.csv", []byte(b))
		}
	}
	for name, b := range map[string]string{
		"message": `{"state": "failed", "exit_code": 1, "message": "\u001b[31m\nfake done\r", "host": "\u001b]0;x\u0007", "pid": 1}`, "state": `{"state": "\u001b[31mdone", "exit_code": 1}`, "pid of -1": `{"state": "running", "exit_code": 0, "host": "h", "pid": -1, "started": "2030-01-01T00:00:00Z"}`,
		"year 9999": `{"state": "running", "exit_code": 0, "host": "h", "pid": 99999999, "started": "9999-12-31T23:59:59Z"}`, "year 0": `{"state": "running", "exit_code": 0, "pid": 1, "started": "0000-01-01T00:00:00Z"}`, "null": "null", "deep": strings.Repeat("[", 100000),
		"long": `{"state": "failed", "exit_code": 1, "message": "` + strings.Repeat("m", 1<<20) + `"}`,
	} {
		for _, line := range []string{"survey run s --index 1 --quiet", "survey status s", "survey merge s --quiet"} {
			k := c.add("survey", "status "+name, line, "m.yaml m.fits b s", "s/one/survey-status.json", []byte(b))
			_ = k
		}
	}
	// lengths and numbers of checkpoints that no change at random finds
	for _, file := range []string{"cf/checkpoint", "cs/checkpoint"} {
		line, base := fitStopped, "m.yaml m.fits b cf"
		if file == "cs/checkpoint" {
			line, base = sampleStopped, "m.yaml m.fits b cs"
		}
		for _, k := range shortened(c.read(file)) {
			c.add("checkpoint", file+" "+k.name, line, base, file, k.text).Runs = true
		}
	}
}
