package tools

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"

	"github.com/urfave/cli/v2"
)

func onnxCommand() *cli.Command {
	wrt := func(def string) cli.Flag {
		return &cli.StringFlag{Name: "wrt", Usage: "comma-separated inputs or initialisers to differentiate by", DefaultText: def}
	}
	of := &cli.StringFlag{Name: "of", Usage: "comma-separated outputs to differentiate", DefaultText: "all float outputs"}
	file := &cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the ONNX `FILE` to write"}
	return &cli.Command{
		Name:  "onnx",
		Usage: "look into, run and differentiate ONNX models",
		Subcommands: []*cli.Command{
			{
				Name:        "inspect",
				Usage:       "tell inputs, outputs, operators, and what cannot be differentiated",
				ArgsUsage:   "MODEL.onnx",
				Description: "Example: lenskit onnx inspect models/linear/decoder.onnx",
				Action:      onnxInspect,
			},
			{
				Name:      "run",
				Usage:     "run a model on .npy files",
				ArgsUsage: "MODEL.onnx",
				Description: "Writes one .npy file per output. Symbolic extents take their numbers from the inputs' shapes.\n" +
					"Example: lenskit onnx run decoder.onnx --input z=z.npy -o out",
				Flags: []cli.Flag{
					&cli.GenericFlag{Name: "input", Usage: "`NAME=FILE.npy` of an input; repeat for each", Value: new(wordList)},
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the `FOLDER` for the outputs"},
					&cli.StringFlag{Name: "device", Usage: "cpu, cuda, cuda:N, or reference: the evaluator in Go, in float64", Value: "cpu"},
					&cli.IntFlag{Name: "threads", Usage: "threads; 0 takes all cores"},
				},
				Action: onnxRun,
			},
			{
				Name:      "vjp",
				Usage:     "write the reverse-mode derivative as a model",
				ArgsUsage: "MODEL.onnx",
				Description: "Adds the inputs grad_<output> and the outputs grad_<input>: the gradient of the sum of output · grad_<output>.\n" +
					"Example: lenskit onnx vjp decoder.onnx -o decoder_vjp.onnx",
				Flags: []cli.Flag{file, wrt("all float inputs"), of},
				Action: func(c *cli.Context) error {
					return onnxDerive(c, func(g *onnx.Graph) (*onnx.Graph, error) { return diff.VJP(g, diffOptions(c)) })
				},
			},
			{
				Name:      "jvp",
				Usage:     "write the forward-mode derivative as a model",
				ArgsUsage: "MODEL.onnx",
				Description: "Adds the inputs tangent_<input> and the outputs tangent_<output>: the Jacobian times the tangents.\n" +
					"With --columns K the model's batch is 1 and the tangents have K rows: a Jacobian in one run.\n" +
					"Example: lenskit onnx jvp decoder.onnx -o decoder_jvp.onnx",
				Flags: []cli.Flag{file, wrt("all float inputs"), of,
					&cli.IntFlag{Name: "columns", Usage: "tangents at one point; 0: one tangent for each element of the batch"}},
				Action: func(c *cli.Context) error {
					opt := diffOptions(c)
					switch opt.Columns = c.Int("columns"); {
					case opt.Columns < 0:
						return term.BadInput("onnx jvp: --columns is %d, expected 0 or more", opt.Columns)
					case opt.Columns > 0:
						return onnxDerive(c, func(g *onnx.Graph) (*onnx.Graph, error) { return diff.Jacobian(g, opt) })
					}
					return onnxDerive(c, func(g *onnx.Graph) (*onnx.Graph, error) { return diff.JVP(g, diffOptions(c)) })
				},
			},
			{
				Name:      "train",
				Usage:     "write one training step, with gradients and optimiser, as a model",
				ArgsUsage: "MODEL.onnx",
				Description: "The model's loss is one of its outputs. Parameters become inputs <p> with outputs new_<p>; the optimiser's state is\n" +
					"m_<p>, v_<p> and step, with outputs new_m_<p>, new_v_<p> and new_step; learning_rate is an input.\n" +
					"Example: lenskit onnx train vae.onnx --loss loss --optimizer adam -o step.onnx",
				Flags: []cli.Flag{file,
					&cli.StringFlag{Name: "loss", Usage: "the output to minimise", DefaultText: "the only output with one element"},
					&cli.StringFlag{Name: "params", Usage: "comma-separated initialisers to train", DefaultText: "all that the loss depends on"},
					&cli.StringFlag{Name: "optimizer", Usage: "sgd, adam or adamw", Value: "adam"},
					&cli.Float64Flag{Name: "momentum", Usage: "of sgd"},
					&cli.Float64Flag{Name: "beta1", Usage: "of adam and adamw", Value: 0.9},
					&cli.Float64Flag{Name: "beta2", Usage: "of adam and adamw", Value: 0.999},
					&cli.Float64Flag{Name: "epsilon", Usage: "of adam and adamw", Value: 1e-8},
					&cli.Float64Flag{Name: "weight-decay", Usage: "of every parameter"},
					&cli.Float64Flag{Name: "clip", Usage: "largest norm of all gradients together; 0: no limit"},
					&cli.BoolFlag{Name: "gradients-only", Usage: "give grad_<p> instead of updating"},
				},
				Action: func(c *cli.Context) error {
					opt := diff.TrainOptions{
						Loss: c.String("loss"), Params: commaList(c.String("params")), Optimizer: c.String("optimizer"),
						Momentum: c.Float64("momentum"), Beta1: c.Float64("beta1"), Beta2: c.Float64("beta2"),
						Epsilon: c.Float64("epsilon"), WeightDecay: c.Float64("weight-decay"),
						Clip: c.Float64("clip"), GradientsOnly: c.Bool("gradients-only"),
					}
					if err := opt.Validate(); err != nil {
						return term.AsBadInput(err)
					}
					return onnxDerive(c, func(g *onnx.Graph) (*onnx.Graph, error) { return diff.Train(g, opt) })
				},
			},
		},
	}
}

