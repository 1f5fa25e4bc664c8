package tensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"lenskit/tools/internal/term"
)

// Python's pickle protocol, versions 0 to 5, as far as data goes: lists, dictionaries, strings and numbers. What a pickle
// wants imported or called is looked up in torchClass and never executed. Memory, time and the length of messages are
// bounded by the pickle's length and the limits below, whatever it says.
const (
	maxPickleMemory = 96 << 20 // bytes, estimated, of the objects that a pickle makes
	maxPickleInt    = 1000     // bytes or digits of an integer
)

// The objects of a pickle are nil, bool, int64, float64, *big.Int, string, *pyBytes, *pyList, *pyDict, *pyObject, *pyCall
// and what torchClass and the resolver of persistent ids give.
type (
	pyBytes struct{ data []byte }
	pyList  struct{ items []any } // a list or a tuple
	pyDict  struct {
		keys, values []any
		at           map[any]int
	}
	// pyObject stands for an instance of a class that weights do not need: it can be made, called and given state.
	pyObject struct {
		state any
		items pyDict
	}
	// pyCall stands for a class or a function that does something.
	pyCall struct{ call func(args []any) (any, error) }
)

// set gives the key a value, the old one's place if there is one.
func (d *pyDict) set(key, value any) {
	if i, ok := d.at[key]; ok {
		d.values[i] = value
		return
	}
	if d.at == nil {
		d.at = map[any]int{}
	}
	d.at[key] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
}

// unpickler is Python's stack machine.
type unpickler struct {
	data       []byte
	at         int
	stack      []any
	marks      []int // heights of the stack
	memo       map[uint64]any
	spent      int64
	persistent func(id []any) (any, error)
}

// unpickle reads the pickle at the start of data and returns it with its length. Classes are those of torchClass;
// persistent resolves references to storages.
func unpickle(data []byte, persistent func(id []any) (any, error)) (v any, n int, err error) {
	u := &unpickler{data: data, memo: map[uint64]any{}, persistent: persistent}
	for {
		begin := u.at
		op, err := u.take(1)
		if err == nil && op[0] == '.' {
			v, err := u.pop()
			return v, u.at, err
		}
		if err == nil {
			err = u.step(op[0])
		}
		if err == nil {
			err = u.spend(0)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "torch: ") { // what the tensors are says more than the place
				err = fmt.Errorf("pickle: at byte %d: %w", begin, err)
			}
			return nil, 0, err
		}
	}
}

// spend counts bytes, and some for the place on the stack.
func (u *unpickler) spend(bytes int) error {
	if u.spent += int64(bytes) + 16; u.spent > maxPickleMemory {
		return fmt.Errorf("makes objects of more than %d MB, expected the names and shapes of tensors", maxPickleMemory>>20)
	}
	return nil
}

// take returns the next n bytes.
func (u *unpickler) take(n uint64) ([]byte, error) {
	if left := uint64(len(u.data) - u.at); n > left {
		return nil, fmt.Errorf("found an argument of %d bytes with %d bytes left", n, left)
	}
	u.at += int(n)
	return u.data[u.at-int(n) : u.at], nil
}

// number reads a little-endian number of width bytes.
func (u *unpickler) number(width int) (uint64, error) {
	b, err := u.take(uint64(width))
	var all [8]byte
	copy(all[:], b)
	return binary.LittleEndian.Uint64(all[:]), err
}

// sized reads a length of width bytes, then that many bytes.
func (u *unpickler) sized(width int) ([]byte, error) {
	n, err := u.number(width)
	if err != nil {
		return nil, err
	}
	return u.take(n)
}

// line reads up to the end of the line.
func (u *unpickler) line() (string, error) {
	i := bytes.IndexByte(u.data[u.at:], '\n')
	if i < 0 {
		return "", fmt.Errorf("found a line without end")
	}
	s := u.data[u.at : u.at+i]
	u.at += i + 1
	return string(s), u.spend(i)
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

// floor is the height of the stack at the last mark.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, fmt.Errorf("takes an object from the empty stack")
	}
	return u.stack[len(u.stack)-1], nil
}

func (u *unpickler) pop() (any, error) {
	v, err := u.top()
	if err == nil {
		u.stack = u.stack[:len(u.stack)-1]
	}
	return v, err
}

// popMark returns what was pushed since the last mark, and forgets the mark.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, fmt.Errorf("goes back to a mark that was not set")
	}
	items := slices.Clone(u.stack[u.floor():])
	u.stack = u.stack[:u.floor()]
	u.marks = u.marks[:len(u.marks)-1]
	return items, u.spend(16 * len(items))
}

// popN returns the last n objects.
func (u *unpickler) popN(n int) ([]any, error) {
	if len(u.stack)-n < u.floor() {
		return nil, fmt.Errorf("takes %d objects from a stack of %d", n, len(u.stack)-u.floor())
	}
	items := slices.Clone(u.stack[len(u.stack)-n:])
	u.stack = u.stack[:len(u.stack)-n]
	return items, u.spend(16 * n)
}

