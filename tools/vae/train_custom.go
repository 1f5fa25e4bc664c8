package vae

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/tools/config"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
)

// Copies of a custom architecture in the folder of its run, with the weights that training began with.
const (
	fileCustomEncoder = "start_encoder.onnx"
	fileCustomDecoder = "start_decoder.onnx"
)

// customVAE is an architecture given as two ONNX files. Its graphs are in inference form: BatchNorm normalises by the
// statistics that the files hold, which stay as they are, while its scale and bias are trained like everything else.
type customVAE struct {
	encoder, decoder *onnx.Graph // of one operator set
	latents          int
	width, height    int
	z                []int64     // shape of the decoder's input, -1 for the batch
	spread           latentWidth // what the encoder tells beside the mean
	list             []vaeParam
	weights          map[string]*onnx.Tensor // by the names in list
}

// latentWidth is how an encoder tells the width of its Gaussian.
type latentWidth int

const (
	halves     latentWidth = iota // one output [N, 2L]: mean and log standard deviation
	logSigma                      // a second output: the logarithm of the standard deviation
	logVar                        // of the variance
	plainSigma                    // the standard deviation
)

// loadCustom reads a custom architecture and checks that its halves fit together.
func loadCustom(encoder, decoder string) (*customVAE, error) {
	v := &customVAE{weights: map[string]*onnx.Tensor{}}
	var err error
	if v.encoder, err = onnx.Load(encoder); err != nil {
		return nil, term.AsBadInput(err)
	}
	if v.decoder, err = onnx.Load(decoder); err != nil {
		return nil, term.AsBadInput(err)
	}
	d := &config.Bundle{Path: decoder, Decoder: v.decoder}
	if err := d.Standard(); err != nil {
		return nil, err
	}
	v.latents, v.z = d.Latents, []int64{-1, int64(d.Latents)}
	for range len(v.decoder.Inputs[0].Shape) - 2 {
		v.z = append(v.z, 1)
	}
	if err := v.checkDecoder(decoder); err != nil {
		return nil, err
	}
	if err := v.checkEncoder(encoder); err != nil {
		return nil, err
	}
	set := max(v.encoder.Opset[""], v.decoder.Opset[""])
	for _, half := range []struct {
		prefix, file string
		graph        **onnx.Graph
	}{{"enc.", encoder, &v.encoder}, {"dec.", decoder, &v.decoder}} {
		if *half.graph, err = (*half.graph).Upgrade(set); err != nil {
			return nil, term.BadInput("%s: %w", half.file, err)
		}
		before := len(v.list)
		for _, name := range parameters(*half.graph) {
			t := (*half.graph).Init[name]
			v.weights[half.prefix+name] = t
			v.list = append(v.list, vaeParam{Name: half.prefix + name, Shape: t.Shape})
		}
		if len(v.list) == before {
			return nil, term.BadInput("%s: has no float32 weights, expected some to train", half.file)
		}
	}
	for domain, version := range v.decoder.Opset {
		if other, ok := v.encoder.Opset[domain]; ok && other != version {
			return nil, term.BadInput("%s: uses version %d of the operators of %s, expected %d as in %s", decoder, version, domain, other, encoder)
		}
	}
	return v, nil
}

// batchOf is what the halves are checked with: a batch that no other extent is likely to have.
const batchOf = 7

// checkDecoder finds the size of the images.
func (v *customVAE) checkDecoder(file string) error {
	z := slices.Clone(v.z)
	z[0] = batchOf
	g, err := diff.BindInput(v.decoder, v.decoder.Inputs[0].Name, z)
	if err != nil {
		return term.WithHint(term.BadInput("%s: %w, and training decodes many at a time", file, err), "export it with a dynamic batch")
	}
	out := g.Outputs[0]
	s, ok := extents(out.Shape)
	if !ok || out.Type != onnx.Float32 || len(s) < 3 || len(s) > 4 || s[0] != batchOf || len(s) == 4 && s[1] != 1 {
		return term.WithHint(term.BadInput("%s: output %q is %s for %d latents, expected float32 [%d 1 H W]", file, out.Name, config.TypeText(out), batchOf, batchOf), "export it with a dynamic batch")
	}
	v.height, v.width = int(s[len(s)-2]), int(s[len(s)-1])
	return nil
}