// wordList is the value of a flag that may be given several times. Unlike cli's own it splits at no character.
type wordList []string

// Set adds a value.
func (l *wordList) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func (l *wordList) String() string { return strings.Join(*l, " ") }

// commaList splits a list; an empty text is no list.
func commaList(s string) []string {
	var out []string
	for _, word := range strings.Split(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, word)
		}
	}
	return out
}

func diffOptions(c *cli.Context) diff.Options {
	return diff.Options{Wrt: commaList(c.String("wrt")), Of: commaList(c.String("of"))}
}

// loadModel reads and checks the model that the only argument names.
func loadModel(c *cli.Context) (*onnx.Graph, string, error) {
	args, err := arguments(c, "MODEL.onnx")
	if err != nil {
		return nil, "", err
	}
	g, err := onnx.Load(args[0])
	if err != nil {
		return nil, "", term.AsBadInput(err)
	}
	if err := checker.Graph(g); err != nil {
		return nil, "", term.BadInput("%s: %w", args[0], err)
	}
	return g, args[0], nil
}

// mostDerived is the number of nodes of a model up to which its derivatives are made: those of so many take some 15 s and
// 400 MB.
const mostDerived = 1 << 16

// onnxDerive writes what derive makes of the model.
func onnxDerive(c *cli.Context, derive func(*onnx.Graph) (*onnx.Graph, error)) error {
	g, path, err := loadModel(c)
	if err != nil {
		return err
	}
	file, err := output(c, "FILE")
	if err != nil {
		return err
	}
	if n := len(g.Nodes); n > mostDerived {
		return term.BadInput("%s: found %d nodes, expected at most %d for a derivative", path, n, mostDerived)
	}
	d, err := derive(g)
	if err != nil {
		err = term.BadInput("%s: %w", path, err)
		if errors.Is(err, diff.ErrNoRule) {
			err = term.WithHint(err, "lenskit onnx inspect %s lists all that cannot be differentiated", path)
		}
		return err
	}
	if err := d.Save(file); err != nil {
		return term.AsBadInput(err)
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, describeModel(d))
	}
	return describeModel(d).print(c.App.Writer)
}

