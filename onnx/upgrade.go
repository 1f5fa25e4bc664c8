package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// upgrader appends node n, written for operator set from, in the form of the graph's operator set. n is a copy that it
// may change.
type upgrader func(z *normaliser, n *Node, from int) error

// upgrades lists the operators whose form changed before the operator set that graphs are brought to, with the first
// set that needs no change.
var upgrades = map[string]struct {
	until int
	f     upgrader
}{
	"Add": {7, oldBroadcast}, "And": {7, oldBroadcast}, "Div": {7, oldBroadcast}, "Equal": {7, oldBroadcast},
	"Greater": {7, oldBroadcast}, "Less": {7, oldBroadcast}, "Mul": {7, oldBroadcast}, "Or": {7, oldBroadcast},
	"Pow": {7, oldBroadcast}, "Sub": {7, oldBroadcast}, "Xor": {7, oldBroadcast},
	"BatchNormalization": {14, oldBatchNorm},
	"Cast":               {6, oldCast},
	"Clip":               {11, oldClip},
	"Concat":             {4, oldConcat},
	"DFT":                {20, oldDFT},
	"Dropout":            {12, oldDropout},
	"Gemm":               {7, dropAttr("broadcast")},
	"GridSample":         {20, oldGridSample},
	"GroupNormalization": {21, oldGroupNorm},
	"Hardmax":            {13, oldSoftmax}, "LogSoftmax": {13, oldSoftmax}, "Softmax": {13, oldSoftmax},
	"PRelu":     {7, oldPRelu},
	"Pad":       {11, oldPad},
	"ReduceSum": {13, axesOperand}, "Squeeze": {13, axesOperand}, "Unsqueeze": {13, axesOperand},
	"ReduceL1": {18, axesOperand}, "ReduceL2": {18, axesOperand}, "ReduceLogSum": {18, axesOperand},
	"ReduceLogSumExp": {18, axesOperand}, "ReduceMax": {18, axesOperand}, "ReduceMean": {18, axesOperand},
	"ReduceMin": {18, axesOperand}, "ReduceProd": {18, axesOperand}, "ReduceSumSquare": {18, axesOperand},
	"Reshape":  {5, oldReshape},
	"Resize":   {11, oldResize},
	"RoiAlign": {16, oldRoiAlign},
	"Scan":     {9, refuse("a batch axis and lengths of sequences")},
	"Scatter":  {11, oldScatter},
	"Selu":     {6, oldSelu},
	"Slice":    {10, oldSlice},
	"Split":    {18, oldSplit},
	"Tile":     {6, refuse("repeats and axis as operands")},
	"TopK":     {10, oldTopK},
	"Upsample": {10, oldUpsample},
}

// upgrade appends node n, written for operator set from, in the form of the graph's operator set.
func (z *normaliser) upgrade(n *Node, from int) error {
	to := z.opset[""]
	n.Attr = maps.Clone(n.Attr)
	if from < 6 {
		delete(n.Attr, "consumed_inputs")
	}
	if n.Op == "Resize" && from >= 11 {
		if err := z.tidyResize(n); err != nil {
			return err
		}
	}
	if u, ok := upgrades[n.Op]; ok && from < u.until && to >= u.until {
		return u.f(z, n, from)
	}
	z.b.Append(n)
	return nil
}

// Upgrade returns the graph with its operators in the form of the given operator set; a graph that already uses this
// set or a newer one is returned as it is. Operator sets below 18 are brought to 18.
func (g *Graph) Upgrade(opset int) (*Graph, error) {
	if g.Opset[""] >= max(opset, loadOpset) {
		return g, nil
	}
	if opset > MaxOpset {
		return nil, fmt.Errorf("onnx: upgrade: found operator set %d, expected at most %d", opset, MaxOpset)
	}
	h := *g
	h.Init, h.Info = maps.Clone(g.Init), map[string]Value{}
	if h.Init == nil {
		h.Init = map[string]*Tensor{}
	}
	out, err := Normalise(&h, nil, nil, opset)
	if err != nil {
		return nil, fmt.Errorf("onnx: upgrade: %w", err)
	}
	return out, nil
}

func dropAttr(names ...string) upgrader {
	return func(z *normaliser, n *Node, _ int) error {
		for _, s := range names {
			delete(n.Attr, s)
		}
		z.b.Append(n)
		return nil
	}
}

