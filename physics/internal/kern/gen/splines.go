package main

import (
	"fmt"
	"strings"
)

// Offsets in kern.Patch, which has 32 bytes.
const (
	pCol    = 0
	pStride = 4
	pRows   = 8
	pWide   = 12
	pAt     = 16
)

// spreadKernel is spreadGo.
func spreadKernel() string {
	return fmt.Sprintf(`
// func spreadVec(row, k *float64, cells *int32, n int, first *int32, patches *Patch, values *float64)
TEXT ·spreadVec(SB), NOSPLIT, $0-56
	MOVQ row+0(FP), DI
	MOVQ k+8(FP), SI
	MOVQ cells+16(FP), AX
	MOVQ n+24(FP), CX
	MOVQ patches+40(FP), R8

cell:
	DECQ CX
	JLT  done
	MOVLQSX (AX), R10
	VBROADCASTSD (SI), Y0
	ADDQ $4, AX
	ADDQ $8, SI
	TESTQ R10, R10
	JLT  cell
	MOVQ first+32(FP), BX
	MOVLQSX (BX)(R10*4), R13
	MOVLQSX 4(BX)(R10*4), R12
	SUBQ R13, R12
	SHLQ $5, R13
	LEAQ (R8)(R13*1), R8

patch:
	DECQ R12
	JLT  back
	MOVLQSX %[1]d(R8), R10
	MOVLQSX %[2]d(R8), DX
	MOVLQSX %[3]d(R8), BX
	MOVLQSX %[4]d(R8), R9
	MOVLQSX %[5]d(R8), R11
	ADDQ $32, R8
	LEAQ (DI)(R10*8), R10
	MOVQ values+48(FP), R13
	LEAQ (R13)(R11*8), R11
	SHLQ $3, DX
	CMPQ R9, $1
	JNE  wide
	CMPQ BX, $3
	JNE  row1

	// most patches have three rows of one vector
	LEAQ (R10)(DX*2), R13
	VMOVUPD (R11), Y1
	VMOVUPD 32(R11), Y2
	VMOVUPD 64(R11), Y3
	VFMADD213PD (R10), Y0, Y1
	VFMADD213PD (R10)(DX*1), Y0, Y2
	VFMADD213PD (R13), Y0, Y3
	VMOVUPD Y1, (R10)
	VMOVUPD Y2, (R10)(DX*1)
	VMOVUPD Y3, (R13)
	JMP  patch

row1:
	VMOVUPD (R11), Y1
	VFMADD213PD (R10), Y0, Y1
	VMOVUPD Y1, (R10)
	ADDQ DX, R10
	ADDQ $32, R11
	DECQ BX
	JNZ  row1
	JMP  patch

wide:
	MOVQ R9, R13
	SHLQ $5, R13
	SUBQ R13, DX

rows:
	MOVQ R9, R13

vector:
	VMOVUPD (R11), Y1
	VFMADD213PD (R10), Y0, Y1
	VMOVUPD Y1, (R10)
	ADDQ $32, R10
	ADDQ $32, R11
	DECQ R13
	JNZ  vector
	ADDQ DX, R10
	DECQ BX
	JNZ  rows
	JMP  patch

back:
	MOVQ patches+40(FP), R8
	JMP  cell

done:
	VZEROUPPER
	RET
`, pCol, pStride, pRows, pWide, pAt)
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