// step executes an opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := u.number(1)
		if err == nil && v > 5 {
			err = fmt.Errorf("found pickle protocol %d, expected at most 5", v)
		}
		return err
	case 0x95: // FRAME: its length only, the opcodes inside follow
		_, err := u.number(8)
		return err
	case '(':
		u.marks = append(u.marks, len(u.stack))
		return nil
	case '0':
		if len(u.marks) > 0 && len(u.stack) == u.floor() {
			u.marks = u.marks[:len(u.marks)-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1':
		_, err := u.popMark()
		return err
	case '2':
		v, err := u.top()
		u.push(v)
		return err
	case 'g', 'h', 'j', 'p', 'q', 'r', 0x94:
		return u.remember(op)
	case 'c', 0x93, 'R', 0x81, 0x92, 'i', 'o', 'P', 'Q', 'b':
		return u.object(op)
	case 'a', 'e', 's', 'u', 0x90:
		return u.extend(op)
	}
	v, err := u.value(op)
	if err == nil {
		u.push(v)
	}
	return err
}

// value makes the object of an opcode that pushes data.
func (u *unpickler) value(op byte) (any, error) {
	text := func(b []byte, err error) (any, error) {
		if err == nil {
			err = u.spend(len(b))
		}
		return string(b), err
	}
	raw := func(b []byte, err error) (any, error) { return &pyBytes{b}, err }
	whole := func(width int) (any, error) {
		v, err := u.number(width)
		return int64(v), err
	}
	list := func(items []any, err error) (any, error) {
		if err == nil {
			err = u.spend(64)
		}
		return &pyList{items}, err
	}
	switch op {
	case 'N':
		return nil, nil
	case 0x88, 0x89:
		return op == 0x88, nil
	case 'K':
		return whole(1)
	case 'M':
		return whole(2)
	case 'J':
		v, err := u.number(4)
		return int64(int32(v)), err
	case 'I', 'L', 'F':
		return u.numberLine(op)
	case 'G':
		b, err := u.take(8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case 0x8a:
		return u.long(1)
	case 0x8b:
		return u.long(4)
	case 'S', 'V':
		s, err := u.line()
		if op == 'S' && err == nil {
			if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
				return nil, fmt.Errorf("found a string without quotes")
			}
			s = s[1 : len(s)-1]
		}
		if plain, err := strconv.Unquote(`"` + s + `"`); err == nil {
			s = plain
		}
		return s, err
	case 'U', 0x8c:
		return text(u.sized(1))
	case 'T', 'X':
		return text(u.sized(4))
	case 0x8d:
		return text(u.sized(8))
	case 'C':
		return raw(u.sized(1))
	case 'B':
		return raw(u.sized(4))
	case 0x8e, 0x96:
		return raw(u.sized(8))
	case ']', ')':
		return list(nil, nil)
	case 'l', 't':
		return list(u.popMark())
	case 0x85, 0x86, 0x87:
		return list(u.popN(int(op) - 0x84))
	case '}':
		return &pyDict{}, u.spend(200)
	case 'd':
		items, err := u.popMark()
		if err != nil {
			return nil, err
		}
		d := &pyDict{}
		return d, u.fill(d, items)
	case 0x8f:
		return &pyObject{}, u.spend(200)
	case 0x91:
		_, err := u.popMark()
		return &pyObject{}, err
	}
	return nil, fmt.Errorf("found the unknown opcode 0x%02x", op)
}

// numberLine reads a number written in digits.
func (u *unpickler) numberLine(op byte) (any, error) {
	s, err := u.line()
	switch {
	case err != nil:
		return nil, err
	case len(s) > maxPickleInt:
		return nil, fmt.Errorf("found a number of %d digits, expected at most %d", len(s), maxPickleInt)
	case op == 'F':
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("found %.40q, expected a number", s)
		}
		return v, nil
	case op == 'I' && (s == "00" || s == "01"):
		return s == "01", nil
	case op == 'L' && len(s) > 1 && s[len(s)-1] == 'L':
		s = s[:len(s)-1]
	}
	v, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("found %.40q, expected a whole number", s)
	}
	return small(v), nil
}

// long reads an integer in two's complement, after its length in width bytes.
func (u *unpickler) long(width int) (any, error) {
	b, err := u.sized(width)
	if err != nil {
		return nil, err
	}
	if len(b) > maxPickleInt {
		return nil, fmt.Errorf("found an integer of %d bytes, expected at most %d", len(b), maxPickleInt)
	}
	b = slices.Clone(b)
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return small(v), u.spend(2 * len(b))
}

// small is v as an int64 where that holds it.
func small(v *big.Int) any {
	if v.IsInt64() {
		return v.Int64()
	}
	return v
}