// modelSummary is what `onnx inspect` tells.
type modelSummary struct {
	Name       string         `json:"name"`
	Opset      map[string]int `json:"opset"`
	Inputs     []valueSummary `json:"inputs"`
	Outputs    []valueSummary `json:"outputs"`
	Nodes      int            `json:"nodes"`
	Operators  map[string]int `json:"operators"`
	Parameters int            `json:"parameters"` // values of float initialisers
	// NotDifferentiable has the reason for each node through which no gradient can be taken; nil where it was not asked.
	NotDifferentiable *[]string `json:"not_differentiable,omitempty"`
}

type valueSummary struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Shape []string `json:"shape"` // null: rank not known
}

func describeModel(g *onnx.Graph) *modelSummary {
	m := &modelSummary{Name: g.Name, Opset: g.Opset, Nodes: len(g.Nodes), Operators: map[string]int{}}
	values := func(list []onnx.Value) []valueSummary {
		out := []valueSummary{}
		for _, v := range list {
			s := valueSummary{Name: v.Name, Type: v.Type.String()}
			if v.Shape != nil {
				s.Shape = []string{}
			}
			for _, d := range v.Shape {
				s.Shape = append(s.Shape, d.String())
			}
			out = append(out, s)
		}
		return out
	}
	m.Inputs, m.Outputs = values(g.Inputs), values(g.Outputs)
	for _, n := range g.Nodes {
		op := n.Op
		if n.Domain != "" {
			op = n.Domain + "." + op
		}
		m.Operators[op]++
	}
	for _, t := range g.Init {
		if t.Type.IsFloat() {
			m.Parameters += t.Size()
		}
	}
	return m
}

func onnxInspect(c *cli.Context) error {
	g, path, err := loadModel(c)
	if err != nil {
		return err
	}
	if err := g.Infer(); err != nil {
		return term.BadInput("%s: %w", path, err)
	}
	m := describeModel(g)
	bad := []string{}
	for _, err := range diff.Unsupported(g, diff.Options{}) {
		bad = append(bad, term.Plain(err.Error()))
	}
	m.NotDifferentiable = &bad
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, m)
	}
	return m.print(c.App.Writer)
}

// print writes the summary for people.
func (m *modelSummary) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var opsets []string
	for domain, v := range m.Opset {
		opsets = append(opsets, fmt.Sprintf("%s %d", cmp.Or(term.Shown(domain), "ai.onnx"), v))
	}
	slices.Sort(opsets)
	fmt.Fprintf(t, "model\t%s, opset %s, %d nodes, %d parameters\n", cmp.Or(term.Shown(m.Name), "without a name"), strings.Join(opsets, ", "), m.Nodes, m.Parameters)
	for _, list := range []struct {
		what   string
		values []valueSummary
	}{{"input", m.Inputs}, {"output", m.Outputs}} {
		for _, v := range list.values {
			shape := "of unknown rank"
			if v.Shape != nil {
				shape = term.Shown("[" + strings.Join(v.Shape, ", ") + "]")
			}
			fmt.Fprintf(t, "%s\t%s %s %s\n", list.what, term.Shown(v.Name), v.Type, shape)
		}
	}
	ops := make([]string, 0, len(m.Operators))
	for op := range m.Operators {
		ops = append(ops, op)
	}
	slices.Sort(ops)
	for i, op := range ops {
		ops[i] = fmt.Sprintf("%s %d", term.Shown(op), m.Operators[op])
	}
	line, title := "", "operators"
	for i, op := range ops {
		if i < len(ops)-1 {
			op += ","
		}
		if line != "" && len(line)+len(op) > 72 {
			fmt.Fprintf(t, "%s\t%s\n", title, line)
			line, title = "", ""
		}
		line = strings.TrimSpace(line + " " + op)
	}
	fmt.Fprintf(t, "%s\t%s\n", title, cmp.Or(line, "none"))
	if m.NotDifferentiable != nil {
		if len(*m.NotDifferentiable) == 0 {
			fmt.Fprintf(t, "gradient\tcan be taken through every node\n")
		}
		for _, reason := range *m.NotDifferentiable {
			fmt.Fprintf(t, "no gradient\t%s\n", term.OneLine(strings.TrimPrefix(reason, "onnx: differentiate: ")))
		}
	}
	return t.Flush()
}

