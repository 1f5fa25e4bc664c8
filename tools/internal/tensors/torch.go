package tensors

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// torchMagic opens PyTorch's legacy container.
var torchMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// parseTorch finds the tensors in what torch.save wrote, in its zip container or the legacy one. Tensors are named by
// their path through dictionaries, lists and objects; a lone tensor is "(root)".
func parseTorch(file io.ReaderAt, size int64) ([]Stored, error) {
	head, err := readAt(file, 0, min(size, 512))
	if err != nil {
		return nil, err
	}
	var root any
	var big bool
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		root, big, err = torchZip(file, size)
	case len(head) > 262 && string(head[257:262]) == "ustar":
		err = fmt.Errorf("torch: found the tar container of PyTorch before 0.1.10, expected the zip or the legacy one: save it again with a newer PyTorch")
	default:
		root, err = torchLegacy(file, size)
	}
	if err != nil {
		return nil, err
	}
	c := collector{bigEndian: big, names: map[string]bool{}}
	if err := c.walk("", root, 0); err != nil {
		return nil, err
	}
	if len(c.found) == 0 {
		return nil, fmt.Errorf("torch: found no tensor")
	}
	return c.found, checkViews(c.found)
}

// readAt reads n bytes at an offset.
func readAt(file io.ReaderAt, at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := file.ReadAt(b, at); err != nil && err != io.EOF {
		return nil, fmt.Errorf("cannot be read: %s", disk.Reason(err))
	}
	return b, nil
}

// storageClass stands for torch.FloatStorage and its kin in a pickle.
type storageClass struct {
	elem    elementType
	untyped bool
}

// dtypeName stands for torch.float32 and its kin.
type dtypeName string

var storageNames = map[string]string{
	"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
	"CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
}

// torchClass resolves a global of a pickle. Only the constructors of tensors and of dictionaries do anything.
func torchClass(module, name string) (any, error) {
	switch module + "." + name {
	case "collections.OrderedDict", "collections.defaultdict":
		return &pyCall{dictionaryOf}, nil
	case "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v3":
		v3 := strings.HasSuffix(name, "v3")
		return &pyCall{func(args []any) (any, error) { return rebuildTensor(args, v3) }}, nil
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter":
		return &pyCall{func(args []any) (any, error) {
			if len(args) == 0 {
				return nil, fmt.Errorf("torch: a parameter without tensor")
			}
			return args[0], nil
		}}, nil
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
			return nil, fmt.Errorf("torch: found a tensor of %s, which is not supported", term.Shown(name))
		}
		if _, ok := elementTypeNamed(name); ok {
			return dtypeName(name), nil
		}
	}
	if strings.HasPrefix(module, "torch._utils") && strings.HasPrefix(name, "_rebuild") {
		return nil, fmt.Errorf("torch: found a tensor made by %s, which is not supported (dense tensors are)", term.Shown(name))
	}
	return &pyObject{}, nil
}

// dictionaryOf makes a dictionary of a list of keys and values; other arguments do not matter to it.
func dictionaryOf(args []any) (any, error) {
	d := &pyDict{}
	for _, a := range args {
		list, ok := a.(*pyList)
		if !ok {
			continue
		}
		for _, e := range list.items {
			if p, ok := e.(*pyList); ok && len(p.items) == 2 {
				d.set(p.items[0], p.items[1])
			}
		}
	}
	return d, nil
}

func rebuildTensor(args []any, v3 bool) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("torch: a tensor with %d arguments, expected at least 4", len(args))
	}
	from, ok := args[0].(*storage)
	if !ok {
		return nil, fmt.Errorf("torch: a tensor without storage")
	}
	t := &Stored{from: from, Elem: from.elem}
	if v3 {
		if len(args) < 7 {
			return nil, fmt.Errorf("torch: a tensor of _rebuild_tensor_v3 with %d arguments, expected 7", len(args))
		}
		dt, ok := args[6].(dtypeName)
		if !ok {
			return nil, fmt.Errorf("torch: a tensor of a type that is not supported")
		}
		t.Elem, _ = elementTypeNamed(string(dt))
	} else if from.untyped {
		return nil, fmt.Errorf("torch: a tensor over an untyped storage without type")
	}
	var err error
	if t.offset, err = integer(args[1]); err != nil {
		return nil, err
	}
	if t.Shape, err = integers(args[2]); err != nil {
		return nil, err
	}
	if t.stride, err = integers(args[3]); err != nil {
		return nil, err
	}
	return t, nil
}

