//go:build unix

package hostile

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strings"
)

// What follows writes the files that a hostile hand would write, with nothing of lenskit's own writers, which refuse most
// of it.

// message is a protocol buffer under way.
type message []byte

func (m *message) varint(field int, v uint64) {
	*m = binary.AppendUvarint(binary.AppendUvarint(*m, uint64(field)<<3), v)
}

func (m *message) bytes(field int, v []byte) {
	*m = append(binary.AppendUvarint(binary.AppendUvarint(*m, uint64(field)<<3|2), uint64(len(v))), v...)
}

func (m *message) text(field int, v string) { m.bytes(field, []byte(v)) }

// attr is an attribute of a node: an int64, a float32, a string, a list of int64, a tensor (as bytes) or a graph (as message).
func attr(name string, value any) (a message) {
	a.text(1, name)
	kind := uint64(0)
	switch v := value.(type) {
	case float32:
		a = binary.LittleEndian.AppendUint32(binary.AppendUvarint(a, 2<<3|5), math.Float32bits(v))
		kind = 1
	case int:
		a.varint(3, uint64(v))
		kind = 2
	case string:
		a.text(4, v)
		kind = 3
	case []byte:
		a.bytes(5, v)
		kind = 4
	case message:
		a.bytes(6, v)
		kind = 5
	case []int:
		for _, i := range v {
			a.varint(8, uint64(i))
		}
		kind = 7
	default:
		panic(fmt.Sprintf("attribute %T", value))
	}
	a.varint(20, kind)
	return a
}

// node is an operator with comma-separated inputs and outputs.
func node(op, in, out string, attrs ...message) (n message) {
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ",")
	}
	for _, s := range split(in) {
		n.text(1, s)
	}
	for _, s := range split(out) {
		n.text(2, s)
	}
	n.text(4, op)
	for _, a := range attrs {
		n.bytes(5, a)
	}
	return n
}

// floats is an initialiser of float32, ints one of int64, raw one with the bytes and the type as given.
func floats(name string, v []float32, dims ...int) message {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return raw(name, 1, b, dims...)
}

func ints(name string, v []int, dims ...int) message {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return raw(name, 7, b, dims...)
}

func raw(name string, kind int, b []byte, dims ...int) (t message) {
	for _, d := range dims {
		t.varint(1, uint64(d))
	}
	t.varint(2, uint64(kind))
	t.text(8, name)
	t.bytes(9, b)
	return t
}

// value is an input or output with its shape; a text among the dims is a symbol.
func value(name string, kind int, dims ...any) (v message) {
	var shape, tensor, typ message
	for _, d := range dims {
		var dim message
		switch d := d.(type) {
		case int:
			dim.varint(1, uint64(d))
		case string:
			dim.text(2, d)
		}
		shape.bytes(1, dim)
	}
	tensor.varint(1, uint64(kind))
	tensor.bytes(2, shape)
	typ.bytes(1, tensor)
	v.text(1, name)
	v.bytes(2, typ)
	return v
}

func graph(nodes, inits, in, out []message) (g message) {
	for _, n := range nodes {
		g.bytes(1, n)
	}
	g.text(2, "g")
	for _, n := range inits {
		g.bytes(5, n)
	}
	for _, n := range in {
		g.bytes(11, n)
	}
	for _, n := range out {
		g.bytes(12, n)
	}
	return g
}

func model(opset int, g message) []byte {
	var m, set message
	m.varint(1, 8)
	set.text(1, "")
	set.varint(2, uint64(opset))
	m.bytes(8, set)
	m.bytes(7, g)
	return m
}

// decoder is a model of four latents and an image of 8 x 8 pixels whose nodes make y of a, the latents times the weights
// ([N 64]). Initialisers beside the weights w and the shape s follow.
func decoder(opset int, nodes []message, inits ...message) []byte {
	w := make([]float32, 4*64)
	for i := range w {
		w[i] = float32(math.Sin(float64(i)*0.7)) * 0.3
	}
	nodes = append([]message{node("MatMul", "z,w", "a")}, nodes...)
	inits = append([]message{floats("w", w, 4, 64), ints("s", []int{-1, 1, 8, 8}, 4)}, inits...)
	return model(opset, graph(nodes, inits, []message{value("z", 1, "N", 4)}, []message{value("y", 1, "N", 1, 8, 8)}))
}