func onnxRun(c *cli.Context) error {
	g, path, err := loadModel(c)
	if err != nil {
		return err
	}
	dir, err := output(c, "FOLDER")
	if err != nil {
		return err
	}
	feeds := map[string]*onnx.Tensor{}
	for _, word := range *c.Generic("input").(*wordList) {
		name, file, ok := strings.Cut(word, "=")
		i := slices.IndexFunc(g.Inputs, func(v onnx.Value) bool { return v.Name == name })
		switch {
		case !ok || file == "":
			return term.BadInput("onnx run: --input is %q, expected NAME=FILE.npy", word)
		case i < 0:
			return term.BadInput("onnx run: --input %s: %s has no such input, it has %s%s", name, path, inputNames(g), term.DidYouMean(name, namesOf(g.Inputs)))
		case feeds[name] != nil:
			return term.BadInput("onnx run: --input %s is given twice", name)
		}
		// type and shape are looked at before the values are read
		var bound *onnx.Graph
		t, err := tensors.ReadNPY(file, func(typ onnx.DType, shape []int64) error {
			if _, err := convert(&onnx.Tensor{Type: typ}, g.Inputs[i].Type); err != nil {
				return fmt.Errorf("input %s: %w", term.Shown(name), err)
			}
			var err error
			bound, err = diff.BindInput(g, name, shape)
			return err
		})
		if err != nil {
			return err
		}
		if feeds[name], err = convert(t, g.Inputs[i].Type); err != nil {
			return term.BadInput("%s: input %s: %w", file, term.Shown(name), err)
		}
		g = bound
	}
	for _, v := range g.Inputs {
		if feeds[v.Name] == nil {
			return term.BadInput("onnx run: input %s of %s is not given, expected --input %s=FILE.npy", term.Shown(v.Name), path, term.Shown(v.Name))
		}
	}
	if c.Int("threads") < 0 {
		return term.BadInput("onnx run: --threads is %d, expected 0 or more", c.Int("threads"))
	}
	if err := rundir.Prepare(dir); err != nil {
		return err
	}
	var outputs []*onnx.Tensor
	start := time.Now()
	if c.String("device") == "reference" {
		outputs, err = runReference(g, feeds)
	} else {
		outputs, err = runSession(g, feeds, ort.Options{Device: c.String("device"), Threads: c.Int("threads"), Direct: true})
	}
	if err != nil {
		return term.BadInput("%s: %w", path, err)
	}
	seconds := time.Since(start).Seconds()

	type result struct {
		File  string  `json:"file"`
		Type  string  `json:"type"`
		Shape []int64 `json:"shape"`
	}
	results := map[string]result{}
	taken := map[string]bool{}
	t := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	for i, v := range g.Outputs {
		base := fileName(v.Name, taken)
		file := filepath.Join(dir, base+".npy")
		if err := tensors.WriteNPY(file, outputs[i]); err != nil {
			return err
		}
		results[v.Name] = result{file, outputs[i].Type.String(), append([]int64{}, outputs[i].Shape...)}
		if !c.Bool("json") {
			fmt.Fprintf(t, "%s\t%s %v\t%s\n", term.Shown(v.Name), outputs[i].Type, outputs[i].Shape, file)
		}
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, map[string]any{"outputs": results, "seconds": seconds})
	}
	return t.Flush()
}

