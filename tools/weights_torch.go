package tools

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"path"
	"strconv"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// torchMagic opens PyTorch's legacy container.
var torchMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// parseTorch reads what torch.save wrote, in its zip container or the legacy one. Tensors are named by their path
// through dictionaries, lists and objects; a lone tensor is "(root)".
func parseTorch(data []byte) ([]weight, error) {
	var root any
	var big bool
	var err error
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		root, big, err = torchZip(data)
	case len(data) > 262 && string(data[257:262]) == "ustar":
		err = fmt.Errorf("torch: found the tar container of PyTorch before 0.1.10, expected the zip or the legacy one: save it again with a newer PyTorch")
	default:
		root, err = torchLegacy(data)
	}
	if err != nil {
		return nil, err
	}
	c := collector{bigEndian: big}
	if err := c.walk("", root, 0); err != nil {
		return nil, err
	}
	if len(c.found) == 0 {
		return nil, fmt.Errorf("torch: found no tensor")
	}
	return c.found, nil
}

// storage is a flat array that tensors are views of.
type storage struct {
	elem    elementType
	untyped bool // bytes, whose type the tensor tells
	raw     []byte
	filled  bool
}

// tensorView is a tensor as a pickle tells it.
type tensorView struct {
	from          *storage
	elem          elementType
	offset        int64
	shape, stride []int64
}

// storageClass stands for torch.FloatStorage and its kin in a pickle.
type storageClass struct {
	elem    elementType
	untyped bool
}

// dtypeName stands for torch.float32 and its kin.
type dtypeName string

// inert stands for every class that weights do not need: it can be made, called and given state, and does nothing.
type inert struct{ state any }

func (*inert) Call(...any) (any, error)      { return &inert{}, nil }
func (*inert) PyNew(...any) (any, error)     { return &inert{}, nil }
func (o *inert) PySetState(s any) error      { o.state = s; return nil }
func (o *inert) Set(_, _ any)                {}
func (o *inert) Append(any)                  {}
func (o *inert) PyDictSet(_, _ any) error    { return nil }
func (o *inert) Add(any)                     {}
func (o *inert) PySetAttr(string, any) error { return nil }

// rebuild stands for the functions that make tensors from storages.
type rebuild func(args []any) (any, error)

func (f rebuild) Call(args ...any) (any, error) { return f(args) }

var storageNames = map[string]string{
	"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
	"CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
}

// torchClass resolves a global of a pickle. Only the constructors of tensors do anything.
func torchClass(module, name string) (any, error) {
	switch module + "." + name {
	case "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v3":
		v3 := strings.HasSuffix(name, "v3")
		return rebuild(func(args []any) (any, error) { return rebuildTensor(args, v3) }), nil
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter":
		return rebuild(func(args []any) (any, error) {
			if len(args) == 0 {
				return nil, fmt.Errorf("torch: a parameter without tensor")
			}
			return args[0], nil
		}), nil
	case "torch.storage.UntypedStorage", "torch.UntypedStorage":
		e, _ := elementTypeNamed("uint8")
		return storageClass{e, true}, nil
	}
	if module == "torch" || module == "torch.cuda" || module == "torch.storage" {
		if dt, ok := storageNames[name]; ok {
			e, _ := elementTypeNamed(dt)
			return storageClass{elem: e}, nil
		}
		if strings.HasSuffix(name, "Storage") {
			return nil, fmt.Errorf("torch: found a tensor of %s, which is not supported", name)
		}
		if _, ok := elementTypeNamed(name); ok {
			return dtypeName(name), nil
		}
	}
	if strings.HasPrefix(module, "torch._utils") && strings.HasPrefix(name, "_rebuild") {
		return nil, fmt.Errorf("torch: found a tensor made by %s, which is not supported (dense tensors are)", name)
	}
	return &inert{}, nil
}

func rebuildTensor(args []any, v3 bool) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("torch: a tensor with %d arguments, expected at least 4", len(args))
	}
	from, ok := args[0].(*storage)
	if !ok {
		return nil, fmt.Errorf("torch: a tensor without storage")
	}
	t := &tensorView{from: from, elem: from.elem}
	if v3 {
		if len(args) < 7 {
			return nil, fmt.Errorf("torch: a tensor of _rebuild_tensor_v3 with %d arguments, expected 7", len(args))
		}
		dt, ok := args[6].(dtypeName)
		if !ok {
			return nil, fmt.Errorf("torch: a tensor of a type that is not supported")
		}
		t.elem, _ = elementTypeNamed(string(dt))
	} else if from.untyped {
		return nil, fmt.Errorf("torch: a tensor over an untyped storage without type")
	}
	var err error
	if t.offset, err = integer(args[1]); err != nil {
		return nil, err
	}
	if t.shape, err = integers(args[2]); err != nil {
		return nil, err
	}
	if t.stride, err = integers(args[3]); err != nil {
		return nil, err
	}
	return t, nil
}