func integer(v any) (int64, error) {
	if n, ok := v.(int64); ok {
		return n, nil
	}
	return 0, fmt.Errorf("torch: found %s, expected an integer of 64 bits", pyKind(v))
}

func integers(v any) ([]int64, error) {
	t, ok := v.(*pyList)
	if !ok {
		return nil, fmt.Errorf("torch: found %s, expected a tuple of integers", pyKind(v))
	}
	if len(t.items) > maxWeightRank {
		return nil, fmt.Errorf("torch: found %d dimensions, expected at most %d", len(t.items), maxWeightRank)
	}
	out := make([]int64, len(t.items))
	for i, v := range t.items {
		n, err := integer(v)
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
		return class, "", 0, fmt.Errorf("torch: found a persistent id of %d parts, expected that of a storage", len(id))
	}
	class, ok := id[1].(storageClass)
	key, okKey := id[2].(string)
	size, err = integer(id[4])
	if !ok || !okKey || err != nil || size < 0 || size > maxWeightElements {
		return class, "", 0, fmt.Errorf("torch: malformed reference to a storage: key %s, size %s", pyKind(id[2]), pyKind(id[4]))
	}
	return class, key, size, nil
}

// torchZip reads the zip container: NAME/data.pkl and one NAME/data/KEY for each storage. torch.save stores records
// without compressing them, so that storages are read in place.
func torchZip(file io.ReaderAt, size int64) (root any, bigEndian bool, err error) {
	directory := &limitedReaderAt{file, term.MaxZipDirectory}
	z, err := zip.NewReader(directory, size)
	if err != nil {
		return nil, false, fmt.Errorf("torch: zip container: %w", err)
	}
	directory.left = 1<<63 - 1
	records := map[string]*zip.File{}
	prefix := ""
	for _, f := range z.File {
		if records[f.Name] != nil {
			return nil, false, fmt.Errorf("torch: zip container: found record %q twice", term.Shown(f.Name))
		}
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
	taken := int64(0) // by records read so far, which may not overlap
	open := func(f *zip.File, most int64) (at int64, err error) {
		at, err = checkRecord(f, most)
		if taken += int64(f.CompressedSize64); err == nil && taken > size {
			err = fmt.Errorf("torch: zip container: the records overlap")
		}
		return at, err
	}
	read := func(f *zip.File, most int64) ([]byte, error) {
		at, err := open(f, most)
		if err != nil {
			return nil, err
		}
		return readAt(file, at, int64(f.UncompressedSize64))
	}
	if f, ok := records[path.Join(prefix, "byteorder")]; ok {
		order, err := read(f, 16)
		if err != nil {
			return nil, false, err
		}
		bigEndian = string(bytes.TrimSpace(order)) == "big"
	}
	raw, err := read(pkl, term.MaxPickle)
	if err != nil {
		return nil, false, err
	}
	stores := map[string]*storage{}
	root, _, err = unpickle(raw, func(id []any) (any, error) {
		class, key, n, err := storageID(id)
		if err != nil {
			return nil, err
		}
		want := n * int64(class.elem.size)
		s, ok := stores[key]
		if !ok {
			f, ok := records[path.Join(prefix, "data", key)]
			if !ok {
				return nil, fmt.Errorf("torch: storage %q is not in the file", term.Shown(key))
			}
			s = &storage{elem: class.elem, untyped: class.untyped, file: file, bytes: want, filled: true}
			if s.at, err = open(f, term.MaxWeightFile); err != nil {
				return nil, err
			}
			if got := f.UncompressedSize64; got != uint64(want) {
				return nil, fmt.Errorf("torch: storage %q has %d bytes, expected %d", term.Shown(key), got, want)
			}
			stores[key] = s
		}
		if s.bytes != want || s.elem != class.elem {
			return nil, fmt.Errorf("torch: storage %q is told in two ways: %d bytes of %s and %d of %s", term.Shown(key), s.bytes, s.elem.Name, want, class.elem.Name)
		}
		return s, nil
	})
	return root, bigEndian, err
}

// checkRecord reads a record of at most most bytes to its end, which proves its checksum, and tells where it begins.
func checkRecord(f *zip.File, most int64) (at int64, err error) {
	switch {
	case f.Method != zip.Store:
		return 0, fmt.Errorf("torch: zip record %q is compressed, expected stored records, as torch.save writes them", term.Shown(f.Name))
	case f.UncompressedSize64 != f.CompressedSize64:
		return 0, fmt.Errorf("torch: zip record %q has %d bytes in %d, expected as many", term.Shown(f.Name), f.UncompressedSize64, f.CompressedSize64)
	case f.UncompressedSize64 > uint64(most):
		return 0, fmt.Errorf("torch: zip record %q has %s, expected at most %s", term.Shown(f.Name), disk.Size(int64(min(f.UncompressedSize64, 1<<62))), disk.Size(most))
	}
	r, err := f.Open()
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	if err == nil {
		at, err = f.DataOffset()
	}
	if errors.Is(err, zip.ErrChecksum) {
		return 0, fmt.Errorf("torch: zip record %q does not have the checksum (CRC-32) that the file tells: it is damaged", term.Shown(f.Name))
	}
	if err != nil {
		return 0, fmt.Errorf("torch: zip record %q: %w", term.Shown(f.Name), err)
	}
	return at, nil
}

// limitedReaderAt reads at most left bytes more.
type limitedReaderAt struct {
	io.ReaderAt
	left int64
}

func (r *limitedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if r.left -= int64(len(p)); r.left < 0 {
		return 0, fmt.Errorf("the directory is longer than %s", disk.Size(term.MaxZipDirectory))
	}
	return r.ReaderAt.ReadAt(p, at)
}

// torchLegacy reads the container of torch.save before 1.6: four pickles (magic number, protocol, system, object), a
// pickle of storage keys, then each storage as a count and its little-endian elements.
func torchLegacy(file io.ReaderAt, size int64) (any, error) {
	head, err := readAt(file, 0, min(size, 64))
	if err != nil {
		return nil, err
	}
	magic, _, err := unpickle(head, nil)
	if m, ok := magic.(*big.Int); err != nil || !ok || m.Cmp(torchMagic) != 0 {
		return nil, fmt.Errorf("torch: neither a zip nor a legacy file of torch.save")
	}
	if head, err = readAt(file, 0, min(size, term.MaxPickle)); err != nil {
		return nil, err
	}
	at := 0
	next := func(persistent func([]any) (any, error)) (any, error) {
		v, n, err := unpickle(head[at:], persistent)
		at += n
		return v, err
	}
	if _, err := next(nil); err != nil {
		return nil, err
	}
	if v, err := next(nil); err != nil || v != int64(1001) {
		return nil, fmt.Errorf("torch: legacy container: found protocol %s, expected 1001", pyKind(v))
	}
	if _, err := next(nil); err != nil { // sizes and byte order of the writing machine; the data is little-endian
		return nil, err
	}
	stores := map[string]*storage{}
	root, err := next(func(id []any) (any, error) {
		if len(id) > 1 && id[0] == "module" {
			return id[1], nil
		}
		class, key, n, err := storageID(id)
		if err != nil {
			return nil, err
		}
		if len(id) > 5 && id[5] != nil {
			return nil, fmt.Errorf("torch: found a storage view of PyTorch before 0.4, which is not supported: save it again with a newer PyTorch")
		}
		want := n * int64(class.elem.size)
		s, ok := stores[key]
		if !ok {
			s = &storage{elem: class.elem, untyped: class.untyped, file: file, bytes: want}
			stores[key] = s
		}
		if s.bytes != want || s.elem != class.elem {
			return nil, fmt.Errorf("torch: storage %q is told in two ways: %d bytes of %s and %d of %s", term.Shown(key), s.bytes, s.elem.Name, want, class.elem.Name)
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	keys, err := next(nil)
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pyList)
	if !ok {
		return nil, fmt.Errorf("torch: legacy container: found %s, expected the list of storage keys", pyKind(keys))
	}
	place := int64(at)
	for _, k := range list.items {
		key, _ := k.(string)
		s, ok := stores[key]
		switch {
		case !ok:
			return nil, fmt.Errorf("torch: legacy container: storage %s is not used by any tensor", pyKind(k))
		case s.filled:
			return nil, fmt.Errorf("torch: legacy container: storage %q stands there twice", term.Shown(key))
		case size-place < 8:
			return nil, fmt.Errorf("torch: legacy container: truncated before storage %q", term.Shown(key))
		}
		count, err := readAt(file, place, 8)
		if err != nil {
			return nil, err
		}
		place += 8
		if n := binary.LittleEndian.Uint64(count); n != uint64(s.bytes/int64(s.elem.size)) || s.bytes > size-place {
			return nil, fmt.Errorf("torch: legacy container: storage %q has %d elements in %d bytes, expected %d", term.Shown(key), n, size-place, s.bytes/int64(s.elem.size))
		}
		s.at, s.filled = place, true
		place += s.bytes
	}
	return root, nil
}

// collector gathers the tensors below an unpickled object.
type collector struct {
	bigEndian bool
	found     []Stored
	names     map[string]bool
	visited   int
	total     int64
}

func (c *collector) walk(name string, v any, level int) error {
	if c.visited++; c.visited > 40*maxWeightTensors || level > 64 {
		return fmt.Errorf("torch: the object nests too deeply or is too large")
	}
	below := func(key string, v any) error {
		switch v.(type) {
		case *Stored, *pyDict, *pyList, *pyObject:
		default:
			return nil
		}
		if name != "" {
			key = name + "." + key
		}
		if len(key) > maxWeightName {
			return fmt.Errorf("torch: found a name of %d bytes, expected at most %d: %s", len(key), maxWeightName, term.Shown(key))
		}
		return c.walk(key, v, level+1)
	}
	each := func(d *pyDict) error {
		for i, k := range d.keys {
			if err := below(keyText(k), d.values[i]); err != nil {
				return err
			}
		}
		return nil
	}
	switch v := v.(type) {
	case *Stored:
		if name == "" {
			name = "(root)"
		}
		return c.add(name, v)
	case *pyDict:
		return each(v)
	case *pyList:
		for i, e := range v.items {
			if err := below(strconv.Itoa(i), e); err != nil {
				return err
			}
		}
	case *pyObject:
		if err := each(&v.items); err != nil {
			return err
		}
		return c.walk(name, v.state, level+1)
	}
	return nil
}

// keyText is the key of a dictionary as part of a name.
func keyText(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case bool, int64, float64, *big.Int:
		return fmt.Sprint(k)
	case *pyList:
		if len(k.items) <= 8 && !slices.ContainsFunc(k.items, func(v any) bool { _, nested := v.(*pyList); return nested }) {
			parts := make([]string, len(k.items))
			for i, e := range k.items {
				parts[i] = keyText(e)
			}
			return "(" + strings.Join(parts, ", ") + ")"
		}
	}
	return "(" + pyKind(k) + ")"
}

// add checks a view against its storage.
func (c *collector) add(name string, view *Stored) error {
	t := *view
	t.Name, t.bigEndian = name, c.bigEndian
	fail := func(format string, args ...any) error {
		return fmt.Errorf("torch: tensor %q: %w", term.Shown(name), fmt.Errorf(format, args...))
	}
	if len(c.found) >= maxWeightTensors {
		return fmt.Errorf("torch: more than %d tensors", maxWeightTensors)
	}
	if c.names[name] {
		return fail("stands there twice")
	}
	c.names[name] = true
	if !t.from.filled {
		return fail("its storage is not in the file")
	}
	var err error
	if t.count, err = elements(t.Shape); err != nil {
		return fail("%w", err)
	}
	if c.total += t.count; c.total > maxWeightElements {
		return fmt.Errorf("torch: more than %d elements in all", int64(maxWeightElements))
	}
	if len(t.stride) != len(t.Shape) {
		return fail("%d strides for shape %v", len(t.stride), t.Shape)
	}
	have := t.from.bytes / int64(t.Elem.size)
	last := t.offset
	for i, d := range t.Shape {
		s := t.stride[i]
		if s < 0 || d > 1 && s > have {
			return fail("stride %d in a storage of %d elements", s, have)
		}
		if d > 1 {
			last += (d - 1) * s
		}
		if last > have {
			break
		}
	}
	if t.offset < 0 || t.offset > have || t.count > 0 && last >= have {
		return fail("reaches element %d of a storage of %d", last, have)
	}
	c.found = append(c.found, t)
	return nil
}