// runSession computes the outputs with onnxruntime.
func runSession(g *onnx.Graph, feeds map[string]*onnx.Tensor, opt ort.Options) ([]*onnx.Tensor, error) {
	opt.Room = footprint.DefaultRoom
	for _, v := range g.Outputs { // which are copied
		n := int64(8)
		for _, d := range v.Shape {
			if n < footprint.DefaultRoom {
				n *= max(d.N, 0)
			}
		}
		opt.Room = max(1, opt.Room-n/2)
	}
	s, err := ort.Open(g, opt)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for name, t := range feeds {
		if err := s.SetInput(name, t); err != nil {
			return nil, err
		}
	}
	if err := s.Run(); err != nil {
		return nil, err
	}
	var out []*onnx.Tensor
	for _, v := range g.Outputs {
		t, err := s.OutputTensor(v.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// runReference computes the outputs in Go; those of a float type are float64.
func runReference(g *onnx.Graph, feeds map[string]*onnx.Tensor) ([]*onnx.Tensor, error) {
	e, err := eval.New(g)
	if err != nil {
		return nil, err
	}
	in := map[string]*eval.Array{}
	for name, t := range feeds {
		if in[name], err = eval.ArrayOf(t); err != nil {
			return nil, err
		}
	}
	values, err := e.Run(in)
	if err != nil {
		return nil, err
	}
	var out []*onnx.Tensor
	for _, v := range g.Outputs {
		a := values[v.Name]
		t := &onnx.Tensor{Type: a.Type, Shape: a.Shape, Ints: a.I, Strings: a.S}
		if a.Type.IsFloat() {
			t.Type, t.Doubles = onnx.Float64, a.F
		}
		out = append(out, t)
	}
	return out, nil
}

// convert gives t the element type that an input asks for: between float types, and from one integer type to another
// that holds its values.
func convert(t *onnx.Tensor, to onnx.DType) (*onnx.Tensor, error) {
	if to == onnx.Float16 || to == onnx.BFloat16 {
		to = onnx.Float32
	}
	if t.Type == to {
		return t, nil
	}
	c := &onnx.Tensor{Type: to, Shape: t.Shape}
	switch {
	case to == onnx.Float32 && t.Type == onnx.Float64:
		c.Floats = make([]float32, len(t.Doubles))
		for i, v := range t.Doubles {
			c.Floats[i] = float32(v)
		}
	case to == onnx.Float64 && t.Type == onnx.Float32:
		c.Doubles = make([]float64, len(t.Floats))
		for i, v := range t.Floats {
			c.Doubles[i] = float64(v)
		}
	case to.IsInt() && t.Type.IsInt():
		lo, hi := intRange(to)
		for _, v := range t.Ints {
			if v < lo || v > hi {
				return nil, fmt.Errorf("found %d, expected a value of %s", v, to)
			}
		}
		c.Ints = t.Ints
	default:
		return nil, fmt.Errorf("found %s, expected %s", t.Type, to)
	}
	return c, nil
}

// intRange is the range of an integer type as far as an int64 tells.
func intRange(d onnx.DType) (lo, hi int64) {
	bits := map[onnx.DType]uint{onnx.Int8: 7, onnx.Int16: 15, onnx.Int32: 31, onnx.Int64: 63, onnx.Uint8: 8, onnx.Uint16: 16, onnx.Uint32: 32, onnx.Uint64: 63}[d]
	hi = int64(1)<<bits - 1
	switch d {
	case onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64:
		return 0, hi
	}
	return -hi - 1, hi
}

// fileName makes a file's name of an output's name that no other output has.
func fileName(name string, taken map[string]bool) string {
	base := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name), "._-")
	if len(base) > 100 {
		base = base[:100]
	}
	base = cmp.Or(base, "output")
	unique := base
	for i := 2; taken[strings.ToLower(unique)]; i++ {
		unique = fmt.Sprintf("%s_%d", base, i)
	}
	taken[strings.ToLower(unique)] = true
	return unique
}

func namesOf(values []onnx.Value) []string {
	var names []string
	for _, v := range values {
		names = append(names, v.Name)
	}
	return names
}

// inputNames lists the inputs of g for a message.
func inputNames(g *onnx.Graph) string {
	return cmp.Or(strings.Join(namesOf(g.Inputs), ", "), "none")
}