// checkEncoder checks that the encoder takes the decoder's images and gives its latents, and finds their spread.
func (v *customVAE) checkEncoder(file string) error {
	g := v.encoder
	if len(g.Inputs) != 1 || len(g.Inputs[0].Shape) != 4 || g.Inputs[0].Type != onnx.Float32 {
		found := make([]string, len(g.Inputs))
		for i, in := range g.Inputs {
			found[i] = in.Name + " " + config.TypeText(in)
		}
		return term.BadInput("%s: found the inputs (%s), expected one: images, float32 [N 1 %d %d]", file, strings.Join(found, ", "), v.height, v.width)
	}
	for _, n := range g.Nodes {
		if strings.HasPrefix(n.Op, "Random") {
			return term.BadInput("%s: node %q (%s) draws random numbers, expected mean and log σ as they are: lenskit draws the latents", file, n.Name, n.Op)
		}
	}
	g, err := diff.BindInput(g, g.Inputs[0].Name, []int64{batchOf, 1, int64(v.height), int64(v.width)})
	if err != nil {
		return term.WithHint(term.BadInput("%s: %w, expected [N 1 %d %d], the decoder's images", file, err, v.height, v.width), "export it with a dynamic batch")
	}
	want := [][]int64{{batchOf, int64(2 * v.latents)}}
	if len(g.Outputs) == 2 {
		want = [][]int64{{batchOf, int64(v.latents)}, {batchOf, int64(v.latents)}}
		name := strings.ToLower(strings.ReplaceAll(g.Outputs[1].Name, "_", ""))
		switch {
		case strings.Contains(name, "logvar"):
			v.spread = logVar
		case name == "sigma" || name == "std":
			v.spread = plainSigma
		default:
			v.spread = logSigma
		}
	}
	ok := len(g.Outputs) == len(want)
	var found []string
	for i, out := range g.Outputs {
		found = append(found, out.Name+" "+config.TypeText(out))
		s, known := extents(out.Shape)
		ok = ok && known && out.Type == onnx.Float32 && slices.Equal(s, want[i])
	}
	if !ok {
		return term.WithHint(term.BadInput("%s: found the outputs (%s) for %d images, expected mean and log σ: two of float32 [%d %d], or one [%d %d]", file, strings.Join(found, ", "), batchOf,
			batchOf, v.latents, batchOf, 2*v.latents), "the decoder takes %d latents; export the encoder with a dynamic batch", v.latents)
	}
	return nil
}

// settings are the operands that say how an operator works: by operator, the first one from which on none is trained.
var settings = map[string]int{"BatchNormalization": 3, "Clip": 1, "Dropout": 1, "OneHot": 1, "Pad": 1, "Range": 0, "Resize": 1}

// parameters lists the initialisers that training changes: those of float32 with at least one dimension that an output
// depends on, unless an operator takes them as settings. Exporters write constants without dimensions.
func parameters(g *onnx.Graph) []string {
	use, frozen := map[string]bool{}, map[string]bool{}
	for _, out := range g.Outputs {
		use[out.Name] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Out, func(s string) bool { return use[s] }) {
			continue
		}
		from, some := settings[n.Op]
		for i, s := range n.In {
			use[s] = true
			frozen[s] = frozen[s] || some && i >= from
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(g.Init)) {
		if t := g.Init[name]; t.Type == onnx.Float32 && len(t.Shape) > 0 && t.Size() > 0 && use[name] && !frozen[name] {
			names = append(names, name)
		}
	}
	return names
}

func (v *customVAE) params() []vaeParam { return v.list }

func (v *customVAE) size() (latents, width, height int) { return v.latents, v.width, v.height }

func (v *customVAE) opset() int { return v.encoder.Opset[""] }

func (v *customVAE) encode(n *vaeNet, x string) (mu, logS string) {
	out := n.graft(v.encoder, "enc.", x)
	switch v.spread {
	case halves:
		parts := n.OpN("Split", 2, map[string]onnx.Attr{"axis": onnx.IntAttr(1), "num_outputs": onnx.IntAttr(2)}, out[0])
		mu, logS = parts[0], parts[1]
	case logSigma:
		mu, logS = out[0], out[1]
	case logVar:
		mu, logS = out[0], n.Op("Mul", out[1], n.exact(0.5))
	case plainSigma:
		mu, logS = out[0], n.Op("Log", out[1])
	}
	return mu, n.Op("Clip", logS, n.Scalar(-vaeLogClamp), n.Scalar(vaeLogClamp))
}

