package main

import (
	"fmt"
	"strings"
)

// Offsets in kern.SplineBlock, and its size.
const (
	bCol    = 0
	bStride = 4
	bW      = 16
	bSize   = bW + 8*3*4
)

// spreadKernel is spreadGo, of whole blocks: each is read once for all rows.
func spreadKernel() string {
	var b strings.Builder
	b.WriteString(`
// func spreadVec(rows *float64, pitch int, k *float64, line int, cells *int32, n int, first *int32, blocks *SplineBlock)
TEXT ·spreadVec(SB), NOSPLIT, $0-64
	MOVQ rows+0(FP), DI
	MOVQ pitch+8(FP), R9
	MOVQ k+16(FP), SI
	MOVQ line+24(FP), R10
	MOVQ cells+32(FP), AX
	MOVQ n+40(FP), CX
	MOVQ blocks+56(FP), R8
	SHLQ $3, R9
	SHLQ $3, R10
	LEAQ (R10)(R10*2), R13

cell:
	DECQ CX
	JLT  done
	MOVLQSX (AX), DX
	VBROADCASTSD (SI), Y0
	VBROADCASTSD (SI)(R10*1), Y1
	VBROADCASTSD (SI)(R10*2), Y2
	VBROADCASTSD (SI)(R13*1), Y3
	ADDQ $4, AX
	ADDQ $8, SI
	TESTQ DX, DX
	JLT  cell
	MOVQ first+48(FP), BX
	MOVLQSX (BX)(DX*4), R11
	MOVLQSX 4(BX)(DX*4), R12
	SUBQ R11, R12
`)
	emit := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	emit("IMUL3Q $%d, R11, R11", bSize)
	emit("ADDQ R8, R11")
	b.WriteString("\nblock:\n")
	emit("DECQ R12")
	emit("JLT  cell")
	emit("MOVLQSX %d(R11), BX", bCol)
	emit("MOVLQSX %d(R11), DX", bStride)
	emit("LEAQ (DI)(BX*8), BX")
	emit("SHLQ $3, DX")
	lines := []string{"(BX)", "(BX)(DX*1)", "(BX)(DX*2)"}
	for l := range lines {
		emit("VMOVUPD %d(R11), Y%d", bW+32*l, 4+l)
	}
	for r := range 4 {
		sum := 7 + 3*(r%2)
		for l, at := range lines {
			emit("VMOVUPD %s, Y%d", at, sum+l)
		}
		for l := range lines {
			emit("VFMADD231PD Y%d, Y%d, Y%d", 4+l, r, sum+l)
		}
		for l, at := range lines {
			emit("VMOVUPD Y%d, %s", sum+l, at)
		}
		if r < 3 {
			emit("ADDQ R9, BX")
		}
	}
	emit("ADDQ $%d, R11", bSize)
	emit("JMP  block")
	b.WriteString("\ndone:\n")
	emit("VZEROUPPER")
	emit("RET")
	return b.String()
}

// addRowsKernel is addRowsGo.
func addRowsKernel() string {
	var b strings.Builder
	b.WriteString(`
// func addRowsVec(dst *float64, pitch int, src, weights *float64, n int)
TEXT ·addRowsVec(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ pitch+8(FP), R10
	MOVQ src+16(FP), SI
	MOVQ weights+24(FP), BX
	MOVQ n+32(FP), CX
	SHLQ $3, R10
`)
	columnLoops(&b, 4, 4, func(emit func(string, ...any), g group) {
		size, weight := 8*g.lanes, 12
		for v := range g.vectors {
			emit("%s %d(SI), %s", g.mnemonic("VMOVUPD"), size*v, g.reg(v))
		}
		emit("MOVQ DI, AX")
		for r := range 3 {
			emit("%s %d(BX), %s", g.mnemonic("VBROADCASTSD"), 8*r, g.reg(weight))
			for v := range g.vectors {
				emit("%s %d(AX), %s", g.mnemonic("VMOVUPD"), size*v, g.reg(4+v))
			}
			for v := range g.vectors {
				emit("%s %s, %s, %s", g.mnemonic("VFMADD231PD"), g.reg(v), g.reg(weight), g.reg(4+v))
			}
			for v := range g.vectors {
				emit("%s %s, %d(AX)", g.mnemonic("VMOVUPD"), g.reg(4+v), size*v)
			}
			if r < 2 {
				emit("ADDQ R10, AX")
			}
		}
	})
	return b.String()
}

// rowDotsKernel is rowDotsGo for whole vectors: four vectors of sums for each of three rows.
func rowDotsKernel() string {
	var b strings.Builder
	b.WriteString(`
// func rowDotsVec(sum *[3]float64, a *float64, pitch int, x *float64, n int)
TEXT ·rowDotsVec(SB), NOSPLIT, $0-40
	MOVQ sum+0(FP), DI
	MOVQ a+8(FP), AX
	MOVQ pitch+16(FP), R8
	MOVQ x+24(FP), SI
	MOVQ n+32(FP), CX
	LEAQ (AX)(R8*8), R10
	LEAQ (R10)(R8*8), R11
`)
	emit := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	rows := []string{"AX", "R10", "R11"}
	for v := range 12 {
		emit("VXORPD Y%d, Y%d, Y%d", v, v, v)
	}
	for _, vectors := range []int{4, 1} {
		fmt.Fprintf(&b, "\nloop%d:\n", vectors)
		emit("CMPQ CX, $%d", 4*vectors)
		emit("JLT  done%d", vectors)
		for v := range vectors {
			emit("VMOVUPD %d(SI), Y%d", 32*v, 12+v)
		}
		for r, row := range rows {
			for v := range vectors {
				emit("VFMADD231PD %d(%s), Y%d, Y%d", 32*v, row, 12+v, 4*r+v)
			}
		}
		for _, p := range append([]string{"SI"}, rows...) {
			emit("ADDQ $%d, %s", 32*vectors, p)
		}
		emit("SUBQ $%d, CX", 4*vectors)
		emit("JMP  loop%d", vectors)
		fmt.Fprintf(&b, "\ndone%d:\n", vectors)
	}
	for r := range rows {
		o := 4 * r
		emit("VADDPD Y%d, Y%d, Y%d", o+1, o, o)
		emit("VADDPD Y%d, Y%d, Y%d", o+3, o+2, o+2)
		emit("VADDPD Y%d, Y%d, Y%d", o+2, o, o)
		emit("VEXTRACTF128 $1, Y%d, X12", o)
		emit("VADDPD X12, X%d, X%d", o, o)
		emit("VHADDPD X%d, X%d, X%d", o, o, o)
		emit("VMOVSD X%d, %d(DI)", o, 8*r)
	}
	emit("VZEROUPPER")
	emit("RET")
	return b.String()
}
