package main

import (
	"fmt"
	"strings"
)

// The tile of kern.Gemm.
const (
	tileRows = 12
	tileCols = 16
)

// A patch is the part of a tile whose sums are in registers at a time.
type patch struct {
	isa
	rows, vectors int
}

func (p patch) sum(row, v int) string { return p.reg(row*p.vectors + v) }
func (p patch) size() int             { return 8 * p.lanes }

// gemmKernel is gemmGo. A sum takes its products in rising order whatever the width.
func gemmKernel() string {
	var b strings.Builder
	b.WriteString(`
// func gemmVec(c *float64, stride int, a, b *float64, k int, alpha, beta float64)
TEXT ·gemmVec(SB), NOSPLIT, $0-56
	MOVQ c+0(FP), DI
	MOVQ stride+8(FP), R8
	MOVQ a+16(FP), SI
	MOVQ b+24(FP), DX
	MOVQ beta+48(FP), R9
	SHLQ $3, R8
	SHLQ $1, R9 // zero where beta is 0 or -0
	CMPB ·wide(SB), $0
	JEQ  narrow
`)
	patches := func(p patch) {
		for row := 0; row < tileRows; row += p.rows {
			for col := 0; col < tileCols; col += p.vectors * p.lanes {
				p.products(&b, row, col)
			}
		}
		b.WriteString("\tVZEROUPPER\n\tRET\n")
	}
	patches(patch{avx512, 12, 2})
	b.WriteString("\nnarrow:\n")
	patches(patch{avx2, 6, 2})
	return b.String()
}

// products writes the sums of the patch that begins at a row and a column of the tile, and what becomes of C.
func (p patch) products(b *strings.Builder, row, col int) {
	emit := func(format string, args ...any) { fmt.Fprintf(b, "\t"+format+"\n", args...) }
	label := fmt.Sprintf("%d_%d_%d", p.lanes, row, col)
	sums := p.rows * p.vectors
	factor := func(i int) string { return p.reg(sums + p.vectors + i%(p.registers-sums-p.vectors)) }
	emit("LEAQ %d(SI), AX", 8*row)
	emit("LEAQ %d(DX), BX", 8*col)
	emit("MOVQ k+32(FP), CX")
	if row > 0 {
		emit("IMUL3Q $%d, R8, R10", row)
		emit("LEAQ %d(DI)(R10*1), R10", 8*col)
	} else {
		emit("LEAQ %d(DI), R10", 8*col)
	}
	emit("MOVQ R10, R11")
	for r := range p.rows {
		emit("PREFETCHT0 (R11)")
		emit("PREFETCHT0 %d(R11)", 8*p.vectors*p.lanes-8)
		if r < p.rows-1 {
			emit("ADDQ R8, R11")
		}
	}
	for i := range sums {
		if i < 16 {
			emit("VPXOR Y%d, Y%d, Y%d", i, i, i)
		} else {
			emit("VPXORQ Z%d, Z%d, Z%d", i, i, i)
		}
	}
	emit("TESTQ CX, CX")
	emit("JLE  store%s", label)
	fmt.Fprintf(b, "\nterms%s:\n", label)
	for v := range p.vectors {
		emit("VMOVUPD %d(BX), %s", p.size()*v, p.reg(sums+v))
	}
	for r := range p.rows {
		emit("VBROADCASTSD %d(AX), %s", 8*r, factor(r))
		for v := range p.vectors {
			emit("VFMADD231PD %s, %s, %s", p.reg(sums+v), factor(r), p.sum(r, v))
		}
	}
	emit("ADDQ $%d, AX", 8*tileRows)
	emit("ADDQ $%d, BX", 8*tileCols)
	emit("DECQ CX")
	emit("JNZ  terms%s", label)
	fmt.Fprintf(b, "\nstore%s:\n", label)
	emit("VBROADCASTSD alpha+40(FP), %s", factor(0))
	emit("TESTQ R9, R9")
	emit("JZ   alone%s", label)
	emit("VBROADCASTSD beta+48(FP), %s", factor(1))
	for _, add := range []bool{true, false} {
		if !add {
			fmt.Fprintf(b, "\nalone%s:\n", label)
		}
		for r := range p.rows {
			for v := range p.vectors {
				at, sum := fmt.Sprintf("%d(R10)", p.size()*v), p.sum(r, v)
				emit("VMULPD %s, %s, %s", factor(0), sum, sum)
				if add {
					emit("VFMADD231PD %s, %s, %s", at, factor(1), sum)
				}
				emit("VMOVUPD %s, %s", sum, at)
			}
			if r < p.rows-1 {
				emit("ADDQ R8, R10")
			}
		}
		if add {
			emit("JMP  next%s", label)
		}
	}
	fmt.Fprintf(b, "\nnext%s:\n", label)
}

