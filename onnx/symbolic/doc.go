// Package symbolic computes with extents of tensors that are numbers or multiples of symbols, such as the batch N of a
// network, and with the small tensors of them that networks compute shapes by.
//
// A [Dim] is such an extent. Arithmetic that leaves the multiples of one symbol gives a symbol of its own to each
// expression; an [Algebra] remembers which, so that equal expressions are equal extents. An [Ints] is a tensor of them.
//
//	a := symbolic.NewAlgebra()
//	n := symbolic.Dim{N: 1, Sym: "N"}
//	a.Affine(a.Mul(n, symbolic.Fixed(4)), 1, 0, 2, 0) // ⌊4N/2⌋ = 2N
package symbolic