func integer(v any) (int64, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case *big.Int:
		if v.IsInt64() {
			return v.Int64(), nil
		}
	}
	return 0, fmt.Errorf("torch: found %v, expected an integer", v)
}

func integers(v any) ([]int64, error) {
	t, ok := v.(*types.Tuple)
	if !ok {
		return nil, fmt.Errorf("torch: found %T, expected a tuple of integers", v)
	}
	out := make([]int64, t.Len())
	for i := range out {
		n, err := integer(t.Get(i))
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// storageID reads the persistent id ("storage", class, key, location, size, …).
func storageID(id []any) (class storageClass, key string, size int64, err error) {
	if len(id) < 5 || id[0] != "storage" {
		return class, "", 0, fmt.Errorf("torch: unexpected persistent id %v", id)
	}
	class, ok := id[1].(storageClass)
	key, okKey := id[2].(string)
	size, err = integer(id[4])
	if !ok || !okKey || err != nil || size < 0 || size > maxWeightElements {
		return class, "", 0, fmt.Errorf("torch: malformed storage reference %v", id)
	}
	return class, key, size, nil
}

// torchZip reads the zip container: NAME/data.pkl and one NAME/data/KEY for each storage.
func torchZip(data []byte) (root any, bigEndian bool, err error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, false, fmt.Errorf("torch: zip container: %w", err)
	}
	records := map[string]*zip.File{}
	prefix := ""
	for _, f := range z.File {
		records[f.Name] = f
		switch path.Base(f.Name) {
		case "data.pkl":
			prefix = path.Dir(f.Name)
		case "constants.pkl":
			return nil, false, fmt.Errorf("torch: found a TorchScript archive, expected a state dict: save model.state_dict()")
		}
	}
	pkl, ok := records[path.Join(prefix, "data.pkl")]
	if !ok {
		return nil, false, fmt.Errorf("torch: found a zip without data.pkl, expected what torch.save writes")
	}
	if f, ok := records[path.Join(prefix, "byteorder")]; ok {
		order, err := readRecord(f, 16)
		if err != nil {
			return nil, false, err
		}
		bigEndian = string(bytes.TrimSpace(order)) == "big"
	}
	raw, err := readRecord(pkl, maxWeightFile)
	if err != nil {
		return nil, false, err
	}
	stores := map[string]*storage{}
	root, _, err = unpickle(raw, func(id []any) (any, error) {
		class, key, size, err := storageID(id)
		if err != nil {
			return nil, err
		}
		if s, ok := stores[key]; ok {
			return s, nil
		}
		f, ok := records[path.Join(prefix, "data", key)]
		if !ok {
			return nil, fmt.Errorf("torch: storage %q is not in the file", key)
		}
		s := &storage{elem: class.elem, untyped: class.untyped, filled: true}
		want := size * int64(class.elem.size)
		if s.raw, err = readRecord(f, want); err != nil {
			return nil, err
		}
		if int64(len(s.raw)) < want {
			return nil, fmt.Errorf("torch: storage %q has %d bytes, expected %d", key, len(s.raw), want)
		}
		stores[key] = s
		return s, nil
	})
	return root, bigEndian, err
}

// readRecord unpacks at most limit bytes of a zip record.
func readRecord(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("torch: zip record %s: %w", f.Name, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, fmt.Errorf("torch: zip record %s: %w", f.Name, err)
	}
	return raw, nil
}

// torchLegacy reads the container of torch.save before 1.6: four pickles (magic number, protocol, system, object), a
// pickle of storage keys, then each storage as a count and its little-endian elements.
func torchLegacy(data []byte) (any, error) {
	rest := data
	next := func(persistent func([]any) (any, error)) (any, error) {
		v, n, err := unpickle(rest, persistent)
		rest = rest[n:]
		return v, err
	}
	magic, err := next(nil)
	if m, ok := magic.(*big.Int); err != nil || !ok || m.Cmp(torchMagic) != 0 {
		return nil, fmt.Errorf("torch: neither a zip nor a legacy file of torch.save")
	}
	if v, err := next(nil); err != nil || v != 1001 {
		return nil, fmt.Errorf("torch: legacy container: found protocol %v, expected 1001", v)
	}
	if _, err := next(nil); err != nil { // sizes and byte order of the writing machine; the data is little-endian
		return nil, err
	}
	stores := map[string]*storage{}
	sizes := map[string]int64{}
	root, err := next(func(id []any) (any, error) {
		if len(id) > 0 && id[0] == "module" && len(id) > 1 {
			return id[1], nil
		}
		class, key, size, err := storageID(id)
		if err != nil {
			return nil, err
		}
		if len(id) > 5 && id[5] != nil {
			return nil, fmt.Errorf("torch: found a storage view of PyTorch before 0.4, which is not supported: save it again with a newer PyTorch")
		}
		if s, ok := stores[key]; ok {
			return s, nil
		}
		stores[key], sizes[key] = &storage{elem: class.elem, untyped: class.untyped}, size
		return stores[key], nil
	})
	if err != nil {
		return nil, err
	}
	keys, err := next(nil)
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*types.List)
	if !ok {
		return nil, fmt.Errorf("torch: legacy container: expected the list of storage keys")
	}
	for _, k := range *list {
		key, _ := k.(string)
		s, ok := stores[key]
		if !ok {
			return nil, fmt.Errorf("torch: legacy container: storage %v is not used by any tensor", k)
		}
		if len(rest) < 8 {
			return nil, fmt.Errorf("torch: legacy container: truncated before storage %q", key)
		}
		n := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		if int64(n) != sizes[key] || n > uint64(len(rest)/s.elem.size) {
			return nil, fmt.Errorf("torch: legacy container: storage %q has %d elements in %d bytes, expected %d", key, n, len(rest), sizes[key])
		}
		size := int(n) * s.elem.size
		s.raw, s.filled, rest = rest[:size], true, rest[size:]
	}
	return root, nil
}