// npy is a file of numpy's with the header as given.
func npy(header string, data []byte) []byte {
	b := []byte("\x93NUMPY\x01\x00")
	for (10+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	return append(append(binary.LittleEndian.AppendUint16(b, uint16(len(header))), header...), data...)
}

// safetensors is a file with the header as given.
func safetensors(header string, data []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// pickle writes the opcodes that PyTorch's state dicts are made of.
type pickle struct{ bytes.Buffer }

func (p *pickle) str(s string) {
	p.WriteByte('X')
	binary.Write(p, binary.LittleEndian, uint32(len(s)))
	p.WriteString(s)
}

func (p *pickle) integer(n int) {
	if n < 0 || n > math.MaxInt32 {
		p.WriteString("\x8a\x08")
		binary.Write(p, binary.LittleEndian, int64(n))
		return
	}
	p.WriteByte('J')
	binary.Write(p, binary.LittleEndian, int32(n))
}

// tensor is a float32 tensor of a state dict; count is what the pickle claims of its storage.
type tensor struct {
	name           string
	data           []float32
	count, offset  int
	shape, strides []int
}

// stateDict pickles tensors, for a zip container or a legacy one, whose persistent ids have one item more.
func stateDict(ts []tensor, legacy bool) []byte {
	var p pickle
	p.WriteString("\x80\x02ccollections\nOrderedDict\n)R(")
	for i, t := range ts {
		p.str(t.name)
		p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n((")
		p.str("storage")
		p.WriteString("ctorch\nFloatStorage\n")
		p.str(fmt.Sprint(i))
		p.str("cpu")
		p.integer(t.count)
		if legacy {
			p.WriteByte('N')
		}
		p.WriteString("tQ")
		p.integer(t.offset)
		for _, list := range [][]int{t.shape, t.strides} {
			p.WriteByte('(')
			for _, n := range list {
				p.integer(n)
			}
			p.WriteByte('t')
		}
		p.WriteString("\x89ccollections\nOrderedDict\n)RtR")
	}
	p.WriteString("u.")
	return p.Bytes()
}

// torchZip is the container of torch.save: nothing in it is compressed unless method says so.
func torchZip(pickle []byte, ts []tensor, method uint16) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: "m/" + name, Method: method})
		if err != nil {
			panic(err)
		}
		f.Write(data)
	}
	add("data.pkl", pickle)
	add("version", []byte("3\n"))
	for i, t := range ts {
		add(fmt.Sprintf("data/%d", i), floatBytes(t.data))
	}
	w.Close()
	return b.Bytes()
}

// torchLegacy is the container of torch.save before version 1.6.
func torchLegacy(pickle []byte, ts []tensor) []byte {
	var b bytes.Buffer
	b.WriteString("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.")
	b.Write(pickle)
	b.WriteString("\x80\x02](")
	for i := range ts {
		s := fmt.Sprint(i)
		b.WriteByte('X')
		binary.Write(&b, binary.LittleEndian, uint32(len(s)))
		b.WriteString(s)
	}
	b.WriteString("e.")
	for _, t := range ts {
		binary.Write(&b, binary.LittleEndian, int64(len(t.data)))
		b.Write(floatBytes(t.data))
	}
	return b.Bytes()
}

