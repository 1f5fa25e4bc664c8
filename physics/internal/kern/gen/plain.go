package main

// Offsets in kern.Shear.
const (
	sG1 = 0
	sG2 = 8
)

// shearKernel is Shear.deflectGo; it rounds as Go does, which takes the rays left over.
func shearKernel(c *constants) *kernel {
	k := newKernel(c, "shearVec", "// func shearVec(k *Shear, ax, ay, x, y *float64, n int)", "k", "ax", "ay", "x", "y", "n")
	g1, g2, x, y := k.field("k", sG1), k.field("k", sG2), k.vector("x", 0), k.vector("y", 0)
	k.store("ax", 0, k.add(k.vector("ax", 0), k.add(k.mul(g1, x), k.mul(g2, y))))
	k.store("ay", 0, k.add(k.vector("ay", 0), k.sub(k.mul(g2, x), k.mul(g1, y))))
	return k
}

// shearVJPKernel is Shear.vjpGo.
func shearVJPKernel(c *constants) *kernel {
	k := newKernel(c, "shearVJPVec", "// func shearVJPVec(acc *[2][4]float64, gax, gay, x, y *float64, n int)", "acc", "gax", "gay", "x", "y", "n")
	k.pinned = true
	hx, hy, x, y := k.vector("gax", 0), k.vector("gay", 0), k.vector("x", 0), k.vector("y", 0)
	k.accumulate("acc", 0, k.fms(hx, x, k.mul(hy, y)))
	k.accumulate("acc", 32, k.fma(hx, y, k.mul(hy, x)))
	return k
}

// raysKernel is raysGo.
func raysKernel(c *constants) *kernel {
	k := newKernel(c, "raysVec", "// func raysVec(bx, by, x, y, ax, ay *float64, n int)", "bx", "by", "x", "y", "ax", "ay", "n")
	k.streams = []string{"bx", "by"}
	k.store("bx", 0, k.sub(k.vector("x", 0), k.vector("ax", 0)))
	k.store("by", 0, k.sub(k.vector("y", 0), k.vector("ay", 0)))
	return k
}

// residualKernels are residualGo with and without the derivative.
func residualKernels(c *constants) []*kernel {
	k := newKernel(c, "residualVec", "// func residualVec(acc *[4]float64, gmodel, model, data, weight *float64, n int)",
		"acc", "gmodel", "model", "data", "weight", "n")
	k.streams = []string{"gmodel", "model", "data", "weight"}
	x := newKernel(c, "chi2Vec", "// func chi2Vec(acc *[4]float64, model, data, weight *float64, n int)", "acc", "model", "data", "weight", "n")
	for _, k := range []*kernel{k, x} {
		k.pinned = true
		w := k.vector("weight", 0)
		r := k.mul(k.sub(k.vector("data", 0), k.vector("model", 0)), w)
		k.accumulate("acc", 0, k.mul(r, r))
		if k.name == "residualVec" {
			k.store("gmodel", 0, k.mul(r, w))
		}
	}
	return []*kernel{k, x}
}

// productKernel is productGo.
func productKernel(c *constants) *kernel {
	k := newKernel(c, "productVec", "// func productVec(dst, a, b *float64, n int)", "dst", "a", "b", "n")
	k.store("dst", 0, k.mul(k.vector("a", 0), k.vector("b", 0)))
	return k
}
