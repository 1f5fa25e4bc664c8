package main

import (
	"fmt"
	"strings"
)

// A group is columns that a loop takes at a time: so many vectors.
type group struct {
	isa
	vectors int
}

func (g group) columns() int { return g.lanes * g.vectors }

// columnLoops writes body for groups of columns, as many as CX has left of each: so many vectors with AVX-512 where the
// processor has it, then with AVX2, one of AVX2, one column. After each group DI and SI are moved on.
func columnLoops(b *strings.Builder, wide, narrow int, body func(emit func(string, ...any), g group)) {
	emit := func(format string, args ...any) { fmt.Fprintf(b, "\t"+format+"\n", args...) }
	groups := []group{{avx512, wide}, {avx2, narrow}, {avx2, 1}, {scalar, 1}}
	emit("CMPB ·wide(SB), $0")
	emit("JEQ  done%d", groups[0].columns())
	for _, g := range groups {
		n := g.columns()
		fmt.Fprintf(b, "\ncolumns%d:\n", n)
		emit("CMPQ CX, $%d", n)
		emit("JLT  done%d", n)
		body(emit, g)
		emit("ADDQ $%d, DI", 8*n)
		emit("ADDQ $%d, SI", 8*n)
		emit("SUBQ $%d, CX", n)
		emit("JMP  columns%d", n)
		fmt.Fprintf(b, "\ndone%d:\n", n)
	}
	emit("VZEROUPPER")
	emit("RET")
}

// downKernel is so many rows of MixDown: a row of the source is read once for all of them. Each sum takes its taps in
// rising order.
func downKernel(rows int) string {
	var b strings.Builder
	name := fmt.Sprintf("down%dVec", rows)
	fmt.Fprintf(&b, `
// func %s(dst *float64, pitch int, src *float64, stride int, taps *float64, nt, n int)
TEXT ·%s(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ pitch+8(FP), R10
	MOVQ src+16(FP), SI
	MOVQ stride+24(FP), R8
	MOVQ taps+32(FP), BX
	MOVQ nt+40(FP), R9
	MOVQ n+48(FP), CX
	SHLQ $3, R8
	SHLQ $3, R10
`, name, name)
	columnLoops(&b, 16/rows, 8/rows, func(emit func(string, ...any), g group) {
		reg := g.reg
		sum := func(row, v int) string { return reg(row*g.vectors + v) }
		tap, source := rows*g.vectors, rows*g.vectors+rows
		size, n := 8*g.lanes, g.columns()
		// take adds the source's row at AX to the rows from ≤ r < to; the tap of row r is at the address at(r)
		take := func(from, to int, at func(row int) string) {
			for r := from; r < to; r++ {
				emit("%s %s, %s", g.mnemonic("VBROADCASTSD"), at(r), reg(tap+r))
			}
			for v := range g.vectors {
				operand := fmt.Sprintf("%d(AX)", size*v)
				if to-from > 1 {
					emit("%s %s, %s", g.mnemonic("VMOVUPD"), operand, reg(source+v))
					operand = reg(source + v)
				}
				for r := from; r < to; r++ {
					emit("%s %s, %s, %s", g.mnemonic("VFMADD231PD"), operand, reg(tap+r), sum(r, v))
				}
			}
			emit("ADDQ R8, AX")
		}
		for i := range rows * g.vectors {
			emit("VPXOR X%d, X%d, X%d", i, i, i)
		}
		emit("MOVQ SI, AX")
		for s := range rows - 1 { // rows of the source that the first rows alone take
			take(0, s+1, func(r int) string { return fmt.Sprintf("%d(BX)", 8*(s-r)) })
		}
		emit("MOVQ $%d, DX", rows-1)
		fmt.Fprintf(&b, "\ntaps%d:\n", n)
		emit("CMPQ DX, R9")
		emit("JGE  rest%d", n)
		take(0, rows, func(r int) string { return fmt.Sprintf("%d(BX)(DX*8)", -8*r) })
		emit("INCQ DX")
		emit("JMP  taps%d", n)
		fmt.Fprintf(&b, "\nrest%d:\n", n)
		for s := range rows - 1 { // and those that the last ones do
			take(s+1, rows, func(r int) string { return fmt.Sprintf("%d(BX)(DX*8)", 8*(s-r)) })
		}
		emit("MOVQ DI, AX")
		for r := range rows {
			for v := range g.vectors {
				emit("%s %s, %d(AX)", g.mnemonic("VMOVUPD"), sum(r, v), size*v)
			}
			if r < rows-1 {
				emit("ADDQ R10, AX")
			}
		}
	})
	return b.String()
}

// tapStep is how far apart the taps are that acrossKernel takes one after another: with them a vector of the source serves
// two vectors of sums.
const tapStep = 8

