package adjoint

// Scalar gives the value and the derivative by its coordinate u of the i-th named parameter, which must have a prior of
// its own: ok is false for a fixed one and for latents with a common prior.
func (p *Posterior) Scalar(i int, u float64) (value, slope float64, ok bool) {
	for k := range p.params.scalars {
		if s := &p.params.scalars[k]; s.at == i {
			value, slope = s.prior.push(u)
			return value, slope, true
		}
	}
	return 0, 0, false
}

// LogPrior gives the log density of the prior of the i-th named parameter at a value of it, −Inf outside the prior's support.
// ok is false for a fixed parameter and for latents with a common prior.
func (p *Posterior) LogPrior(i int, value float64) (lp float64, ok bool) {
	for k := range p.params.scalars {
		if s := &p.params.scalars[k]; s.at == i {
			lp, _ = s.prior.logp(value)
			return lp, true
		}
	}
	return 0, false
}
