package ort

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/footprint"
	"lenskit/onnx/rewrite"

	ort "github.com/yalue/onnxruntime_go"
)

// Options tell how a session runs. The zero value runs on the CPU with as many threads as Go uses.
type Options struct {
	Threads int                  // threads within an operator; 0: runtime.GOMAXPROCS(0)
	Device  string               // "" or "cpu", "cuda" (its first device), "cuda:N"
	Bind    map[string][]float32 // inputs and outputs that live in slices of the caller; Open makes the others
	Share   *Session             // inputs that are values of this open session, of any type, live where it has them
	Room    int64                // bytes that values may take beside the weights; 0: DefaultRoom, AllRoom: no limit
	NoSpin  bool                 // waiting threads soon sleep instead of spinning: for sessions that take turns, and where cores are shared
	// Frugal does without onnxruntime's plan of all intermediate values, which it keeps beside the memory of its first
	// run: less memory for large graphs, the same results.
	Frugal bool
	// Direct takes the graph as it is. Otherwise convolutions with constant weights are written on the CPU in ways that
	// are faster: those of small images as products, transposed ones that double an image by phases, and those of 8 and
	// more images by Winograd's products of tiles, to 5e-6 of the largest value in place of 5e-7.
	Direct bool
}

// Validate checks what can be checked without a graph.
func (o Options) Validate() error {
	if o.Threads < 0 {
		return fmt.Errorf("onnx: session options: found %d threads, expected 0 or more", o.Threads)
	}
	_, _, err := o.device()
	return err
}

// device parses Device.
func (o Options) device() (cuda bool, id int, err error) {
	name, number, numbered := strings.Cut(o.Device, ":")
	switch {
	case !numbered && (name == "" || name == "cpu"):
		return false, 0, nil
	case name == "cuda" && numbered:
		id, err = strconv.Atoi(number)
		if err != nil || id < 0 || id > 1023 {
			break
		}
		return true, id, nil
	case name == "cuda":
		return true, 0, nil
	}
	return false, 0, fmt.Errorf("onnx: session options: found device %q, expected cpu, cuda or cuda:N", o.Device)
}

// Session is a graph loaded into onnxruntime with each input and output bound to memory for good. Its methods must not
// run at the same time; several sessions may.
//
// Results on one device repeat to the bit for the same number of threads.
type Session struct {
	run       *ort.AdvancedSession
	in, out   []*slot
	inputOf   map[string]*slot
	outputOf  map[string]*slot
	pins      runtime.Pinner
	graphName string
	took      int64 // bytes of values at a time, as far as they were counted
}

// slot is one bound tensor.
type slot struct {
	value onnx.Value
	shape []int64
	data  any // the slice of the element type
	ort   ort.Value
}

