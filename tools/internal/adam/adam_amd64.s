//go:build !noasm

#include "textflag.h"

// func stepAVX2(p, gr, m, v *float32, n int, k *Step)
// Needs n > 0, a multiple of 8. Products and sums are not fused: see Step.apply.
TEXT ·stepAVX2(SB), NOSPLIT, $0-48
	MOVQ p+0(FP), AX
	MOVQ gr+8(FP), BX
	MOVQ m+16(FP), CX
	MOVQ v+24(FP), DX
	MOVQ n+32(FP), SI
	MOVQ k+40(FP), DI
	VBROADCASTSS 0(DI), Y9   // B1
	VBROADCASTSS 4(DI), Y10  // A1
	VBROADCASTSS 8(DI), Y11  // B2
	VBROADCASTSS 12(DI), Y12 // A2
	VBROADCASTSS 16(DI), Y13 // Size
	VBROADCASTSS 20(DI), Y14 // Floor
	VBROADCASTSS 24(DI), Y15 // Shrink
	XORQ R8, R8

step:
	VMULPS  (BX)(R8*4), Y15, Y0 // d
	VMULPS  Y10, Y0, Y1
	VMULPS  (CX)(R8*4), Y9, Y2
	VADDPS  Y1, Y2, Y2          // m
	VMOVUPS Y2, (CX)(R8*4)
	VMULPS  Y12, Y0, Y3
	VMULPS  Y0, Y3, Y3
	VMULPS  (DX)(R8*4), Y11, Y4
	VADDPS  Y3, Y4, Y4          // v
	VMOVUPS Y4, (DX)(R8*4)
	VSQRTPS Y4, Y5
	VADDPS  Y14, Y5, Y5
	VMULPS  Y13, Y2, Y6
	VDIVPS  Y5, Y6, Y6          // size·m / (√v + floor)
	VMOVUPS (AX)(R8*4), Y7
	VSUBPS  Y6, Y7, Y7
	VMOVUPS Y7, (AX)(R8*4)
	ADDQ    $8, R8
	CMPQ    R8, SI
	JLT     step
	VZEROUPPER
	RET

// func sumAVX2(s *[8]float32, v *float32, n int)
// Needs n > 0, a multiple of 8.
TEXT ·sumAVX2(SB), NOSPLIT, $0-24
	MOVQ s+0(FP), AX
	MOVQ v+8(FP), BX
	MOVQ n+16(FP), SI
	VMOVUPS (AX), Y0
	XORQ R8, R8

sum:
	VMOVUPS (BX)(R8*4), Y1
	VMULPS  Y1, Y1, Y1
	VADDPS  Y1, Y0, Y0
	ADDQ    $8, R8
	CMPQ    R8, SI
	JLT     sum
	VMOVUPS Y0, (AX)
	VZEROUPPER
	RET
