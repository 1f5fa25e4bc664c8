package physics

// Bytes is about what the inversion takes in memory: its tables, those that clones share among them, and its matrices.
func (v *Inversion) Bytes() int {
	numbers := len(v.k) + len(v.before) + len(v.weight)
	for _, g := range v.groups {
		numbers += len(g)
	}
	return 8 * numbers
}