func refuse(form string) upgrader {
	return func(_ *normaliser, _ *Node, from int) error {
		return fmt.Errorf("found the form of operator set %d with %s, expected that of set %d", from, form, loadOpset)
	}
}

// rankOf is the rank of a value, which old forms need.
func (z *normaliser) rankOf(name string) (int, error) {
	s := z.b.Shape(name)
	if s == nil {
		return 0, fmt.Errorf("operand %q: found unknown rank, expected a known one for this operator set", name)
	}
	return len(s), nil
}

// trailing gives v axes of extent 1 at its end, so that its first axis meets the given axis of a value of rank rank.
func (z *normaliser) trailing(v string, axis int64, rank int) (string, error) {
	r, err := z.rankOf(v)
	if err != nil {
		return "", err
	}
	if axis < 0 {
		axis += int64(rank)
	}
	k := rank - int(axis) - r
	if axis < 0 || axis > int64(rank) || k < 0 {
		return "", fmt.Errorf("axis: found %d, expected 0 to %d", axis, rank-r)
	}
	if k == 0 {
		return v, nil
	}
	axes := make([]int64, k)
	for i := range axes {
		axes[i] = int64(r + i)
	}
	return z.b.Op("Unsqueeze", v, z.b.Ints(axes...)), nil
}

func oldBroadcast(z *normaliser, n *Node, _ int) error {
	if a, ok := n.Attr["axis"]; ok && n.Int("broadcast", 0) != 0 && len(n.In) == 2 {
		rank, err := z.rankOf(n.In[0])
		if err != nil {
			return err
		}
		if n.In[1], err = z.trailing(n.In[1], a.Int, rank); err != nil {
			return err
		}
	}
	return dropAttr("axis", "broadcast")(z, n, 0)
}

func oldPRelu(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 2 {
		return fmt.Errorf("found %d operands, expected 2", len(n.In))
	}
	rank, err := z.rankOf(n.In[0])
	if err != nil {
		return err
	}
	if s := z.b.Shape(n.In[1]); len(s) == 1 && s[0] != Fixed(1) && rank > 2 {
		if n.In[1], err = z.trailing(n.In[1], 1, rank); err != nil {
			return err
		}
	}
	z.b.Append(n)
	return nil
}

func oldBatchNorm(z *normaliser, n *Node, from int) error {
	if from < 9 && n.Int("spatial", 1) == 0 {
		return errors.New("spatial: found 0, expected 1")
	}
	if from < 7 && n.Int("is_test", 0) == 0 || len(n.Out) > 1 {
		n.Attr = withAttr(n.Attr, "training_mode", IntAttr(1))
		n.Out = n.Out[:min(3, len(n.Out))]
	}
	return dropAttr("spatial", "is_test")(z, n, from)
}

func withAttr(m map[string]Attr, k string, a Attr) map[string]Attr {
	if m == nil {
		m = map[string]Attr{}
	}
	m[k] = a
	return m
}

var oldTypeNames = map[string]DType{
	"FLOAT": Float32, "UINT8": Uint8, "INT8": Int8, "UINT16": Uint16, "INT16": Int16, "INT32": Int32, "INT64": Int64,
	"STRING": String, "BOOL": Bool, "FLOAT16": Float32, "DOUBLE": Float64, "UINT32": Uint32, "UINT64": Uint64,
}

func oldCast(z *normaliser, n *Node, _ int) error {
	if a := n.Attr["to"]; a.Kind == AttrString {
		t, ok := oldTypeNames[a.String]
		if !ok {
			return fmt.Errorf("to: found %q, expected the name of a type", a.String)
		}
		n.Attr["to"] = IntAttr(int64(t))
	}
	z.b.Append(n)
	return nil
}

// scalarLike is a constant of rank 0 of the type of value v.
func (z *normaliser) scalarLike(v string, x float64) string {
	t := z.b.Type(v)
	if t == Undefined {
		t = Float32
	}
	return z.b.ScalarOf(t, x)
}

func oldClip(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 1 {
		return fmt.Errorf("found %d operands, expected 1", len(n.In))
	}
	for _, k := range []string{"min", "max"} {
		s := ""
		if a, ok := n.Attr[k]; ok {
			s = z.scalarLike(n.In[0], a.Float)
		}
		n.In = append(n.In, s)
	}
	return dropAttr("min", "max")(z, n, 0)
}

func oldConcat(z *normaliser, n *Node, _ int) error {
	n.Attr = withAttr(n.Attr, "axis", IntAttr(n.Int("axis", 1)))
	z.b.Append(n)
	return nil
}