// acrossKernel is MixAcross. Each sum takes the taps 0, 8, 16 …, then 1, 9 …, whatever the width.
func acrossKernel() string {
	var b strings.Builder
	b.WriteString(`
// func acrossVec(dst, src, taps *float64, nt, n, add int)
TEXT ·acrossVec(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ taps+16(FP), BX
	MOVQ nt+24(FP), R9
	MOVQ n+32(FP), CX
	MOVQ add+40(FP), R10
`)
	columnLoops(&b, 8, 8, func(emit func(string, ...any), g group) {
		reg := g.reg
		size, n := 8*g.lanes, g.columns()
		first, second, source := g.vectors, g.vectors+1, g.vectors+2
		for v := range g.vectors {
			emit("VPXOR X%d, X%d, X%d", v, v, v)
		}
		emit("TESTQ R10, R10")
		emit("JZ    start%d", n)
		for v := range g.vectors {
			emit("%s %d(DI), %s", g.mnemonic("VMOVUPD"), size*v, reg(v))
		}
		fmt.Fprintf(&b, "\nstart%d:\n", n)
		emit("XORQ DX, DX")
		fmt.Fprintf(&b, "\nround%d:\n", n)
		emit("MOVQ DX, AX")
		if g.vectors > 1 {
			fmt.Fprintf(&b, "\npair%d:\n", n)
			emit("LEAQ %d(AX), R11", tapStep)
			emit("CMPQ R11, R9")
			emit("JGE  single%d", n)
			emit("%s (BX)(AX*8), %s", g.mnemonic("VBROADCASTSD"), reg(first))
			emit("%s (BX)(R11*8), %s", g.mnemonic("VBROADCASTSD"), reg(second))
			apart := tapStep / g.lanes
			for v := range g.vectors + apart {
				emit("%s %d(SI)(AX*8), %s", g.mnemonic("VMOVUPD"), size*v, reg(source))
				if v < g.vectors {
					emit("VFMADD231PD %s, %s, %s", reg(source), reg(first), reg(v))
				}
				if v >= apart {
					emit("VFMADD231PD %s, %s, %s", reg(source), reg(second), reg(v-apart))
				}
			}
			emit("ADDQ $%d, AX", 2*tapStep)
			emit("JMP  pair%d", n)
		}
		fmt.Fprintf(&b, "\nsingle%d:\n", n)
		emit("CMPQ AX, R9")
		emit("JGE  next%d", n)
		emit("%s (BX)(AX*8), %s", g.mnemonic("VBROADCASTSD"), reg(first))
		for v := range g.vectors {
			emit("%s %d(SI)(AX*8), %s, %s", g.mnemonic("VFMADD231PD"), size*v, reg(first), reg(v))
		}
		emit("ADDQ $%d, AX", tapStep)
		emit("JMP  single%d", n)
		fmt.Fprintf(&b, "\nnext%d:\n", n)
		emit("INCQ DX")
		emit("CMPQ DX, $%d", tapStep)
		emit("JGE  store%d", n)
		emit("CMPQ DX, R9")
		emit("JLT  round%d", n)
		fmt.Fprintf(&b, "\nstore%d:\n", n)
		for v := range g.vectors {
			emit("%s %s, %d(DI)", g.mnemonic("VMOVUPD"), reg(v), size*v)
		}
	})
	return b.String()
}

// dotsKernel is Dots: twelve vectors of sums for the products of three rows by four.
func dotsKernel() string {
	var b strings.Builder
	b.WriteString(`
// func dotsVec(sum *[3][4]float64, a, b *float64, stride, n int)
TEXT ·dotsVec(SB), NOSPLIT, $0-40
	MOVQ sum+0(FP), DI
	MOVQ a+8(FP), AX
	MOVQ b+16(FP), BX
	MOVQ stride+24(FP), R8
	MOVQ n+32(FP), CX
	SHLQ $3, R8
	LEAQ (AX)(R8*1), R10
	LEAQ (AX)(R8*2), R11
	LEAQ (BX)(R8*1), R12
	LEAQ (BX)(R8*2), R13
	LEAQ (R13)(R8*1), R9
	SHLQ $3, CX
	XORQ DX, DX
`)
	for v := range 12 {
		fmt.Fprintf(&b, "\tVXORPD Y%d, Y%d, Y%d\n", v, v, v)
	}
	b.WriteString("\nloop:\n\tCMPQ DX, CX\n\tJGE  done\n")
	b.WriteString("\tVMOVUPD (AX)(DX*1), Y12\n\tVMOVUPD (R10)(DX*1), Y13\n\tVMOVUPD (R11)(DX*1), Y14\n")
	for c, at := range []string{"(BX)(DX*1)", "(R12)(DX*1)", "(R13)(DX*1)", "(R9)(DX*1)"} {
		fmt.Fprintf(&b, "\tVMOVUPD %s, Y15\n", at)
		for r := range 3 {
			fmt.Fprintf(&b, "\tVFMADD231PD Y15, Y%d, Y%d\n", 12+r, 4*r+c)
		}
	}
	b.WriteString("\tADDQ $32, DX\n\tJMP  loop\n\ndone:\n")
	// the four sums of a row become one vector: pairs, then halves
	for r := range 3 {
		o := 4 * r
		fmt.Fprintf(&b, "\tVHADDPD Y%d, Y%d, Y12\n\tVHADDPD Y%d, Y%d, Y13\n", o+1, o, o+3, o+2)
		fmt.Fprintf(&b, "\tVPERM2F128 $0x20, Y13, Y12, Y14\n\tVPERM2F128 $0x31, Y13, Y12, Y15\n\tVADDPD Y15, Y14, Y14\n")
		fmt.Fprintf(&b, "\tVADDPD %d(DI), Y14, Y14\n\tVMOVUPD Y14, %d(DI)\n", 32*r, 32*r)
	}
	b.WriteString("\tVZEROUPPER\n\tRET\n")
	return b.String()
}
