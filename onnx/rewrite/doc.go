// Package rewrite has passes over graphs that keep what they compute: folding of constants, layout, Winograd's tiles, phases of
// transposed convolutions, small images.
//
//	folded, err := rewrite.Fold(g)
package rewrite
