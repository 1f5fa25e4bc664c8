package vae

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"lenskit/onnx"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
)

// vaeWeights is a network, or its decoder alone, with weights by our names.
type vaeWeights struct {
	Shape      Shape // without Hidden where there is no encoder
	Tensors    map[string]*onnx.Tensor
	HasEncoder bool
	// Names are the names that the file gave to the tensors that were taken over unchanged, by ours.
	Names map[string]string
}

// matchLine is a row of the table that says what became of a file's tensors.
type matchLine struct{ ours, expected, file, found string }

// matchError is the failure of matchVAE, with the table of what matched.
type matchError struct {
	why   string
	lines []matchLine
	spare []tensors.Named
}

func (e *matchError) Error() string { return e.why }

// table writes what matched and what did not.
func (e *matchError) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "expected\tshape\tin the file\tshape")
	for _, l := range e.lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.ours, l.expected, term.Shown(l.file), l.found)
	}
	const most = 50
	for _, s := range e.spare[:min(most, len(e.spare))] {
		fmt.Fprintf(t, "—\t—\t%s\t%v\n", term.Shown(s.Name), s.Tensor.Shape)
	}
	if more := len(e.spare) - most; more > 0 {
		fmt.Fprintf(t, "—\t—\t%d more\t\n", more)
	}
	t.Flush()
}

// module is the tensors that share a name up to the last point.
type module struct {
	name string
	part map[string]*tensors.Named
}

// has tells whether the module has exactly these parts, num_batches_tracked aside.
func (m *module) has(parts ...string) bool {
	for _, p := range parts {
		if m.part[p] == nil {
			return false
		}
	}
	return len(m.part) == len(parts)
}

func (m *module) rank(part string) int {
	if w := m.part[part]; w != nil {
		return len(w.Tensor.Shape)
	}
	return -1
}

// isConv tells whether the module is a convolution with a 4 x 4 window.
func (m *module) isConv() bool {
	s := m.part["weight"]
	return s != nil && len(s.Tensor.Shape) == 4 && s.Tensor.Shape[2] == 4 && s.Tensor.Shape[3] == 4 && (m.has("weight") || m.has("weight", "bias"))
}

func (m *module) isNorm() bool {
	return m.rank("weight") == 1 && m.has("weight", "bias", "running_mean", "running_var")
}

func (m *module) isLinear() bool { return m.rank("weight") == 2 && m.has("weight", "bias") }

// extent is extent i of the module's weight.
func (m *module) extent(i int) int { return int(m.part["weight"].Tensor.Shape[i]) }

// modulesOf groups tensors into modules in the order of the file; sorted says that the file's order means nothing, and
// numbers in the names count instead.
func modulesOf(ws []tensors.Named, sorted bool) ([]*module, error) {
	var list []*module
	at := map[string]*module{}
	for i := range ws {
		w := ws[i]
		name, leaf := "", w.Name
		if k := strings.LastIndexByte(w.Name, '.'); k >= 0 {
			name, leaf = w.Name[:k], w.Name[k+1:]
		}
		if leaf == "num_batches_tracked" || strings.HasPrefix(w.Name, "adam.") {
			continue
		}
		if w.Tensor.Floats == nil && w.Tensor.Doubles == nil && w.Tensor.Size() > 0 {
			return nil, fmt.Errorf("tensor %s is %s, expected floating-point numbers", term.Shown(w.Name), w.DType)
		}
		m := at[name]
		if m == nil {
			m = &module{name: name, part: map[string]*tensors.Named{}}
			at[name] = m
			list = append(list, m)
		}
		m.part[leaf] = &w
	}
	if sorted {
		slices.SortStableFunc(list, func(a, b *module) int { return naturalCompare(a.name, b.name) })
	}
	return list, nil
}