func (v *customVAE) decode(n *vaeNet, z string) string {
	if len(v.z) > 2 {
		z = n.Op("Reshape", z, n.Ints(v.z...))
	}
	return n.Op("Reshape", n.graft(v.decoder, "dec.", z)[0], n.Ints(-1, 1, int64(v.height), int64(v.width)))
}

// graft appends a graph of one input to the net, its names behind a prefix, and returns its outputs. Initialisers that
// the net has under the new names, as weights or inputs, are taken from there.
func (n *vaeNet) graft(g *onnx.Graph, prefix, input string) []string {
	here := map[string]bool{}
	for _, in := range n.G.Inputs {
		here[in.Name] = true
	}
	for domain, version := range g.Opset {
		n.G.Opset[domain] = version
	}
	name := func(s string) string {
		switch s {
		case "":
			return ""
		case g.Inputs[0].Name:
			return input
		}
		return prefix + s
	}
	for s, t := range g.Init {
		if as := name(s); !here[as] && n.G.Init[as] == nil {
			n.G.Init[as] = t
		}
	}
	for _, node := range g.Nodes {
		n.Append(renamed(node, name))
	}
	var out []string
	for _, v := range g.Outputs {
		out = append(out, name(v.Name))
	}
	return out
}

// renamed is a copy of a node, and of the graphs in it, with other names of values.
func renamed(node *onnx.Node, name func(string) string) *onnx.Node {
	c := *node
	each := func(list []string) []string {
		out := make([]string, len(list))
		for i, s := range list {
			out[i] = name(s)
		}
		return out
	}
	c.Name, c.In, c.Out, c.Attr = name(node.Name), each(node.In), each(node.Out), maps.Clone(node.Attr)
	values := func(list []onnx.Value) []onnx.Value {
		out := slices.Clone(list)
		for i := range out {
			out[i].Name = name(out[i].Name)
		}
		return out
	}
	for key, a := range c.Attr {
		if a.Graph == nil {
			continue
		}
		g := *a.Graph
		g.Inputs, g.Outputs, g.Nodes = values(g.Inputs), values(g.Outputs), slices.Clone(g.Nodes)
		for i := range g.Nodes {
			g.Nodes[i] = renamed(g.Nodes[i], name)
		}
		g.Init, g.Info = map[string]*onnx.Tensor{}, map[string]onnx.Value{}
		for s, t := range a.Graph.Init {
			g.Init[name(s)] = t
		}
		a.Graph = &g
		c.Attr[key] = a
	}
	return &c
}

// initial are the weights that the files hold.
func (v *customVAE) initial(*rand.Rand) map[string]*onnx.Tensor { return v.weights }

// keep writes the architecture into the folder of a run.
func (v *customVAE) keep(dir string) error {
	if err := v.encoder.Save(filepath.Join(dir, fileCustomEncoder)); err != nil {
		return err
	}
	return v.decoder.Save(filepath.Join(dir, fileCustomDecoder))
}

// keptCustom reads the architecture beside the file of a run.
func keptCustom(file string) (*customVAE, error) {
	dir := filepath.Dir(file)
	for _, f := range []string{fileCustomEncoder, fileCustomDecoder} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			return nil, term.BadInput("%s: is of a custom architecture, expected %s beside it", file, f)
		}
	}
	return loadCustom(filepath.Join(dir, fileCustomEncoder), filepath.Join(dir, fileCustomDecoder))
}

// tensorsOf takes the architecture's parameters from a file.
func (v *customVAE) tensorsOf(ws []tensors.Named) (map[string]*onnx.Tensor, error) {
	found := map[string]*onnx.Tensor{}
	for _, w := range ws {
		found[w.Name] = w.Tensor
	}
	out := map[string]*onnx.Tensor{}
	for _, p := range v.list {
		t := found[p.Name]
		if t == nil || t.Type != onnx.Float32 || !slices.Equal(t.Shape, p.Shape) {
			return nil, fmt.Errorf("has no tensor %s of shape %v", p.Name, p.Shape)
		}
		out[p.Name] = t
	}
	return out, nil
}
