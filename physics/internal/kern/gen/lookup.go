package main

import (
	"fmt"
	"strings"
)

// Byte offsets in kern.Taps.
const (
	tTX = 4 * 64
	tTY = tTX + block
)

// locateKernel is Frame.locateGo; it rounds as Go does, so that both find the same cells.
func locateKernel(c *constants) *kernel {
	k := newKernel(c, "locateVec", "// func locateVec(k *Frame, t *Taps, x, y *float64, n int)", "k", "t", "x", "y", "n")
	zero := k.number(0)
	px := k.add(k.mul(k.sub(k.vector("x", 0), k.field("k", fX)), k.field("k", fCX)), k.field("k", fOX))
	py := k.add(k.mul(k.sub(k.vector("y", 0), k.field("k", fY)), k.field("k", fCY)), k.field("k", fOY))
	sees := k.and(k.and(k.atMost(zero, px), k.atMost(zero, py)), k.and(k.below(px, k.field("k", fEndX)), k.below(py, k.field("k", fEndY))))
	px, py = k.and(sees, px), k.and(sees, py)
	ix, iy := k.floor(px), k.floor(py)
	k.store("t", tTX, k.sub(px, ix))
	k.store("t", tTY, k.sub(py, iy))
	k.storeInts("t", 0, k.fma(iy, k.field("k", fStride), k.add(ix, k.field("k", fCorner))))
	return k
}

