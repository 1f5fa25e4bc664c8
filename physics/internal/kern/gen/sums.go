package main

import (
	"fmt"
	"strings"
)

// mixKernel is Mix: columns in groups of 32 (eight vectors of sums in registers), then of 4, then one by one.
func mixKernel() string {
	var b strings.Builder
	b.WriteString(`
// func mixVec(dst, src *float64, stride int, taps *float64, nt, n, add int)
TEXT ·mixVec(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ stride+16(FP), R8
	MOVQ taps+24(FP), BX
	MOVQ nt+32(FP), R9
	MOVQ n+40(FP), CX
	MOVQ add+48(FP), R10
	SHLQ $3, R8
`)
	for _, width := range []int{8, 1} {
		cols := 4 * width
		fmt.Fprintf(&b, "\nwide%d:\n\tCMPQ CX, $%d\n\tJLT  done%d\n", cols, cols, cols)
		for v := range width {
			fmt.Fprintf(&b, "\tVXORPD Y%d, Y%d, Y%d\n", v, v, v)
		}
		fmt.Fprintf(&b, "\tTESTQ R10, R10\n\tJZ    start%d\n", cols)
		for v := range width {
			fmt.Fprintf(&b, "\tVMOVUPD %d(DI), Y%d\n", 32*v, v)
		}
		fmt.Fprintf(&b, "\nstart%d:\n\tMOVQ SI, AX\n\tXORQ DX, DX\n\ntaps%d:\n\tCMPQ DX, R9\n\tJGE  store%d\n\tVBROADCASTSD (BX)(DX*8), Y15\n", cols, cols, cols)
		for v := range width {
			fmt.Fprintf(&b, "\tVFMADD231PD %d(AX), Y15, Y%d\n", 32*v, v)
		}
		fmt.Fprintf(&b, "\tADDQ R8, AX\n\tINCQ DX\n\tJMP  taps%d\n\nstore%d:\n", cols, cols)
		for v := range width {
			fmt.Fprintf(&b, "\tVMOVUPD Y%d, %d(DI)\n", v, 32*v)
		}
		fmt.Fprintf(&b, "\tADDQ $%d, DI\n\tADDQ $%d, SI\n\tSUBQ $%d, CX\n\tJMP  wide%d\n\ndone%d:\n", 8*cols, 8*cols, cols, cols, cols)
	}
	b.WriteString(`
single:
	TESTQ  CX, CX
	JZ     done
	VXORPD X0, X0, X0
	TESTQ  R10, R10
	JZ     start
	VMOVSD (DI), X0

start:
	MOVQ SI, AX
	XORQ DX, DX

taps:
	CMPQ        DX, R9
	JGE         store
	VMOVSD      (BX)(DX*8), X15
	VFMADD231SD (AX), X15, X0
	ADDQ        R8, AX
	INCQ        DX
	JMP         taps

store:
	VMOVSD X0, (DI)
	ADDQ   $8, DI
	ADDQ   $8, SI
	DECQ   CX
	JMP    single

done:
	VZEROUPPER
	RET
`)
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