// remember puts the top of the stack into the memo, or gets it back from there.
func (u *unpickler) remember(op byte) error {
	var key uint64
	var err error
	switch op {
	case 'g', 'p':
		s, e := u.line()
		if key, err = strconv.ParseUint(s, 10, 64); e == nil && err != nil {
			err = fmt.Errorf("found the place %.40q of the memo, expected a number", s)
		}
		if e != nil {
			err = e
		}
	case 'h', 'q':
		key, err = u.number(1)
	case 'j', 'r':
		key, err = u.number(4)
	default:
		key = uint64(len(u.memo))
	}
	if err != nil {
		return err
	}
	if op == 'g' || op == 'h' || op == 'j' {
		v, ok := u.memo[key]
		if !ok {
			return fmt.Errorf("asks for the place %d of the memo, which is empty", key)
		}
		u.push(v)
		return nil
	}
	v, err := u.top()
	u.memo[key] = v
	if err == nil {
		err = u.spend(80)
	}
	return err
}

// object finds a class, makes an object or gives it its state.
func (u *unpickler) object(op byte) error {
	var v any
	var err error
	switch op {
	case 'c', 'i', 0x93:
		var names []any
		if op == 0x93 {
			names, err = u.popN(2)
		} else {
			names = make([]any, 2)
			if names[0], err = u.line(); err == nil {
				names[1], err = u.line()
			}
		}
		if err != nil {
			return err
		}
		module, ok1 := names[0].(string)
		name, ok2 := names[1].(string)
		if !ok1 || !ok2 {
			return fmt.Errorf("names a class by %s and %s, expected two strings", pyKind(names[0]), pyKind(names[1]))
		}
		if v, err = torchClass(module, name); err == nil && op == 'i' {
			var args []any
			if args, err = u.popMark(); err == nil {
				v, err = u.call(v, args)
			}
		}
	case 'o':
		args, e := u.popMark()
		if e != nil {
			return e
		}
		if len(args) == 0 {
			return fmt.Errorf("makes an object without a class")
		}
		v, err = u.call(args[0], args[1:])
	case 'R', 0x81, 0x92:
		n := 2
		if op == 0x92 {
			n = 3 // keyword arguments, which nothing of ours takes
		}
		parts, e := u.popN(n)
		if e != nil {
			return e
		}
		args, ok := parts[1].(*pyList)
		if !ok {
			return fmt.Errorf("calls something with %s, expected a tuple", pyKind(parts[1]))
		}
		v, err = u.call(parts[0], args.items)
	case 'P':
		return fmt.Errorf("found a persistent id in text, expected a tuple")
	case 'Q':
		id, e := u.pop()
		if e != nil {
			return e
		}
		t, ok := id.(*pyList)
		if !ok || u.persistent == nil {
			return fmt.Errorf("found %s as persistent id, expected that of a storage", pyKind(id))
		}
		v, err = u.persistent(t.items)
	case 'b':
		state, e := u.pop()
		if e != nil {
			return e
		}
		obj, e := u.top()
		if o, ok := obj.(*pyObject); ok {
			o.state = state
		}
		return e
	}
	if err == nil {
		err = u.spend(256)
		u.push(v)
	}
	return err
}

// call makes what a class or function would make, as far as that is known.
func (u *unpickler) call(f any, args []any) (any, error) {
	switch f := f.(type) {
	case *pyCall:
		return f.call(args)
	case *pyObject, storageClass, dtypeName:
		return &pyObject{}, nil
	}
	return nil, fmt.Errorf("calls %s, expected a class or a function", pyKind(f))
}

// extend adds objects to a list or a dictionary. Those of other objects are left out.
func (u *unpickler) extend(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a':
		items, err = u.popN(1)
	case 's':
		items, err = u.popN(2)
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	obj, err := u.top()
	if err != nil {
		return err
	}
	switch o := obj.(type) {
	case *pyList:
		if op == 'a' || op == 'e' {
			o.items = append(o.items, items...)
			return u.spend(16 * len(items))
		}
	case *pyDict:
		if op == 's' || op == 'u' {
			return u.fill(o, items)
		}
	case *pyObject:
		if op == 's' || op == 'u' {
			return u.fill(&o.items, items)
		}
		return nil
	}
	return fmt.Errorf("adds to %s, expected a list, a dictionary or a set", pyKind(obj))
}

// fill sets keys and values that follow each other.
func (u *unpickler) fill(d *pyDict, items []any) error {
	if len(items)%2 != 0 {
		return fmt.Errorf("found a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.set(items[i], items[i+1])
	}
	return u.spend(80 * len(items))
}

// pyKind says in words what an object is.
func pyKind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a truth value"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int, float64:
		return "a number"
	case string:
		return strconv.Quote(term.Shown(v))
	case *pyBytes:
		return fmt.Sprintf("%d bytes", len(v.data))
	case *pyList:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *pyDict:
		return fmt.Sprintf("a dictionary of %d", len(v.keys))
	case *Stored, *storage:
		return "a tensor"
	}
	return "an object"
}
