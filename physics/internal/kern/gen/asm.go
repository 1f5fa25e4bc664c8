package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
)

// A value is what one vector instruction gives: four float64 lanes.
type value int

// An instr is one vector instruction over values, before registers are given out.
type instr struct {
	name string  // mnemonic, or "store"
	args []value // in Intel's order: first the left operand; for FMA a, b, c of ±a·b ± c
	dst  value   // -1: none
	imm  string  // immediate, in Go's syntax, or the memory operand of a store
	fma  bool
}

// A kernel is a loop over vectors of rays: straight-line code whose values are given registers here. Arguments are 64-bit
// words; the loop runs over the bytes of n rays.
type kernel struct {
	name, proto string
	params      []string // in order; the last is n
	regs        map[string]string
	code        []instr
	source      map[value]string // values that memory holds: how to load them
	cache       map[string]value
	next        value
	consts      *constants
	pinned      bool     // sums stay in registers of their own, from Y15 down, until the loop ends
	sums        []string // the memory of each
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
	v := k.emit(name, a)
	k.code[len(k.code)-1].imm = fmt.Sprintf("$%d", n)
	return v
}

// atMost is all ones where a <= b.
func (k *kernel) atMost(a, b value) value {
	v := k.emit("VCMPPD", a, b)
	k.code[len(k.code)-1].imm = "$2"
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

// accumulate adds v, lane by lane, to the four numbers at byte offset off from parameter p.
func (k *kernel) accumulate(p string, off int, v value) {
	mem := fmt.Sprintf("%d(%s)", off, k.regs[p])
	if k.pinned {
		k.code = append(k.code, instr{name: "sum", args: []value{v}, dst: -1, imm: fmt.Sprintf("Y%d", registers-1-len(k.sums))})
		k.sums = append(k.sums, mem)
		return
	}
	old := k.fresh()
	k.source[old] = "VMOVUPD " + mem
	k.code = append(k.code, instr{name: "store", args: []value{k.add(v, old)}, dst: -1, imm: mem})
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

const registers = 16

// assemble gives out registers (the value needed last makes room; what memory holds is loaded again, the rest is spilled)
// and writes the function.
func (k *kernel) assemble(w io.Writer) {
	k.prune()
	uses := map[value][]int{}
	for i, in := range k.code {
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
	var body strings.Builder
	where := map[value]int{}
	var holds [registers]value
	for i := range holds {
		holds[i] = -1
	}
	slot := map[value]int{}
	slots := 0
	take := func(at int, keep map[int]bool) int {
		best, far := -1, -1
		for r, v := range holds[:registers-len(k.sums)] {
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
					slot[v] = slots
					slots++
					fmt.Fprintf(&body, "\tVMOVUPD Y%d, %d(SP)\n", best, 32*slot[v])
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
			fmt.Fprintf(&body, "\t%s, Y%d\n", src, r)
		} else {
			fmt.Fprintf(&body, "\tVMOVUPD %d(SP), Y%d\n", 32*slot[v], r)
		}
		where[v], holds[r] = r, v
		return r
	}
	for i, in := range k.code {
		keep := map[int]bool{}
		r := make([]int, len(in.args))
		for j, a := range in.args {
			r[j] = load(a, i, keep)
			keep[r[j]] = true
		}
		if in.name == "store" {
			fmt.Fprintf(&body, "\tVMOVUPD Y%d, %s\n", r[0], in.imm)
		} else if in.name == "sum" {
			fmt.Fprintf(&body, "\tVADDPD Y%d, %s, %s\n", r[0], in.imm, in.imm)
		} else if in.fma {
			// The result overwrites an operand that is not needed again, c first, or a copy of c.
			over := -1
			for _, j := range []int{2, 0, 1} {
				if nextUse(in.args[j], i+1) == math.MaxInt {
					over = j
					break
				}
			}
			switch over {
			case 2:
				fmt.Fprintf(&body, "\t%s231PD Y%d, Y%d, Y%d\n", in.name, r[1], r[0], r[2])
			case 0:
				fmt.Fprintf(&body, "\t%s213PD Y%d, Y%d, Y%d\n", in.name, r[2], r[1], r[0])
			case 1:
				fmt.Fprintf(&body, "\t%s213PD Y%d, Y%d, Y%d\n", in.name, r[2], r[0], r[1])
			default:
				d := take(i+1, keep)
				fmt.Fprintf(&body, "\tVMOVAPD Y%d, Y%d\n", r[2], d)
				fmt.Fprintf(&body, "\t%s231PD Y%d, Y%d, Y%d\n", in.name, r[1], r[0], d)
				where[in.dst], holds[d] = d, in.dst
			}
			if over >= 0 {
				d := r[over]
				delete(where, in.args[over])
				where[in.dst], holds[d] = d, in.dst
			}
		} else {
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
				ops += fmt.Sprintf("Y%d, ", r[j])
			}
			fmt.Fprintf(&body, "\t%s %sY%d\n", in.name, ops, d)
			where[in.dst], holds[d] = d, in.dst
		}
		for rr, v := range holds {
			if v >= 0 && nextUse(v, i+1) == math.MaxInt {
				delete(where, v)
				holds[rr] = -1
			}
		}
	}
	fmt.Fprintf(w, "\n%s\nTEXT ·%s(SB), 0, $%d-%d\n", k.proto, k.name, 32*slots, 8*len(k.params))
	for i, p := range k.params {
		if p == "n" {
			fmt.Fprintf(w, "\tMOVQ n+%d(FP), R11\n\tSHLQ $3, R11\n", 8*i)
		} else {
			fmt.Fprintf(w, "\tMOVQ %s+%d(FP), %s\n", p, 8*i, k.regs[p])
		}
	}
	var before, after strings.Builder
	for i, mem := range k.sums {
		y := registers - 1 - i
		fmt.Fprintf(&before, "\tVMOVUPD %s, Y%d\n", mem, y)
		fmt.Fprintf(&after, "\tVMOVUPD Y%d, %s\n", y, mem)
	}
	fmt.Fprintf(w, "%s\tXORQ DX, DX\n\nloop:\n\tCMPQ DX, R11\n\tJGE  done\n%s\tADDQ $32, DX\n\tJMP  loop\n\ndone:\n%s\tVZEROUPPER\n\tRET\n",
		before.String(), body.String(), after.String())
}