func oldDropout(z *normaliser, n *Node, from int) error {
	if len(n.In) != 1 {
		return fmt.Errorf("found %d operands, expected 1", len(n.In))
	}
	n.In = append(n.In, z.b.Scalar(n.Float("ratio", 0.5)))
	if from < 7 && n.Int("is_test", 0) == 0 {
		n.In = append(n.In, z.b.ScalarOf(Bool, 1))
	}
	return dropAttr("ratio", "is_test")(z, n, 0)
}

// oldDFT has its axis as an attribute.
func oldDFT(z *normaliser, n *Node, _ int) error {
	for len(n.In) < 2 {
		n.In = append(n.In, "")
	}
	if len(n.In) != 2 {
		return fmt.Errorf("found %d operands, expected 1 or 2", len(n.In))
	}
	n.In = append(n.In, z.b.ScalarOf(Int64, float64(n.Int("axis", 1))))
	return dropAttr("axis")(z, n, 0)
}

// oldGridSample names its modes after images.
func oldGridSample(z *normaliser, n *Node, _ int) error {
	switch mode := n.Str("mode", "bilinear"); mode {
	case "bilinear":
		n.Attr = withAttr(n.Attr, "mode", StringAttr("linear"))
	case "bicubic":
		n.Attr = withAttr(n.Attr, "mode", StringAttr("cubic"))
	}
	z.b.Append(n)
	return nil
}

// oldRoiAlign has no choice of coordinates: those of set 16 begin half a pixel earlier unless told otherwise.
func oldRoiAlign(z *normaliser, n *Node, _ int) error {
	n.Attr = withAttr(n.Attr, "coordinate_transformation_mode", StringAttr("output_half_pixel"))
	z.b.Append(n)
	return nil
}

// oldGroupNorm turns scale and bias per group, as before operator set 21, into those per channel.
func oldGroupNorm(z *normaliser, n *Node, _ int) error {
	groups := n.Int("num_groups", 0)
	if len(n.In) != 3 || groups < 1 {
		return fmt.Errorf("found %d operands and %d groups, expected 3 and at least 1", len(n.In), groups)
	}
	x := z.b.Shape(n.In[0])
	if len(x) < 2 || !x[1].Known() || x[1].N%groups != 0 {
		return fmt.Errorf("found input %v, expected a number of channels that is a multiple of the %d groups", x, groups)
	}
	for i := 1; i < 3; i++ {
		v := z.b.Op("Unsqueeze", n.In[i], z.b.Ints(1))
		v = z.b.Op("Expand", v, z.b.Ints(groups, x[1].N/groups))
		n.In[i] = z.b.Op("Reshape", v, z.b.Ints(-1))
	}
	z.b.Append(n)
	return nil
}

// oldSoftmax works on the matrix that the axes before and from axis on make.
func oldSoftmax(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 1 || len(n.Out) != 1 {
		return fmt.Errorf("found %d operands, expected 1", len(n.In))
	}
	rank, err := z.rankOf(n.In[0])
	if err != nil {
		return err
	}
	a := n.Int("axis", 1)
	if a < 0 {
		a += int64(rank)
	}
	attr := map[string]Attr{"axis": IntAttr(-1)}
	if a == int64(rank)-1 {
		n.Attr = attr
		z.b.Append(n)
		return nil
	}
	shape := z.b.Op("Shape", n.In[0])
	flat := z.b.OpAttr("Flatten", map[string]Attr{"axis": IntAttr(a)}, n.In[0])
	soft := z.b.OpAttr(n.Op, attr, flat)
	z.b.Append(&Node{Op: "Reshape", Name: n.Name, In: []string{soft, shape}, Out: n.Out})
	return nil
}

func oldPad(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 1 {
		return fmt.Errorf("found %d operands, expected 1", len(n.In))
	}
	pads := n.Ints("pads")
	if pads == nil {
		pads = n.Ints("paddings")
	}
	n.In = append(n.In, z.b.Ints(pads...))
	if v := n.Float("value", 0); v != 0 {
		n.In = append(n.In, z.scalarLike(n.In[0], v))
	}
	return dropAttr("pads", "paddings", "value")(z, n, 0)
}