// tapLoop is a kernel over groups of four rays of Taps t, whose cells come in R8 … R11: args is what follows t, with img
// and stride first; load finds the other arguments. img comes in SI, stride in DI.
func tapLoop(name string, args []string, load func(b *strings.Builder, at map[string]int), body string) string {
	var b strings.Builder
	proto := "t *Taps"
	at := map[string]int{"t": 0}
	for i, a := range args {
		proto += ", " + a
		at[strings.Fields(a)[0]] = 8 * (i + 1)
	}
	fmt.Fprintf(&b, "\n// func %s(%s)\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, proto, name, 8*(len(args)+1))
	fmt.Fprintf(&b, "\tMOVQ t+0(FP), AX\n\tMOVQ img+%d(FP), SI\n\tMOVQ stride+%d(FP), DI\n\tMOVQ n+%d(FP), CX\n", at["img"], at["stride"], at["n"])
	load(&b, at)
	fmt.Fprintf(&b, `	XORQ DX, DX

loop:
	CMPQ DX, CX
	JGE  done
	MOVL (AX)(DX*4), R8
	MOVL 4(AX)(DX*4), R9
	MOVL 8(AX)(DX*4), R10
	MOVL 12(AX)(DX*4), R11
%s	ADDQ $4, DX
	JMP  loop

done:
	VZEROUPPER
	RET
`, body)
	return b.String()
}

// bilinearCell leaves the taps of four cells: v and its parts in Y2 (lower row), Y3 (its difference), Y4 (upper), Y5 (its
// difference), tx in Y6, ty in Y7.
var bilinearCell = fmt.Sprintf(`	VMOVUPD     (SI)(R8*8), X0
	VMOVUPD     (SI)(R9*8), X1
	VINSERTF128 $1, (SI)(R10*8), Y0, Y0
	VINSERTF128 $1, (SI)(R11*8), Y1, Y1
	VUNPCKLPD   Y1, Y0, Y2
	VUNPCKHPD   Y1, Y0, Y3
	VMOVUPD     (DI)(R8*8), X0
	VMOVUPD     (DI)(R9*8), X1
	VINSERTF128 $1, (DI)(R10*8), Y0, Y0
	VINSERTF128 $1, (DI)(R11*8), Y1, Y1
	VUNPCKLPD   Y1, Y0, Y4
	VUNPCKHPD   Y1, Y0, Y5
	VMOVUPD     %d(AX)(DX*8), Y6
	VMOVUPD     %d(AX)(DX*8), Y7
	VSUBPD      Y2, Y3, Y3
	VSUBPD      Y4, Y5, Y5
	VFMADD231PD Y3, Y6, Y2
	VFMADD231PD Y5, Y6, Y4
`, tTX, tTY)

func bilinearValueText() string {
	return tapLoop("bilinearValueVec", []string{"img *float64", "stride int", "dst *float64", "scale float64", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tLEAQ (SI)(DI*8), DI\n\tMOVQ dst+%d(FP), BX\n\tVBROADCASTSD scale+%d(FP), Y15\n", at["dst"], at["scale"])
		}, bilinearCell+`	VSUBPD      Y2, Y4, Y4
	VFMADD231PD Y4, Y7, Y2
	VMOVUPD     (BX)(DX*8), Y8
	VFMADD231PD Y2, Y15, Y8
	VMOVUPD     Y8, (BX)(DX*8)
`)
}

func bilinearSlopesText() string {
	return tapLoop("bilinearSlopesVec", []string{"img *float64", "stride int", "s *Slope", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tLEAQ (SI)(DI*8), DI\n\tMOVQ s+%d(FP), BX\n", at["s"])
		}, bilinearCell+fmt.Sprintf(`	VSUBPD      Y2, Y4, Y4
	VSUBPD      Y3, Y5, Y5
	VFMADD231PD Y4, Y7, Y2
	VFMADD231PD Y5, Y7, Y3
	VMOVUPD     Y2, (BX)(DX*8)
	VMOVUPD     Y3, %d(BX)(DX*8)
	VMOVUPD     Y4, %d(BX)(DX*8)
`, block, 2*block))
}

func bilinearScatterText() string {
	var b strings.Builder
	fmt.Fprintf(&b, `	VMULPD  (BX)(DX*8), Y15, Y0
	VMULPD  %d(AX)(DX*8), Y0, Y2
	VSUBPD  Y2, Y0, Y0
	VMOVUPD %d(AX)(DX*8), Y6
	VMULPD  Y6, Y0, Y1
	VMULPD  Y6, Y2, Y3
	VSUBPD  Y1, Y0, Y0
	VSUBPD  Y3, Y2, Y2
`, tTY, tTX)
	// one ray after another: two may have a cell in common
	at := []string{"(SI)(%s*8)", "8(SI)(%s*8)", "(DI)(%s*8)", "8(DI)(%s*8)"}
	for ray, base := range []string{"R8", "R9", "R10", "R11"} {
		for w, a := range at {
			from := fmt.Sprintf("X%d", w)
			switch ray {
			case 1, 3:
				fmt.Fprintf(&b, "\tVPERMILPD $1, X%d, X%d\n", w, 8+w)
				from = fmt.Sprintf("X%d", 8+w)
			case 2:
				fmt.Fprintf(&b, "\tVEXTRACTF128 $1, Y%d, X%d\n", w, w)
			}
			mem := fmt.Sprintf(a, base)
			fmt.Fprintf(&b, "\tVADDSD %s, %s, X%d\n\tVMOVSD X%d, %s\n", mem, from, 4+w, 4+w, mem)
		}
	}
	return tapLoop("bilinearScatterVec", []string{"img *float64", "stride int", "gv *float64", "scale float64", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tLEAQ (SI)(DI*8), DI\n\tMOVQ gv+%d(FP), BX\n\tVBROADCASTSD scale+%d(FP), Y15\n", at["gv"], at["scale"])
		}, b.String())
}

// Byte offsets in kern.Frame.
const (
	fX = 8 * iota
	fY
	fCX
	fCY
	fOX
	fOY
	fEndX
	fEndY
	fStride
	fCorner
	fGX
	fGY
)

// chainKernel is Frame.chainGo.
func chainKernel(c *constants) *kernel {
	k := newKernel(c, "chainVec", "// func chainVec(k *Frame, acc *[4][4]float64, s *Slope, gv, x, y, gx, gy *float64, n int)",
		"k", "acc", "s", "gv", "x", "y", "gx", "gy", "n")
	k.pinned = true
	g := k.vector("gv", 0)
	hx := k.mul(k.mul(g, k.field("k", fGX)), k.vector("s", block))
	hy := k.mul(k.mul(g, k.field("k", fGY)), k.vector("s", 2*block))
	px, py := k.sub(k.vector("x", 0), k.field("k", fX)), k.sub(k.vector("y", 0), k.field("k", fY))
	k.accumulate("acc", 0, k.mul(g, k.vector("s", 0)))
	k.accumulate("acc", 32, k.fma(hx, px, k.mul(hy, py)))
	k.accumulate("acc", 64, hx)
	k.accumulate("acc", 96, hy)
	k.store("gx", 0, k.add(k.vector("gx", 0), hx))
	k.store("gy", 0, k.add(k.vector("gy", 0), hy))
	return k
}

// weightsKernel is Weights.fillGo.
func weightsKernel(c *constants) *kernel {
	k := newKernel(c, "weightsVec", "// func weightsVec(w *Weights, t *Taps, n int)", "w", "t", "n")
	for axis, at := range []int{tTX, tTY} {
		t := k.vector("t", at)
		half, negHalf := k.number(0.5), k.number(-0.5)
		t2 := k.mul(t, t)
		w := []value{
			k.mul(t, k.fma(k.fma(negHalf, t, k.number(1)), t, negHalf)),
			k.fma(k.fms(k.number(1.5), t, k.number(2.5)), t2, k.number(1)),
			k.mul(t, k.fma(k.fnma(k.number(1.5), t, k.number(2)), t, half)),
			k.mul(t2, k.fms(half, t, half)),
			k.fma(k.fnma(k.number(1.5), t, k.number(2)), t, negHalf),
			k.mul(t, k.fms(k.number(4.5), t, k.number(5))),
			k.fma(k.fnma(k.number(4.5), t, k.number(4)), t, half),
			k.mul(t, k.fms(k.number(1.5), t, k.number(1))),
		}
		for i, v := range w {
			k.store("w", block*(8*axis+i), v)
		}
	}
	return k
}

// Offsets in kern.Weights: a and their slopes d along x, b and their slopes e along y, four of each.
const (
	wA = 0
	wD = 4 * block
	wB = 8 * block
	wE = 12 * block
)

// transpose leaves in out the columns of the four vectors in, by way of four others.
func transpose(b *strings.Builder, in, by, out [4]int) {
	fmt.Fprintf(b, "\tVUNPCKLPD Y%d, Y%d, Y%d\n\tVUNPCKHPD Y%d, Y%d, Y%d\n", in[1], in[0], by[0], in[1], in[0], by[1])
	fmt.Fprintf(b, "\tVUNPCKLPD Y%d, Y%d, Y%d\n\tVUNPCKHPD Y%d, Y%d, Y%d\n", in[3], in[2], by[2], in[3], in[2], by[3])
	for i, o := range out {
		fmt.Fprintf(b, "\tVPERM2F128 $0x%d, Y%d, Y%d, Y%d\n", []int{20, 20, 31, 31}[i], by[2+i%2], by[i%2], o)
	}
}

// cubicRows are the rows of 4 x 4 taps whose first is at SI; bases are those of a cell.
var (
	cubicRows = []string{"(SI)", "(DI)", "(R12)", "(R13)"}
	cubicBase = []string{"R8", "R9", "R10", "R11"}
)

// cubicLoad points SI, DI, R12, R13 at the first of the taps of a cell, row by row.
func cubicLoad(b *strings.Builder, at map[string]int) {
	fmt.Fprintf(b, "\tMOVQ w+%d(FP), R14\n\tSHLQ $3, DI\n\tSUBQ DI, SI\n\tSUBQ $8, SI\n\tLEAQ (SI)(DI*2), R12\n\tLEAQ (R12)(DI*1), R13\n\tADDQ SI, DI\n", at["w"])
}

// cubicSums leaves in Y0 … Y3, for each ray, the sum of its rows with weights b; with slopes, in Y4 … Y7 that with e.
func cubicSums(b *strings.Builder, slopes bool) {
	for ray, base := range cubicBase {
		for m, row := range cubicRows {
			mul := "VFMADD231PD"
			fmt.Fprintf(b, "\tVBROADCASTSD %d(R14)(DX*8), Y15\n", wB+block*m+8*ray)
			if slopes {
				fmt.Fprintf(b, "\tVBROADCASTSD %d(R14)(DX*8), Y14\n\tVMOVUPD %s(%s*8), Y13\n", wE+block*m+8*ray, row, base)
				if m == 0 {
					fmt.Fprintf(b, "\tVMULPD Y13, Y15, Y%d\n\tVMULPD Y13, Y14, Y%d\n", ray, 4+ray)
				} else {
					fmt.Fprintf(b, "\t%s Y13, Y15, Y%d\n\t%s Y13, Y14, Y%d\n", mul, ray, mul, 4+ray)
				}
				continue
			}
			if m == 0 {
				mul = "VMULPD"
			}
			fmt.Fprintf(b, "\t%s %s(%s*8), Y15, Y%d\n", mul, row, base, ray)
		}
	}
}

// cubicDot leaves in out the sum of the vectors v weighted by the four weights at byte w.
func cubicDot(b *strings.Builder, w int, v [4]int, out int) {
	for i, y := range v {
		op := "VFMADD231PD"
		if i == 0 {
			op = "VMULPD"
		}
		fmt.Fprintf(b, "\t%s %d(R14)(DX*8), Y%d, Y%d\n", op, w+block*i, y, out)
	}
}

func bicubicValueText() string {
	var b strings.Builder
	cubicSums(&b, false)
	transpose(&b, [4]int{0, 1, 2, 3}, [4]int{8, 9, 10, 11}, [4]int{0, 1, 2, 3})
	cubicDot(&b, wA, [4]int{0, 1, 2, 3}, 12)
	b.WriteString("\tVBROADCASTSD scale+40(FP), Y13\n\tVMOVUPD (BX)(DX*8), Y14\n\tVFMADD231PD Y12, Y13, Y14\n\tVMOVUPD Y14, (BX)(DX*8)\n")
	return tapLoop("bicubicValueVec", []string{"img *float64", "stride int", "w *Weights", "dst *float64", "scale float64", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tMOVQ dst+%d(FP), BX\n", at["dst"])
			cubicLoad(b, at)
		}, b.String())
}

func bicubicSlopesText() string {
	var b strings.Builder
	cubicSums(&b, true)
	transpose(&b, [4]int{0, 1, 2, 3}, [4]int{8, 9, 10, 11}, [4]int{0, 1, 2, 3})
	transpose(&b, [4]int{4, 5, 6, 7}, [4]int{8, 9, 10, 11}, [4]int{4, 5, 6, 7})
	cubicDot(&b, wA, [4]int{0, 1, 2, 3}, 12)
	cubicDot(&b, wD, [4]int{0, 1, 2, 3}, 13)
	cubicDot(&b, wA, [4]int{4, 5, 6, 7}, 14)
	for i := range 3 {
		fmt.Fprintf(&b, "\tVMOVUPD Y%d, %d(BX)(DX*8)\n", 12+i, block*i)
	}
	return tapLoop("bicubicSlopesVec", []string{"img *float64", "stride int", "w *Weights", "s *Slope", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tMOVQ s+%d(FP), BX\n", at["s"])
			cubicLoad(b, at)
		}, b.String())
}

func bicubicScatterText() string {
	var b strings.Builder
	b.WriteString("\tVBROADCASTSD scale+40(FP), Y14\n\tVMULPD (BX)(DX*8), Y14, Y14\n")
	for i := range 4 {
		fmt.Fprintf(&b, "\tVMULPD %d(R14)(DX*8), Y14, Y%d\n", wA+block*i, i)
	}
	transpose(&b, [4]int{0, 1, 2, 3}, [4]int{8, 9, 10, 11}, [4]int{0, 1, 2, 3})
	for ray, base := range cubicBase {
		for m, row := range cubicRows {
			mem := fmt.Sprintf("%s(%s*8)", row, base)
			fmt.Fprintf(&b, "\tVBROADCASTSD %d(R14)(DX*8), Y%d\n", wB+block*m+8*ray, 4+m)
			fmt.Fprintf(&b, "\tVMOVUPD %s, Y%d\n\tVFMADD231PD Y%d, Y%d, Y%d\n\tVMOVUPD Y%d, %s\n", mem, 8+m, 4+m, ray, 8+m, 8+m, mem)
		}
	}
	return tapLoop("bicubicScatterVec", []string{"img *float64", "stride int", "w *Weights", "gv *float64", "scale float64", "n int"},
		func(b *strings.Builder, at map[string]int) {
			fmt.Fprintf(b, "\tMOVQ gv+%d(FP), BX\n", at["gv"])
			cubicLoad(b, at)
		}, b.String())
}