// Open loads g. Every extent of its inputs and outputs must be a number: Graph.Bind gives numbers to symbols. The
// graph is checked first, so that onnxruntime never sees a broken one.
//
// A slice of opt.Bind must have exactly the tensor's length. It stays pinned, and must not be freed by its owner if it
// is not Go memory, until Close. An output must not be bound to the memory of an input unless each of its elements
// depends on that input's element alone and nothing else in the graph reads the input.
//
// The error wraps ErrNoLibrary where onnxruntime is missing. A device that cannot be used is an error: no session falls
// back to another one.
func Open(g *onnx.Graph, opt Options) (*Session, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if err := checker.Graph(g); err != nil {
		return nil, fmt.Errorf("onnx: open: %w", err)
	}
	if len(g.Outputs) == 0 {
		return nil, fmt.Errorf("onnx: open: graph %q has no outputs", g.Name)
	}
	for _, v := range slices.Concat(g.Inputs, g.Outputs) {
		if _, ok := onnx.Known(v.Shape); !ok || v.Shape == nil {
			return nil, fmt.Errorf("onnx: open: graph %q: %q has shape %s, expected numbers (Graph.Bind sets symbols)", g.Name, v.Name, rewrite.ShapeText(v))
		}
	}
	for name := range opt.Bind {
		of := func(v onnx.Value) bool { return v.Name == name }
		if !slices.ContainsFunc(g.Inputs, of) && !slices.ContainsFunc(g.Outputs, of) {
			return nil, fmt.Errorf("onnx: open: bind %q: graph %q has no such input or output", name, g.Name)
		}
	}
	took := int64(0)
	if room := cmp.Or(opt.Room, footprint.DefaultRoom); room > 0 {
		// The values that a shared session has beside those that are shared stay in memory.
		others := int64(0)
		if opt.Share != nil {
			others = opt.Share.took
			for _, v := range g.Inputs {
				if b := opt.Share.of(v.Name); b != nil {
					n, _ := onnx.SizeOf(b.shape)
					others -= int64(n * v.Type.Width())
				}
			}
		}
		var err error
		if took, err = footprint.FITS(g, false, room, max(others, 0)); err != nil {
			return nil, fmt.Errorf("onnx: open: %w", err)
		}
	}
	run := g
	if cuda, _, _ := opt.device(); !cuda && !opt.Direct {
		var err error
		if run, err = rewrite.Tuned(g); err != nil {
			return nil, fmt.Errorf("onnx: open: %w", err)
		}
	}
	data, err := bindable(run).Marshal()
	if err != nil {
		return nil, fmt.Errorf("onnx: open: %w", err)
	}
	if err := environment(); err != nil {
		return nil, err
	}
	if len(run.Nodes) > manyNodes {
		debug.FreeOSMemory() // onnxruntime takes a lot for each node too
	}
	s := &Session{took: took, inputOf: map[string]*slot{}, outputOf: map[string]*slot{}, graphName: g.Name}
	if err := s.open(g, data, opt); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open binds the inputs and outputs of g and loads the model data.
func (s *Session) open(g *onnx.Graph, data []byte, opt Options) (err error) {
	if s.in, err = s.bind(g.Inputs, opt.Bind, opt.Share, s.inputOf); err != nil {
		return err
	}
	if s.out, err = s.bind(g.Outputs, opt.Bind, nil, s.outputOf); err != nil {
		return err
	}
	if len(s.in) == 0 {
		none, err := s.newSlot(onnx.Value{Name: noInput, Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}}}, nil, nil)
		if err != nil {
			return err
		}
		s.in = append(s.in, none)
	}
	settings, err := opt.settings(len(g.Nodes))
	if err != nil {
		return err
	}
	defer settings.Destroy()
	inNames, inValues := boundTo(s.in)
	outNames, outValues := boundTo(s.out)
	s.run, err = ort.NewAdvancedSessionWithONNXData(data, inNames, outNames, inValues, outValues, settings)
	if err != nil {
		return fmt.Errorf("onnx: open: graph %q: onnxruntime: %s", g.Name, plain(err))
	}
	return nil
}

// Input returns the memory of the float32 input name, row-major, to be filled before Run; nil when there is none.
func (s *Session) Input(name string) []float32 { return floatsOf(s.inputOf[name]) }

// Output returns the memory of the float32 output name, row-major, that Run fills; nil when there is none.
func (s *Session) Output(name string) []float32 { return floatsOf(s.outputOf[name]) }

// Run computes the outputs from the inputs. It allocates nothing.
func (s *Session) Run() error {
	if s.run == nil {
		return fmt.Errorf("onnx: run: graph %q: the session is closed", s.graphName)
	}
	if err := s.run.Run(); err != nil {
		return fmt.Errorf("onnx: run: graph %q: onnxruntime: %s", s.graphName, plain(err))
	}
	return nil
}

// SetInput copies t into the input name, whatever its element type. Type and shape must be those of the input.
func (s *Session) SetInput(name string, t *onnx.Tensor) error {
	b := s.inputOf[name]
	if b == nil {
		return fmt.Errorf("onnx: set input: graph %q has no input %q", s.graphName, name)
	}
	if t.Type != b.value.Type || !slices.Equal(t.Shape, b.shape) {
		return fmt.Errorf("onnx: set input %q: found %s %v, expected %s %v", name, t.Type, t.Shape, b.value.Type, b.shape)
	}
	if n, _ := onnx.SizeOf(b.shape); t.Count() != n {
		return fmt.Errorf("onnx: set input %q: found %d values, expected %d for shape %v", name, t.Count(), n, b.shape)
	}
	switch dst := b.data.(type) {
	case []float32:
		copy(dst, t.Floats)
	case []float64:
		copy(dst, t.Doubles)
	case []bool:
		for i, v := range t.Ints {
			dst[i] = v != 0
		}
	case []int64:
		copy(dst, t.Ints)
	case []int32:
		narrow(dst, t.Ints)
	case []int16:
		narrow(dst, t.Ints)
	case []int8:
		narrow(dst, t.Ints)
	case []uint8:
		narrow(dst, t.Ints)
	case []uint16:
		narrow(dst, t.Ints)
	case []uint32:
		narrow(dst, t.Ints)
	case []uint64:
		narrow(dst, t.Ints)
	}
	return nil
}