// axesOperand turns the attribute axes into the second operand.
func axesOperand(z *normaliser, n *Node, _ int) error {
	if a, ok := n.Attr["axes"]; ok {
		if len(n.In) != 1 {
			return fmt.Errorf("found %d operands and the attribute axes, expected 1 operand", len(n.In))
		}
		n.In = append(n.In, z.b.Ints(a.Ints...))
		delete(n.Attr, "axes")
	}
	z.b.Append(n)
	return nil
}

func oldReshape(z *normaliser, n *Node, _ int) error {
	if len(n.In) == 1 {
		n.In = append(n.In, z.b.Ints(n.Ints("shape")...))
	}
	return dropAttr("shape")(z, n, 0)
}

// tidyResize leaves out the operands of Resize that have no elements or no effect.
func (z *normaliser) tidyResize(n *Node) error {
	mode := n.Str("coordinate_transformation_mode", "half_pixel")
	if mode == "tf_half_pixel_for_nn" {
		return fmt.Errorf("coordinate_transformation_mode: found %q, expected a mode of operator set 13 or later", mode)
	}
	n.In = slices.Clone(n.In)
	for i := 1; i < len(n.In); i++ {
		if t := z.b.Inf.Tensor(n.In[i]); t != nil && t.Count() == 0 || i == 1 && mode != "tf_crop_and_resize" {
			n.In[i] = ""
		}
	}
	return nil
}

// oldResize is that of set 10, which has no choice of coordinates.
func oldResize(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 2 {
		return fmt.Errorf("found %d operands, expected 2", len(n.In))
	}
	return z.asymmetric(n, n.In[1])
}

func oldUpsample(z *normaliser, n *Node, _ int) error {
	if len(n.In) == 2 {
		return z.asymmetric(n, n.In[1])
	}
	a, ok := n.Attr["scales"]
	if !ok {
		h, w := n.Float("height_scale", 0), n.Float("width_scale", 0)
		a = Attr{Kind: AttrFloats, Floats: []float64{1, 1, h, w}}
	}
	v := make([]float32, len(a.Floats))
	for i, x := range a.Floats {
		v[i] = float32(x)
	}
	return z.asymmetric(n, z.b.Tensor(FloatTensor(v, int64(len(v)))))
}

// asymmetric appends n as a Resize by scales whose coordinates are x/scale, rounded down for nearest neighbours.
func (z *normaliser) asymmetric(n *Node, scales string) error {
	mode := n.Str("mode", "nearest")
	if mode == "bilinear" || mode == "trilinear" {
		mode = "linear"
	}
	attr := map[string]Attr{
		"mode": StringAttr(mode), "coordinate_transformation_mode": StringAttr("asymmetric"), "nearest_mode": StringAttr("floor"),
	}
	z.b.Append(&Node{Op: "Resize", Name: n.Name, In: []string{n.InName(0), "", scales}, Out: n.Out, Attr: attr})
	return nil
}

func oldScatter(z *normaliser, n *Node, _ int) error {
	n.Op = "ScatterElements"
	z.b.Append(n)
	return nil
}

func oldSelu(z *normaliser, n *Node, _ int) error {
	n.Attr = withAttr(n.Attr, "alpha", FloatAttr(n.Float("alpha", 1.6732)))
	n.Attr["gamma"] = FloatAttr(n.Float("gamma", 1.0507))
	z.b.Append(n)
	return nil
}

func oldSlice(z *normaliser, n *Node, _ int) error {
	if len(n.In) != 1 {
		return fmt.Errorf("found %d operands, expected 1", len(n.In))
	}
	n.In = append(n.In, z.b.Ints(n.Ints("starts")...), z.b.Ints(n.Ints("ends")...))
	if a, ok := n.Attr["axes"]; ok {
		n.In = append(n.In, z.b.Ints(a.Ints...))
	}
	return dropAttr("starts", "ends", "axes")(z, n, 0)
}

func oldSplit(z *normaliser, n *Node, _ int) error {
	if a, ok := n.Attr["split"]; ok && len(n.In) == 1 {
		n.In = append(n.In, z.b.Ints(a.Ints...))
		delete(n.Attr, "split")
	}
	if n.InName(1) == "" {
		n.Attr = withAttr(n.Attr, "num_outputs", IntAttr(int64(len(n.Out))))
	}
	z.b.Append(n)
	return nil
}

func oldTopK(z *normaliser, n *Node, _ int) error {
	if k, ok := n.Attr["k"]; ok && len(n.In) == 1 {
		n.In = append(n.In, z.b.Ints(k.Int))
		delete(n.Attr, "k")
	}
	z.b.Append(n)
	return nil
}