func floatBytes(v []float32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// tensorsOf reads the float32 tensors of a safetensors file.
func tensorsOf(b []byte) ([]tensor, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("safetensors: too short")
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)-8) {
		return nil, fmt.Errorf("safetensors: header of %d bytes", n)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &all); err != nil {
		return nil, err
	}
	var out []tensor
	for name, text := range all {
		var t struct {
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if name == "__metadata__" || json.Unmarshal(text, &t) != nil {
			continue
		}
		data := b[8+int(n)+t.Offsets[0] : 8+int(n)+t.Offsets[1]]
		v := make([]float32, len(data)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		strides := make([]int, len(t.Shape))
		step := 1
		for i := len(t.Shape) - 1; i >= 0; i-- {
			strides[i] = step
			step *= t.Shape[i]
		}
		out = append(out, tensor{name, v, len(v), 0, t.Shape, strides})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, nil
}

// hdu is a header and its data, each filled up to a whole number of blocks.
func hdu(data []byte, cards ...string) []byte {
	var b []byte
	for _, c := range append(cards, "END") {
		b = append(b, fmt.Sprintf("%-80.80s", c)...)
	}
	for len(b)%2880 > 0 {
		b = append(b, ' ')
	}
	b = append(b, data...)
	for len(b)%2880 > 0 {
		b = append(b, 0)
	}
	return b
}

// card is a card with a value: a text is put in quotes.
func card(key string, v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%-8.8s= '%-8s'", key, s)
	}
	return fmt.Sprintf("%-8.8s= %20v", key, v)
}

// image is a FITS file of one image.
func image(bitpix, w, h int, data []byte, cards ...string) []byte {
	return hdu(data, append([]string{"SIMPLE  =                    T", card("BITPIX", bitpix), card("NAXIS", 2), card("NAXIS1", w), card("NAXIS2", h)}, cards...)...)
}

// pixels are smooth integers for an image of w x h.
func pixels(w, h int) []int32 {
	p := make([]int32, w*h)
	for i := range p {
		x, y := float64(i%w)-float64(w)/2, float64(i/w)-float64(h)/2
		p[i] = int32(1000*math.Exp(-(x*x+y*y)/30)) + int32(i*7919%5)
	}
	return p
}

// tiled is a tile-compressed image of 32-bit integers, a tile for each row, by GZIP_1 or RICE_1; heap and rows are changed by
// edit before they are written.
func tiled(method string, w, h int, edit func(rows, heap []byte) ([]byte, []byte), cards ...string) []byte {
	p := pixels(w, h)
	var rows, heap []byte
	for y := range h {
		var tile []byte
		if method == "RICE_1" {
			tile = rice(p[y*w : (y+1)*w])
		} else {
			var b bytes.Buffer
			g := gzip.NewWriter(&b)
			binary.Write(g, binary.BigEndian, p[y*w:(y+1)*w])
			g.Close()
			tile = b.Bytes()
		}
		rows = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(rows, uint32(len(tile))), uint32(len(heap)))
		heap = append(heap, tile...)
	}
	if edit != nil {
		rows, heap = edit(rows, heap)
	}
	all := map[string]string{}
	var order []string
	for _, c := range append([]string{card("XTENSION", "BINTABLE"), card("BITPIX", 8), card("NAXIS", 2), card("NAXIS1", 8), card("NAXIS2", h), card("PCOUNT", len(heap)),
		card("GCOUNT", 1), card("TFIELDS", 1), card("TTYPE1", "COMPRESSED_DATA"), card("TFORM1", fmt.Sprintf("1PB(%d)", len(heap))), card("ZIMAGE", "T"), card("ZBITPIX", 32),
		card("ZNAXIS", 2), card("ZNAXIS1", w), card("ZNAXIS2", h), card("ZTILE1", w), card("ZTILE2", 1), card("ZCMPTYPE", method), card("ZNAME1", "BLOCKSIZE"), card("ZVAL1", 32),
		card("ZNAME2", "BYTEPIX"), card("ZVAL2", 4)}, cards...) {
		k := strings.TrimSpace(c[:8])
		if _, ok := all[k]; !ok {
			order = append(order, k)
		}
		all[k] = c
	}
	all["ZIMAGE"] = "ZIMAGE  =                    T"
	list := make([]string, len(order))
	for i, k := range order {
		list[i] = all[k]
	}
	primary := hdu(nil, "SIMPLE  =                    T", card("BITPIX", 8), card("NAXIS", 0), "EXTEND  =                    T")
	return append(primary, hdu(append(rows, heap...), list...)...)
}

// rice codes differences of neighbours in blocks of 32 as the FITS standard tells, each with 5 low bits.
func rice(p []int32) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(p[0]))
	var acc uint64
	n := 0
	put := func(v uint64, bits int) {
		for i := bits - 1; i >= 0; i-- {
			acc = acc<<1 | v>>i&1
			if n++; n == 8 {
				out, acc, n = append(out, byte(acc)), 0, 0
			}
		}
	}
	last := p[0]
	for i := 0; i < len(p); i += 32 {
		const low = 5
		put(low+1, 5)
		for _, v := range p[i:min(len(p), i+32)] {
			d := v - last
			last = v
			u := uint64(uint32(d<<1) ^ uint32(d>>31))
			put(1, int(u>>low)+1)
			put(u&(1<<low-1), low)
		}
	}
	if n > 0 {
		put(0, 8-n)
	}
	return out
}

// zipped is b through gzip.
func zipped(b []byte) []byte {
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	g.Write(b)
	g.Close()
	return z.Bytes()
}

// bzip2 and xz hold an image of 24 x 24 zeros, BITPIX 8; Go has no writer for either.
func embedded(text string) []byte {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}