// OutputTensor copies the output name of the last Run, whatever its element type.
func (s *Session) OutputTensor(name string) (*onnx.Tensor, error) {
	b := s.outputOf[name]
	if b == nil {
		return nil, fmt.Errorf("onnx: output: graph %q has no output %q", s.graphName, name)
	}
	t := &onnx.Tensor{Type: b.value.Type, Shape: slices.Clone(b.shape)}
	switch src := b.data.(type) {
	case []float32:
		t.Floats = slices.Clone(src)
	case []float64:
		t.Doubles = slices.Clone(src)
	case []bool:
		t.Ints = make([]int64, len(src))
		for i, v := range src {
			if v {
				t.Ints[i] = 1
			}
		}
	case []int64:
		t.Ints = slices.Clone(src)
	case []int32:
		t.Ints = widenInts(src)
	case []int16:
		t.Ints = widenInts(src)
	case []int8:
		t.Ints = widenInts(src)
	case []uint8:
		t.Ints = widenInts(src)
	case []uint16:
		t.Ints = widenInts(src)
	case []uint32:
		t.Ints = widenInts(src)
	case []uint64:
		t.Ints = widenInts(src)
	}
	return t, nil
}

// Close frees the session and lets go of the memory it was bound to. Closing twice is harmless.
func (s *Session) Close() error {
	var first error
	keep := func(err error) {
		if first == nil && err != nil {
			first = fmt.Errorf("onnx: close: graph %q: %s", s.graphName, plain(err))
		}
	}
	if s.run != nil {
		keep(s.run.Destroy())
		s.run = nil
	}
	for _, b := range slices.Concat(s.in, s.out) {
		keep(b.ort.Destroy())
	}
	s.in, s.out, s.inputOf, s.outputOf = nil, nil, nil, nil
	s.pins.Unpin()
	return first
}

// bind makes the slots of values, into the session's map of names as well.
func (s *Session) bind(values []onnx.Value, lent map[string][]float32, share *Session, index map[string]*slot) ([]*slot, error) {
	var list []*slot
	for _, v := range values {
		b, err := s.newSlot(v, lent[v.Name], share.of(v.Name))
		if err != nil {
			return list, err
		}
		index[v.Name] = b
		list = append(list, b)
	}
	return list, nil
}

// of is the slot of the value name, nil when there is none.
func (s *Session) of(name string) *slot {
	if s == nil {
		return nil
	}
	if b := s.outputOf[name]; b != nil {
		return b
	}
	return s.inputOf[name]
}

