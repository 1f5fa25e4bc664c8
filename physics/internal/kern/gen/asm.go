package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
)

// A value is what one vector instruction gives: the float64 lanes of as many rays.
type value int

// An isa is a set of vector instructions that a kernel's loop is written for.
type isa struct {
	letter    string // of its registers
	half      string // of registers of half their width
	lanes     int
	registers int
	pinned    bool // sums always stay in registers
}

var (
	avx2   = isa{letter: "Y", half: "X", lanes: 4, registers: 16}
	avx512 = isa{letter: "Z", half: "Y", lanes: 8, registers: 32, pinned: true}
	scalar = isa{letter: "X", lanes: 1, registers: 16}
)

// reg is the name of register i.
func (v isa) reg(i int) string { return fmt.Sprintf("%s%d", v.letter, i) }

// mnemonic is the name that Go gives an instruction of this width.
func (v isa) mnemonic(name string) string {
	switch {
	case v.lanes == 1:
		return map[string]string{"VMOVUPD": "VMOVSD", "VBROADCASTSD": "VMOVSD", "VFMADD231PD": "VFMADD231SD"}[name]
	case v.lanes == 4 && name == "VCVTTPD2DQ":
		return name + "Y"
	case v.lanes == 4:
	case name == "VPAND" || name == "VPOR":
		return name + "Q"
	case name == "VROUNDPD":
		return "VRNDSCALEPD"
	}
	return name
}

// An instr is one vector instruction over values, before registers are given out.
type instr struct {
	name string  // mnemonic, "store", "ints" or "sum"
	args []value // in Intel's order: first the left operand; for FMA a, b, c of ±a·b ± c
	dst  value   // -1: none
	imm  string  // immediate, in Go's syntax, or the memory operand of the others
	fma  bool
}

// A kernel is a loop over vectors of rays: straight-line code whose values are given registers here. Arguments are 64-bit
// words; the loop runs over the bytes of n rays, by eight where the processor has AVX-512 and by four for the rest. Both
// loops compute a ray alike, and add rays up in the same order: results are the same to the last bit.
type kernel struct {
	name, proto string
	params      []string // in order; the last is n
	regs        map[string]string
	code        []instr
	source      map[value]string // values that memory holds: how to load them
	cache       map[string]value
	next        value
	consts      *constants
	pinned      bool     // sums stay in registers of their own, from the last down, until the loop ends
	streams     []string // parameters whose arrays are read or written once in a pass over the image
}

// constants is the table of numbers that all kernels share.
type constants struct {
	bits  []uint64
	index map[uint64]int
}

func (c *constants) at(bits uint64) string {
	i, ok := c.index[bits]
	if !ok {
		i = len(c.bits)
		c.bits = append(c.bits, bits)
		c.index[bits] = i
	}
	return fmt.Sprintf("numbers<>+%d(SB)", 8*i)
}

// ahead is how many bytes before their turn streams are fetched: a page, since the processor's own prefetching ends with one.
const ahead = 4096

func newKernel(c *constants, name, doc string, params ...string) *kernel {
	k := &kernel{name: name, proto: doc, params: params, regs: map[string]string{}, source: map[value]string{},
		cache: map[string]value{}, consts: c}
	free := []string{"AX", "BX", "CX", "DI", "SI", "R8", "R9", "R10"}
	for i, p := range params[:len(params)-1] {
		k.regs[p] = free[i]
	}
	return k
}

func (k *kernel) fresh() value { k.next++; return k.next - 1 }

// memory is a value that a load brings whenever a register has room for it.
func (k *kernel) memory(load string) value {
	if v, ok := k.cache[load]; ok {
		return v
	}
	v := k.fresh()
	k.source[v] = load
	k.cache[load] = v
	return v
}

// vector is the lanes of the array at byte offset off from parameter p.
func (k *kernel) vector(p string, off int) value {
	return k.memory(fmt.Sprintf("VMOVUPD %d(%s)(DX*1)", off, k.regs[p]))
}