// naturalCompare orders names with their numbers by value: layer.2 before layer.10.
func naturalCompare(a, b string) int {
	digits := func(s string) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	}
	for a != "" && b != "" {
		i, j := digits(a), digits(b)
		if i > 0 && j > 0 {
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// side tells to which half of an autoencoder a module's name says it belongs: "enc", "dec" or "".
func (m *module) side() string {
	for _, word := range strings.FieldsFunc(strings.ToLower(m.name), func(r rune) bool { return r == '.' || r == '_' || r == '/' }) {
		switch {
		case strings.HasPrefix(word, "dec"), strings.HasPrefix(word, "gen"):
			return "dec"
		case strings.HasPrefix(word, "enc"):
			return "enc"
		}
	}
	return ""
}

// matchVAE finds the layers of tables D1 and D2, with any numbers of channels and latents, among the tensors of a file:
// convolutions by their order and by the chain of their shapes, normalisations by order and size, and the two linear
// layers by their names, else their order. Prefixes of the names do not matter. A file may hold the decoder alone.
//
// Biases of transposed convolutions, which the tables do not have, go into the running means behind them; the last one
// is an input of the last convolution. A layer named after log σ² instead of log σ is halved.
func matchVAE(ws []tensors.Named, sorted bool) (*vaeWeights, error) {
	mods, err := modulesOf(ws, sorted)
	if err != nil {
		return nil, &matchError{why: err.Error()}
	}
	halves := map[string][]*module{}
	for _, m := range mods {
		halves[m.side()] = append(halves[m.side()], m)
	}
	v := &vaeWeights{Tensors: map[string]*onnx.Tensor{}, Names: map[string]string{}}
	k := &matcher{v: v}
	dec, enc := halves["dec"], halves["enc"]
	switch {
	case len(dec) == 0 && len(enc) == 0:
		dec = halves[""] // a bare decoder
	case len(dec) == 0:
		dec = halves[""]
	default:
		enc = append(enc, halves[""]...)
	}
	k.decoder(dec)
	if k.why == "" && len(enc) > 0 {
		k.encoder(enc)
		v.HasEncoder = true
	}
	for _, m := range mods {
		if !k.used[m] {
			for _, part := range []string{"weight", "bias", "running_mean", "running_var"} {
				if w := m.part[part]; w != nil {
					k.spare = append(k.spare, *w)
				}
			}
			for part, w := range m.part {
				if !slices.Contains([]string{"weight", "bias", "running_mean", "running_var"}, part) {
					k.spare = append(k.spare, *w)
				}
			}
		}
	}
	if k.why == "" && len(k.spare) > 0 {
		k.fail("%d tensors, the first of them %s, have no place in tables D1 and D2", len(k.spare), term.Shown(k.spare[0].Name))
	}
	if k.why != "" {
		return nil, &matchError{k.why, k.lines, k.spare}
	}
	return v, nil
}

// matcher collects what matches.
type matcher struct {
	v     *vaeWeights
	used  map[*module]bool
	lines []matchLine
	spare []tensors.Named
	why   string
}

func (k *matcher) fail(format string, args ...any) {
	if k.why == "" {
		k.why = fmt.Sprintf(format, args...)
	}
}

// take gives the part of a module our name.
func (k *matcher) take(ours string, m *module, part string) {
	w := m.part[part]
	if k.used == nil {
		k.used = map[*module]bool{}
	}
	k.used[m] = true
	k.v.Tensors[ours] = asFloat32(w.Tensor)
	k.v.Names[ours] = w.Name
	k.lines = append(k.lines, matchLine{ours, fmt.Sprint(w.Tensor.Shape), w.Name, fmt.Sprint(w.Tensor.Shape)})
}

// lacks records that nothing in the file fits.
func (k *matcher) lacks(ours, shape string) {
	k.lines = append(k.lines, matchLine{ours, shape, "—", "—"})
}

// asFloat32 is a tensor in float32: itself, or a copy.
func asFloat32(t *onnx.Tensor) *onnx.Tensor {
	if t.Type == onnx.Float32 {
		return t
	}
	out := onnx.FloatTensor(make([]float32, t.Size()), t.Shape...)
	for i := range out.Floats {
		out.Floats[i] = float32(t.Float(i))
	}
	return out
}

// chain orders the convolutions among modules so that the operand of each is the result of the one before; in and out
// are the axes of operand and result channels. last tells whether a convolution may be the last one. The order of the
// file is taken where it chains.
func chain(mods []*module, in, out int, last func(m *module) bool) []*module {
	var convs []*module
	for _, m := range mods {
		if m.isConv() {
			convs = append(convs, m)
		}
	}
	chained := func(list []*module) bool {
		for i := 1; i < len(list); i++ {
			if list[i].extent(in) != list[i-1].extent(out) {
				return false
			}
		}
		return len(list) > 0 && last(list[len(list)-1])
	}
	if chained(convs) {
		return convs
	}
	// From the end, each step must be clear.
	left := slices.Clone(convs)
	pick := func(ok func(m *module) bool) *module {
		var found *module
		at := -1
		for i, m := range left {
			if ok(m) {
				if found != nil {
					return nil
				}
				found, at = m, i
			}
		}
		if found != nil {
			left = slices.Delete(left, at, at+1)
		}
		return found
	}
	end := pick(last)
	if end == nil {
		return nil
	}
	list := []*module{end}
	for len(left) > 0 {
		m := pick(func(m *module) bool { return m.extent(out) == list[0].extent(in) })
		if m == nil {
			return nil
		}
		list = slices.Insert(list, 0, m)
	}
	return list
}

// norm takes the first unused normalisation of the given size.
func (k *matcher) norm(mods []*module, layer string, size int) {
	for _, m := range mods {
		if !k.used[m] && m.isNorm() && m.extent(0) == size {
			for _, part := range []string{"weight", "bias", "running_mean", "running_var"} {
				k.take(layer+"."+part, m, part)
			}
			return
		}
	}
	k.lacks(layer+".weight", fmt.Sprint([]int{size}))
	k.fail("no BatchNorm of %d channels for %s", size, layer)
}

func (k *matcher) decoder(mods []*module) {
	convs := chain(mods, 0, 1, func(m *module) bool { return m.extent(1) == 1 })
	if len(convs) < 2 {
		k.lacks("dec.0.weight", "[L C 4 4]")
		k.lacks("…", "")
		k.lacks("dec.N.weight", "[C 1 4 4]")
		k.fail("no chain of transposed convolutions with 4 x 4 windows that ends in one channel")
		return
	}
	n := len(convs) - 1
	k.v.Shape.Latents = convs[0].extent(0)
	for i, m := range convs {
		k.take(fmt.Sprintf("dec.%d.weight", 3*i), m, "weight")
		if i == n {
			if m.part["bias"] != nil {
				k.take(fmt.Sprintf("dec.%d.bias", 3*i), m, "bias")
			}
			break
		}
		k.v.Shape.Channels = append([]int{m.extent(1)}, k.v.Shape.Channels...)
		layer := fmt.Sprintf("dec.%d", 3*i+1)
		k.norm(mods, layer, m.extent(1))
		if b := m.part["bias"]; b != nil && k.why == "" {
			mean := k.v.Tensors[layer+".running_mean"]
			for c := range mean.Floats {
				mean.Floats[c] -= float32(b.Tensor.Float(c))
			}
			delete(k.v.Names, layer+".running_mean")
			k.lines = append(k.lines, matchLine{layer + ".running_mean (less the bias)", fmt.Sprint(b.Tensor.Shape), b.Name, fmt.Sprint(b.Tensor.Shape)})
		}
	}
}

func (k *matcher) encoder(mods []*module) {
	channels := k.v.Shape.Channels
	want := len(channels) + 1
	convs := chain(mods, 1, 0, func(m *module) bool {
		return m.extent(1) == channels[len(channels)-1] && m.extent(0) != 1
	})
	if len(convs) != want || convs[0].extent(1) != 1 {
		k.lacks("enc.0.weight", fmt.Sprint([]int{channels[0], 1, 4, 4}))
		k.fail("no chain of %d convolutions with 4 x 4 windows from one channel for the encoder", want)
		return
	}
	at := 0
	for i, m := range convs {
		if i < len(channels) && m.extent(0) != channels[i] {
			k.lacks(fmt.Sprintf("enc.%d.weight", at), fmt.Sprint([]int{channels[i], m.extent(1), 4, 4}))
			k.fail("encoder convolution %d has %d channels, expected %d as in the decoder", i+1, m.extent(0), channels[i])
			return
		}
		if m.part["bias"] != nil {
			k.fail("encoder convolution %s has a bias, expected none", m.name)
			return
		}
		k.take(fmt.Sprintf("enc.%d.weight", at), m, "weight")
		at += 2
		if i > 0 && i < len(channels) {
			k.norm(mods, fmt.Sprintf("enc.%d", at-1), m.extent(0))
			at++
		}
	}
	hidden := convs[len(convs)-1].extent(0)
	k.v.Shape.Hidden = hidden
	var heads []*module
	for _, m := range mods {
		if !k.used[m] && m.isLinear() && m.extent(0) == k.v.Shape.Latents && m.extent(1) == hidden {
			heads = append(heads, m)
		}
	}
	if len(heads) != 2 {
		shape := fmt.Sprint([]int{k.v.Shape.Latents, hidden})
		k.lacks("mu.weight", shape)
		k.lacks("log_sigma.weight", shape)
		k.fail("found %d linear layers %s for the encoder, expected two", len(heads), shape)
		return
	}
	log := func(m *module) bool {
		s := strings.ToLower(m.name)
		return strings.Contains(s, "log") || strings.Contains(s, "sigma") || strings.Contains(s, "std") || strings.Contains(s, "var")
	}
	if log(heads[0]) && !log(heads[1]) {
		heads[0], heads[1] = heads[1], heads[0]
	}
	for i, name := range []string{"mu", "log_sigma"} {
		k.take(name+".weight", heads[i], "weight")
		k.take(name+".bias", heads[i], "bias")
	}
	if s := strings.ToLower(heads[1].name); strings.Contains(s, "var") {
		// log σ = ½ log σ²
		for _, part := range []string{"log_sigma.weight", "log_sigma.bias"} {
			for i := range k.v.Tensors[part].Floats {
				k.v.Tensors[part].Floats[i] /= 2
			}
			delete(k.v.Names, part)
		}
	}
}

// list are the tensors in PyTorch's order under the names of the file they came from, or ours.
func (v *vaeWeights) list() []tensors.Named {
	var ws []tensors.Named
	add := func(ours string) {
		t := v.Tensors[ours]
		if t == nil {
			return
		}
		name := ours
		if len(v.Names) == len(v.Tensors) {
			name = v.Names[ours]
		}
		ws = append(ws, tensors.Named{Name: name, DType: "float32", Tensor: t})
	}
	for _, p := range v.Shape.params() {
		add(p.Name)
	}
	add("dec." + strconv.Itoa(3*len(v.Shape.Channels)) + ".bias")
	return ws
}