// newSlot makes a slot over lent or shared, or over memory of its own when both are nil.
func (s *Session) newSlot(v onnx.Value, lent []float32, shared *slot) (*slot, error) {
	shape, _ := onnx.Known(v.Shape)
	n, err := onnx.SizeOf(shape)
	if err != nil {
		return nil, fmt.Errorf("onnx: open: %q: %w", v.Name, err)
	}
	b := &slot{value: v, shape: shape}
	if lent != nil {
		if v.Type != onnx.Float32 {
			return nil, fmt.Errorf("onnx: open: bind %q: it is %s, expected float32", v.Name, v.Type)
		}
		if len(lent) != n {
			return nil, fmt.Errorf("onnx: open: bind %q: found %d numbers, expected %d for shape %v", v.Name, len(lent), n, shape)
		}
	}
	if shared != nil {
		if v.Type != shared.value.Type || !slices.Equal(shape, shared.shape) {
			return nil, fmt.Errorf("onnx: open: share %q: found %s %v, expected %s %v", v.Name, shared.value.Type, shared.shape, v.Type, shape)
		}
		b.data = shared.data
	}
	if lent != nil {
		b.data = lent
	}
	switch v.Type {
	case onnx.Float32:
		err = fill[float32](s, b, n)
	case onnx.Float64:
		err = fill[float64](s, b, n)
	case onnx.Int64:
		err = fill[int64](s, b, n)
	case onnx.Int32:
		err = fill[int32](s, b, n)
	case onnx.Int16:
		err = fill[int16](s, b, n)
	case onnx.Int8:
		err = fill[int8](s, b, n)
	case onnx.Uint8:
		err = fill[uint8](s, b, n)
	case onnx.Uint16:
		err = fill[uint16](s, b, n)
	case onnx.Uint32:
		err = fill[uint32](s, b, n)
	case onnx.Uint64:
		err = fill[uint64](s, b, n)
	case onnx.Bool:
		err = fill[bool](s, b, n)
	default:
		return nil, fmt.Errorf("onnx: open: %q is %s, expected numbers or bool", v.Name, v.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: open: %q: onnxruntime: %s", v.Name, plain(err))
	}
	return b, nil
}

// fill makes the slot's n elements unless it has them, pins them and wraps them. A tensor without dimensions is bound as a vector of one element; see bindable.
func fill[T ort.TensorData](s *Session, b *slot, n int) error {
	data, _ := b.data.([]T)
	if data == nil {
		data = make([]T, n)
	}
	if len(data) > 0 {
		s.pins.Pin(&data[0])
	}
	shape := ort.Shape(slices.Clone(b.shape))
	if len(shape) == 0 {
		shape = ort.NewShape(1)
	}
	t, err := ort.NewTensor(shape, data)
	if err != nil {
		return err
	}
	b.data, b.ort = data, t
	return nil
}

func floatsOf(b *slot) []float32 {
	if b == nil {
		return nil
	}
	f, _ := b.data.([]float32)
	return f
}

func narrow[T int8 | int16 | int32 | uint8 | uint16 | uint32 | uint64](dst []T, src []int64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}

func widenInts[T int8 | int16 | int32 | uint8 | uint16 | uint32 | uint64](src []T) []int64 {
	dst := make([]int64, len(src))
	for i, v := range src {
		dst[i] = int64(v)
	}
	return dst
}

// boundTo lists the names and values of slots for the wrapper.
func boundTo(list []*slot) (names []string, values []ort.Value) {
	for _, b := range list {
		name := b.value.Name
		if len(b.shape) == 0 {
			name += asVector
		}
		names, values = append(names, name), append(values, b.ort)
	}
	return names, values
}

// The wrapper binds neither tensors without dimensions nor graphs without inputs: names of the stand-ins.
const (
	asVector = ".lenskit.vector"
	noInput  = "lenskit.no_input"
)

// bindable returns g with each input and output without dimensions replaced by a vector of one element, and with an
// unused input when it has none.
func bindable(g *onnx.Graph) *onnx.Graph {
	c := *g
	c.Inputs, c.Outputs, c.Nodes = slices.Clone(g.Inputs), slices.Clone(g.Outputs), slices.Clone(g.Nodes)
	var first []*onnx.Node
	one, none := "lenskit.shape.vector", "lenskit.shape.scalar"
	scalars := false
	for i, v := range c.Inputs {
		if len(v.Shape) == 0 {
			scalars = true
			c.Inputs[i] = onnx.Value{Name: v.Name + asVector, Type: v.Type, Shape: []onnx.Dim{{N: 1}}}
			first = append(first, &onnx.Node{Op: "Reshape", In: []string{v.Name + asVector, none}, Out: []string{v.Name}})
		}
	}
	for i, v := range c.Outputs {
		if len(v.Shape) == 0 {
			scalars = true
			c.Outputs[i] = onnx.Value{Name: v.Name + asVector, Type: v.Type, Shape: []onnx.Dim{{N: 1}}}
			c.Nodes = append(c.Nodes, &onnx.Node{Op: "Reshape", In: []string{v.Name, one}, Out: []string{v.Name + asVector}})
		}
	}
	c.Nodes = append(first, c.Nodes...)
	if scalars {
		init := map[string]*onnx.Tensor{one: onnx.IntTensor([]int64{1}, 1), none: onnx.IntTensor([]int64{}, 0)}
		for name, t := range g.Init {
			init[name] = t
		}
		c.Init = init
	}
	if len(c.Inputs) == 0 {
		c.Inputs = []onnx.Value{{Name: noInput, Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}}}}
	}
	return &c
}

// manyNodes is the number of nodes above which onnxruntime makes only its simple rewrites: it looks at all nodes again and again.
const manyNodes = 5000