// field is the number at byte offset off from parameter p, in all lanes.
func (k *kernel) field(p string, off int) value {
	return k.memory(fmt.Sprintf("VBROADCASTSD %d(%s)", off, k.regs[p]))
}

// number is a constant in all lanes.
func (k *kernel) number(v float64) value { return k.bits(math.Float64bits(v)) }

// bits is a constant bit pattern in all lanes.
func (k *kernel) bits(v uint64) value { return k.memory("VBROADCASTSD " + k.consts.at(v)) }

func (k *kernel) emit(name string, args ...value) value {
	v := k.fresh()
	k.code = append(k.code, instr{name: name, args: args, dst: v})
	return v
}

func (k *kernel) add(a, b value) value  { return k.emit("VADDPD", a, b) }
func (k *kernel) sub(a, b value) value  { return k.emit("VSUBPD", a, b) }
func (k *kernel) mul(a, b value) value  { return k.emit("VMULPD", a, b) }
func (k *kernel) div(a, b value) value  { return k.emit("VDIVPD", a, b) }
func (k *kernel) max(a, b value) value  { return k.emit("VMAXPD", a, b) }
func (k *kernel) min(a, b value) value  { return k.emit("VMINPD", a, b) }
func (k *kernel) iadd(a, b value) value { return k.emit("VPADDQ", a, b) }
func (k *kernel) and(a, b value) value  { return k.emit("VPAND", a, b) }
func (k *kernel) or(a, b value) value   { return k.emit("VPOR", a, b) }

// andNot is ^a & b.
func (k *kernel) andNot(a, b value) value { return k.emit("VANDNPD", a, b) }

// shift moves the bits of a by n to the left or right.
func (k *kernel) shift(name string, a value, n int) value {
	return k.with(fmt.Sprintf("$%d", n), name, a)
}

// atMost is all ones where a <= b, below where a < b; neither where one of them is not a number.
func (k *kernel) atMost(a, b value) value { return k.with("$2", "VCMPPD", a, b) }
func (k *kernel) below(a, b value) value  { return k.with("$1", "VCMPPD", a, b) }

// floor rounds down.
func (k *kernel) floor(a value) value { return k.with("$1", "VROUNDPD", a) }

// with is emit of an instruction with an immediate.
func (k *kernel) with(imm, name string, args ...value) value {
	v := k.emit(name, args...)
	k.code[len(k.code)-1].imm = imm
	return v
}

func (k *kernel) fused(name string, a, b, c value) value {
	v := k.emit(name, a, b, c)
	k.code[len(k.code)-1].fma = true
	return v
}

// fma is a·b + c, fms a·b - c, fnma c - a·b.
func (k *kernel) fma(a, b, c value) value  { return k.fused("VFMADD", a, b, c) }
func (k *kernel) fms(a, b, c value) value  { return k.fused("VFMSUB", a, b, c) }
func (k *kernel) fnma(a, b, c value) value { return k.fused("VFNMADD", a, b, c) }

// store writes v to the array at byte offset off from parameter p.
func (k *kernel) store(p string, off int, v value) {
	k.code = append(k.code, instr{name: "store", args: []value{v}, dst: -1, imm: fmt.Sprintf("%d(%s)(DX*1)", off, k.regs[p])})
}

// storeInts writes v, whole numbers, as int32 to the array at byte offset off from parameter p.
func (k *kernel) storeInts(p string, off int, v value) {
	k.code = append(k.code, instr{name: "ints", args: []value{v}, dst: -1, imm: fmt.Sprintf("%d(%s)(R13*1)", off, k.regs[p])})
}

// accumulate adds v to the four numbers at byte offset off from parameter p, lane by lane; of eight lanes, first the lower
// four.
func (k *kernel) accumulate(p string, off int, v value) {
	k.code = append(k.code, instr{name: "sum", args: []value{v}, dst: -1, imm: fmt.Sprintf("%d(%s)", off, k.regs[p])})
}

