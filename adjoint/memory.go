package adjoint

// Bytes is about what solving for the sources takes in memory, beside what any posterior takes. What an observation's PSF makes of
// it is shared by clones; matrices, of a row and a column for each spline, are not.
func (m *Marginal) Bytes() int {
	v := m.inv
	return v.op.Bytes() + 8*(len(v.a)+len(v.z)+len(v.x)+len(v.temp)+len(v.stored))
}