// settings makes the wrapper's options for a graph of a number of nodes.
func (o Options) settings(nodes int) (settings *ort.SessionOptions, err error) {
	settings, err = ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("onnx: open: onnxruntime: %s", plain(err))
	}
	defer func() {
		if err != nil {
			settings.Destroy()
			settings = nil
		}
	}()
	threads := o.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	set := func(e error) {
		if err == nil && e != nil {
			err = fmt.Errorf("onnx: open: onnxruntime: %s", plain(e))
		}
	}
	set(settings.SetIntraOpNumThreads(threads))
	set(settings.SetInterOpNumThreads(1))
	set(settings.SetExecutionMode(ort.ExecutionModeSequential))
	level := ort.GraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll)
	if nodes > manyNodes {
		level = ort.GraphOptimizationLevelEnableBasic
	}
	set(settings.SetGraphOptimizationLevel(level))
	set(settings.SetLogSeverityLevel(ort.LoggingLevelFatal))
	if o.Frugal {
		set(settings.SetMemPattern(false))
	}
	if o.NoSpin {
		set(settings.AddSessionConfigEntry("session.force_spinning_stop", "1")) // at the end of a run
		// As long as it takes to come from one operator to the next, where the library can be told so.
		lib, e := runtimeLibrary()
		set(e)
		if releaseOf(lib.version) >= 32 {
			set(settings.AddSessionConfigEntry("session.intra_op.spin_duration_us", "20"))
		} else {
			set(settings.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"))
		}
	}
	if err != nil {
		return settings, err
	}
	cuda, id, err := o.device()
	if err != nil || !cuda {
		return settings, err
	}
	return settings, addCUDA(settings, id)
}

// addCUDA registers the CUDA provider. Convolution algorithms are chosen by rule, not by timing, and products keep the
// full float32 mantissa, so that results repeat.
func addCUDA(settings *ort.SessionOptions, id int) error {
	lib, err := runtimeLibrary()
	if err != nil {
		return err
	}
	if !slices.Contains(lib.providers, "CUDAExecutionProvider") {
		return fmt.Errorf("onnx: open: device cuda: %s (onnxruntime %s) was built without CUDA: set %s to the library of a GPU build", lib.path, lib.version, libraryVariable)
	}
	cuda, err := ort.NewCUDAProviderOptions()
	if err == nil {
		defer cuda.Destroy()
		err = cuda.Update(map[string]string{
			"device_id":              strconv.Itoa(id),
			"cudnn_conv_algo_search": "HEURISTIC",
			"use_tf32":               "0",
		})
	}
	if err == nil {
		err = settings.AppendExecutionProviderCUDA(cuda)
	}
	if err != nil {
		return fmt.Errorf("onnx: open: device cuda:%d: the CUDA provider of onnxruntime cannot be used (are driver, CUDA and cuDNN installed?): %s", id, plain(err))
	}
	return nil
}

// ortState is onnxruntime's environment, which is one for the process by its nature. It is made by the first session
// and lives until the process ends: providers do not survive being unloaded.
var ortState struct {
	sync.Mutex
	library library
	err     error
	probed  bool
	ready   bool
}

// runtimeLibrary searches for the library, once.
func runtimeLibrary() (library, error) {
	ortState.Lock()
	defer ortState.Unlock()
	return findLibrary()
}

func findLibrary() (library, error) {
	if !ortState.probed {
		ortState.library, ortState.err = search(os.Getenv(libraryVariable), libraryDirs(), loaderNames(), probeLibrary)
		ortState.probed = true
	}
	return ortState.library, ortState.err
}

// environment starts onnxruntime, once, in silence: what it has to say comes back as errors.
func environment() error {
	ortState.Lock()
	defer ortState.Unlock()
	lib, err := findLibrary()
	if err != nil || ortState.ready {
		return err
	}
	ort.SetSharedLibraryPath(lib.path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("onnx: %w: %s: %s", ErrNoLibrary, lib.path, plain(err))
	}
	// Telemetry exists on Windows only; elsewhere the call does nothing.
	if err := ort.DisableTelemetry(); err != nil {
		return fmt.Errorf("onnx: onnxruntime: %s", plain(err))
	}
	ortState.ready = true
	return nil
}

// plain folds a message of onnxruntime into one line without the wrapper's preamble and the place in its source.
func plain(err error) error {
	text := err.Error()
	for _, preamble := range []string{"Error creating C session: ", "Error running network: "} {
		text = strings.TrimPrefix(text, preamble)
	}
	// "/source.cc:123 function [ONNXRuntimeError] : 1 : FAIL : message"
	if i := strings.LastIndex(text, "[ONNXRuntimeError] : "); i >= 0 {
		if parts := strings.SplitN(text[i:], " : ", 4); len(parts) == 4 {
			text = parts[3]
		}
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}