// prune leaves out what no store needs.
func (k *kernel) prune() {
	needed := map[value]bool{}
	var code []instr
	for i := len(k.code) - 1; i >= 0; i-- {
		in := k.code[i]
		if in.dst >= 0 && !needed[in.dst] {
			continue
		}
		for _, a := range in.args {
			needed[a] = true
		}
		code = append(code, in)
	}
	slices.Reverse(code)
	k.code = code
}

// spread writes sums in memory as additions and stores.
func (k *kernel) spread() []instr {
	var code []instr
	for _, in := range k.code {
		if in.name != "sum" {
			code = append(code, in)
			continue
		}
		old, sum := k.fresh(), k.fresh()
		k.source[old] = "VMOVUPD " + in.imm
		code = append(code, instr{name: "VADDPD", args: []value{in.args[0], old}, dst: sum},
			instr{name: "store", args: []value{sum}, dst: -1, imm: in.imm})
	}
	return code
}

// loop gives out registers of v (the value needed last makes room; what memory holds is loaded again, the rest is spilled)
// and writes the loop over whole vectors, from byte DX. It spills to the first `frame` bytes of the stack.
func (k *kernel) loop(w io.Writer, v isa) (frame int) {
	code := k.code
	var sums []string // the memory of the sums that have registers
	if k.pinned || v.pinned {
		for _, in := range code {
			if in.name == "sum" {
				sums = append(sums, in.imm)
			}
		}
	} else {
		code = k.spread()
	}
	uses := map[value][]int{}
	for i, in := range code {
		for _, a := range in.args {
			uses[a] = append(uses[a], i)
		}
	}
	nextUse := func(v value, after int) int {
		u := uses[v]
		i := sort.SearchInts(u, after)
		if i == len(u) {
			return math.MaxInt
		}
		return u[i]
	}
	size := 8 * v.lanes
	var body strings.Builder
	emit := func(format string, args ...any) { fmt.Fprintf(&body, "\t"+format+"\n", args...) }
	reg := v.reg
	where := map[value]int{}
	holds := make([]value, v.registers-len(sums))
	for i := range holds {
		holds[i] = -1
	}
	slot := map[value]int{} // the byte of each spilled value
	take := func(at int, keep map[int]bool) int {
		best, far := -1, -1
		for r, v := range holds {
			if keep[r] {
				continue
			}
			if v < 0 {
				return r
			}
			if n := nextUse(v, at); n > far {
				best, far = r, n
			}
		}
		v := holds[best]
		if far != math.MaxInt {
			if _, inMemory := k.source[v]; !inMemory {
				if _, ok := slot[v]; !ok {
					slot[v] = frame
					frame += size
					emit("VMOVUPD %s, %d(SP)", reg(best), slot[v])
				}
			}
		}
		delete(where, v)
		holds[best] = -1
		return best
	}
	load := func(v value, at int, keep map[int]bool) int {
		if r, ok := where[v]; ok {
			return r
		}
		r := take(at, keep)
		if src, ok := k.source[v]; ok {
			emit("%s, %s", src, reg(r))
		} else {
			emit("VMOVUPD %d(SP), %s", slot[v], reg(r))
		}
		where[v], holds[r] = r, v
		return r
	}
	summed := 0
	for i, in := range code {
		keep := map[int]bool{}
		r := make([]int, len(in.args))
		for j, a := range in.args {
			r[j] = load(a, i, keep)
			keep[r[j]] = true
		}
		switch {
		case in.name == "store":
			emit("VMOVUPD %s, %s", reg(r[0]), in.imm)
		case in.name == "ints":
			short := take(i+1, keep)
			emit("%s %s, %s%d", v.mnemonic("VCVTTPD2DQ"), reg(r[0]), v.half, short)
			emit("MOVQ DX, R13")
			emit("SHRQ $1, R13")
			emit("VMOVUPD %s%d, %s", v.half, short, in.imm)
		case in.name == "sum":
			to := v.registers - 1 - summed
			summed++
			emit("VADDPD Y%d, Y%d, Y%d", r[0], to, to)
			if v.lanes == 8 {
				high := take(i+1, keep)
				emit("VEXTRACTF64X4 $1, Z%d, Y%d", r[0], high)
				emit("VADDPD Y%d, Y%d, Y%d", high, to, to)
			}
		case in.fma:
			// The result overwrites an operand that is not needed again, c first, or a copy of c.
			over := -1
			for _, j := range []int{2, 0, 1} {
				if nextUse(in.args[j], i+1) == math.MaxInt {
					over = j
					break
				}
			}
			var d int
			switch over {
			case 2:
				d = r[2]
				emit("%s231PD %s, %s, %s", in.name, reg(r[1]), reg(r[0]), reg(d))
			case 0:
				d = r[0]
				emit("%s213PD %s, %s, %s", in.name, reg(r[2]), reg(r[1]), reg(d))
			case 1:
				d = r[1]
				emit("%s213PD %s, %s, %s", in.name, reg(r[2]), reg(r[0]), reg(d))
			default:
				d = take(i+1, keep)
				emit("VMOVAPD %s, %s", reg(r[2]), reg(d))
				emit("%s231PD %s, %s, %s", in.name, reg(r[1]), reg(r[0]), reg(d))
			}
			if over >= 0 {
				delete(where, in.args[over])
			}
			where[in.dst], holds[d] = d, in.dst
		default:
			// A dead operand's register takes the result.
			d := -1
			for j, a := range in.args {
				if nextUse(a, i+1) == math.MaxInt {
					d = r[j]
					delete(where, a)
				}
			}
			if d < 0 {
				d = take(i+1, keep)
			}
			ops := ""
			if in.imm != "" {
				ops = in.imm + ", "
			}
			for j := len(r) - 1; j >= 0; j-- {
				ops += reg(r[j]) + ", "
			}
			if in.name == "VCMPPD" && v.lanes == 8 {
				emit("VCMPPD %sK1", ops)
				emit("VPMOVM2Q K1, %s", reg(d))
			} else {
				emit("%s %s%s", v.mnemonic(in.name), ops, reg(d))
			}
			where[in.dst], holds[d] = d, in.dst
		}
		for rr, v := range holds {
			if v >= 0 && nextUse(v, i+1) == math.MaxInt {
				delete(where, v)
				holds[rr] = -1
			}
		}
	}
	for _, p := range k.streams {
		emit("PREFETCHT0 %d(%s)(DX*1)", ahead, k.regs[p])
	}
	for i, mem := range sums {
		fmt.Fprintf(w, "\tVMOVUPD %s, Y%d\n", mem, v.registers-1-i)
	}
	fmt.Fprintf(w, "\nloop%d:\n\tLEAQ %d(DX), R12\n\tCMPQ R12, R11\n\tJGT  done%d\n%s\tMOVQ R12, DX\n\tJMP  loop%d\n\ndone%d:\n",
		v.lanes, size, v.lanes, body.String(), v.lanes, v.lanes)
	for i, mem := range sums {
		fmt.Fprintf(w, "\tVMOVUPD Y%d, %s\n", v.registers-1-i, mem)
	}
	return frame
}

// assemble writes the function.
func (k *kernel) assemble(w io.Writer) {
	k.prune()
	var wide, narrow strings.Builder
	frame := max(k.loop(&wide, avx512), k.loop(&narrow, avx2))
	fmt.Fprintf(w, "\n%s\nTEXT ·%s(SB), 0, $%d-%d\n", k.proto, k.name, frame, 8*len(k.params))
	for i, p := range k.params {
		if p == "n" {
			fmt.Fprintf(w, "\tMOVQ n+%d(FP), R11\n\tSHLQ $3, R11\n", 8*i)
		} else {
			fmt.Fprintf(w, "\tMOVQ %s+%d(FP), %s\n", p, 8*i, k.regs[p])
		}
	}
	fmt.Fprintf(w, "\tXORQ DX, DX\n\tCMPB ·wide(SB), $0\n\tJEQ  narrow\n%s\nnarrow:\n%s\tVZEROUPPER\n\tRET\n", wide.String(), narrow.String())
}