// collector gathers the tensors below an unpickled object.
type collector struct {
	bigEndian bool
	found     []weight
	visited   int
	total     int64
}

func (c *collector) walk(name string, v any, level int) error {
	if c.visited++; c.visited > 4*maxWeightTensors || level > 64 {
		return fmt.Errorf("torch: the object nests too deeply or is too large")
	}
	child := func(key string) string {
		if name == "" {
			return key
		}
		return name + "." + key
	}
	switch v := v.(type) {
	case *tensorView:
		if name == "" {
			name = "(root)"
		}
		return c.add(name, v)
	case *types.OrderedDict:
		for e := v.List.Front(); e != nil; e = e.Next() {
			entry := e.Value.(*types.OrderedDictEntry)
			if err := c.walk(child(keyText(entry.Key)), entry.Value, level+1); err != nil {
				return err
			}
		}
	case *types.Dict:
		for _, e := range *v {
			if err := c.walk(child(keyText(e.Key)), e.Value, level+1); err != nil {
				return err
			}
		}
	case *types.List:
		for i, e := range *v {
			if err := c.walk(child(strconv.Itoa(i)), e, level+1); err != nil {
				return err
			}
		}
	case *types.Tuple:
		for i, e := range *v {
			if err := c.walk(child(strconv.Itoa(i)), e, level+1); err != nil {
				return err
			}
		}
	case *inert:
		return c.walk(name, v.state, level+1)
	}
	return nil
}

func keyText(k any) string { return fmt.Sprint(k) }

// add copies a view out of its storage in row-major order.
func (c *collector) add(name string, t *tensorView) error {
	if len(c.found) >= maxWeightTensors {
		return fmt.Errorf("torch: more than %d tensors", maxWeightTensors)
	}
	if !t.from.filled {
		return fmt.Errorf("torch: tensor %q: its storage is not in the file", name)
	}
	n, err := elements(t.shape)
	if err != nil {
		return fmt.Errorf("torch: tensor %q: %w", name, err)
	}
	if c.total += n; c.total > maxWeightElements {
		return fmt.Errorf("torch: more than %d elements in all", int64(maxWeightElements))
	}
	if len(t.stride) != len(t.shape) {
		return fmt.Errorf("torch: tensor %q: %d strides for shape %v", name, len(t.stride), t.shape)
	}
	have := int64(len(t.from.raw) / t.elem.size)
	last := t.offset
	for i, d := range t.shape {
		s := t.stride[i]
		if s < 0 || d > 1 && s > have {
			return fmt.Errorf("torch: tensor %q: stride %d in a storage of %d elements", name, s, have)
		}
		if d > 1 {
			last += (d - 1) * s
		}
		if last > have {
			break
		}
	}
	if t.offset < 0 || n > 0 && last >= have {
		return fmt.Errorf("torch: tensor %q: reaches element %d of a storage of %d", name, last, have)
	}
	if n > 1<<20 && n > 64*have {
		return fmt.Errorf("torch: tensor %q: %d elements expanded from a storage of %d", name, n, have)
	}
	index := make([]int64, len(t.shape))
	at := t.offset
	c.found = append(c.found, weight{Name: name, DType: t.elem.name, Tensor: t.elem.gather(t.from.raw, c.bigEndian, t.shape, int(n), func(int) int {
		here := at
		for i := len(index) - 1; i >= 0; i-- {
			index[i]++
			at += t.stride[i]
			if index[i] < t.shape[i] {
				break
			}
			at -= index[i] * t.stride[i]
			index[i] = 0
		}
		return int(here)
	})})
	return nil
}