// solveKernel is solveGo: all rows of so many columns at a time.
func solveKernel() string {
	var b strings.Builder
	emit := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	b.WriteString(`
// func solveVec(x, l *float64)
TEXT ·solveVec(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ l+8(FP), SI
	CMPB ·wide(SB), $0
	JEQ  narrow
`)
	for _, p := range []patch{{avx512, tileRows, 2}, {avx2, tileRows, 1}} {
		if p.lanes == 4 {
			b.WriteString("\nnarrow:\n")
		}
		at := func(r, v int) string { return fmt.Sprintf("%d(DI)", 8*tileCols*r+p.size()*v) }
		sums := p.rows * p.vectors
		factors := 0
		factor := func(j, r int) string { // L's element (r, j)
			f := p.reg(sums + factors%(p.registers-sums))
			factors++
			emit("VBROADCASTSD %d(SI), %s", 8*(tileRows*j+r), f)
			return f
		}
		emit("MOVQ $%d, CX", tileCols/(p.vectors*p.lanes))
		fmt.Fprintf(&b, "\ncolumns%d:\n", p.lanes)
		for r := range p.rows {
			for v := range p.vectors {
				emit("VMOVUPD %s, %s", at(r, v), p.sum(r, v))
			}
		}
		for j := range p.rows {
			f := factor(j, j)
			for v := range p.vectors {
				emit("VMULPD %s, %s, %s", f, p.sum(j, v), p.sum(j, v))
				emit("VMOVUPD %s, %s", p.sum(j, v), at(j, v))
			}
			for r := j + 1; r < p.rows; r++ {
				f := factor(j, r)
				for v := range p.vectors {
					emit("VFNMADD231PD %s, %s, %s", p.sum(j, v), f, p.sum(r, v))
				}
			}
		}
		emit("ADDQ $%d, DI", p.vectors*p.size())
		emit("DECQ CX")
		emit("JNZ  columns%d", p.lanes)
		b.WriteString("\tVZEROUPPER\n\tRET\n")
	}
	return b.String()
}

// transposeKernel is transposeGo of whole squares of 4 x 4.
func transposeKernel() string {
	return `
// func transposeVec(dst *float64, pitch int, src *float64, stride, m, n int)
TEXT ·transposeVec(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ pitch+8(FP), R8
	MOVQ src+16(FP), SI
	MOVQ stride+24(FP), R9
	MOVQ m+32(FP), DX
	SHLQ $3, R8
	SHLQ $3, R9
	LEAQ (R8)(R8*2), R10
	LEAQ (R9)(R9*2), R11

rows:
	MOVQ DI, AX
	MOVQ SI, BX
	MOVQ n+40(FP), CX

columns:
	VMOVUPD (BX), Y0
	VMOVUPD (BX)(R9*1), Y1
	VMOVUPD (BX)(R9*2), Y2
	VMOVUPD (BX)(R11*1), Y3
	VUNPCKLPD Y1, Y0, Y4
	VUNPCKHPD Y1, Y0, Y5
	VUNPCKLPD Y3, Y2, Y6
	VUNPCKHPD Y3, Y2, Y7
	VPERM2F128 $0x20, Y6, Y4, Y0
	VPERM2F128 $0x20, Y7, Y5, Y1
	VPERM2F128 $0x31, Y6, Y4, Y2
	VPERM2F128 $0x31, Y7, Y5, Y3
	VMOVUPD Y0, (AX)
	VMOVUPD Y1, (AX)(R8*1)
	VMOVUPD Y2, (AX)(R8*2)
	VMOVUPD Y3, (AX)(R10*1)
	LEAQ (AX)(R8*4), AX
	ADDQ $32, BX
	SUBQ $4, CX
	JG   columns
	ADDQ $32, DI
	LEAQ (SI)(R9*4), SI
	SUBQ $4, DX
	JG   rows
	VZEROUPPER
	RET
`
}
