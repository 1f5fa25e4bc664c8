package sample

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"lenskit/samplers"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// Steps of the variational fits, and the shape of the importance weights up to which they are used.
const (
	meanFieldSteps = 300
	fullRankSteps  = 600
	usableShape    = 0.7
)

// approximate fits a Gaussian to the posterior and writes draws from it, those of all chains into one file. Where the
// importance weights are to be trusted the draws are taken by weight, and are then draws from the posterior.
func (r *sampling) approximate(ctx context.Context, pr *term.Progress) error {
	found, err := r.chooseCoordinates(ctx, pr)
	if err != nil {
		return err
	}
	pr.Stage(r.opt.Sampler, 0)
	g := found.normal
	quick := &quickLook{Tally: found.tally}
	post := noted{r.saved.Coordinates.target(r.p.Post), r.notes}
	if r.opt.Sampler != samplerLaplace {
		opt := samplers.VariationalOptions{Family: samplers.FullRank, Steps: fullRankSteps}
		if r.opt.Sampler == samplerADVI {
			opt = samplers.VariationalOptions{Family: samplers.MeanField, Steps: meanFieldSteps}
			// independent in the coordinates themselves, with the widths of the curvature
			v := make([]float64, g.Dim())
			g.Sigma(v)
			if g.Metric, err = samplers.NewMetricDiag(v); err != nil {
				return term.Numerical("%s: %w", r.p.Config.File, err)
			}
		}
		v, err := samplers.Variational(ctx, post, g, opt, r.opt.stream(0))
		if err != nil {
			return err
		}
		g = v.Gaussian
		quick.ELBO, quick.ELBOErr = term.JSONFloat(v.ELBO), term.JSONFloat(v.ELBOErr)
		quick.Evaluations += v.Evaluations
		if v.Drift > 4*v.ELBOErr && v.Drift > 0.5 {
			quick.Doubts = append(quick.Doubts, fmt.Sprintf("the evidence bound still rose by %.2f: the Gaussian is not finished", v.Drift))
		}
	}
	n := r.opt.Draws * r.opt.Chains
	w, err := samplers.Importance(ctx, post, g, n, r.opt.stream(1))
	if err != nil {
		return err
	}
	quick.Evaluations += w.Evaluations
	quick.K, quick.ESS, quick.LogEvidence, quick.Trust = term.JSONFloat(w.K), term.JSONFloat(w.ESS), term.JSONFloat(w.LogEvidence), w.Trust()
	quick.Weighted = w.K < usableShape
	if !quick.Weighted {
		quick.Doubts = append(quick.Doubts, quick.Trust)
	}
	pr.Step(term.ProgressState{Step: 1, LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: quick.Evaluations, Text: quick.Trust})
	r.quick = quick
	if err := r.makeRoom(pr, filepath.Base(rundir.ChainFile(r.dir, 0, 1))); err != nil {
		return err
	}
	return r.writeQuick(g, w, post)
}

// quickLook is how a Gaussian was fitted and what it is worth.
type quickLook struct {
	samplers.Tally
	ELBO        term.JSONFloat // of the variational fits
	ELBOErr     term.JSONFloat
	K           term.JSONFloat // shape k̂ of the importance weights
	ESS         term.JSONFloat // effective draws of the weights
	LogEvidence term.JSONFloat
	Trust       string
	Weighted    bool // the draws were taken by weight
	Doubts      []string
}

// writeQuick writes the draws in the columns of CmdStan's approximations: log_p__ is the target's density at a draw,
// log_g__ that of the approximation.
func (r *sampling) writeQuick(g *samplers.Gaussian, w *samplers.Weighted, post noted) error {
	n := len(w.X)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if r.quick.Weighted {
		// systematic resampling: one number for all, so that a draw of weight w comes ⌊nw⌋ or ⌈nw⌉ times
		at, sum, rng := 0, 0.0, r.opt.stream(2)
		first := rng.Float64()
		k := 0
		for i, lw := range w.LogWeight {
			sum += math.Exp(lw) * float64(n)
			for ; k < n && float64(k)+first < sum; k++ {
				order[at] = i
				at++
			}
		}
		for ; at < n; at++ {
			order[at] = order[max(0, at-1)]
		}
		rng.Shuffle(n, func(a, b int) { order[a], order[b] = order[b], order[a] })
	}
	theta := make([]float64, len(r.p.Post.Names()))
	return rundir.WriteAtomic(rundir.ChainFile(r.dir, 0, 1), func(out io.Writer) error {
		b := bufio.NewWriter(out)
		fmt.Fprintf(b, "# method = %s\n#   num_samples = %d\n# random\n#   seed = %d\n# weighted = %t\n# parameter_names = ", r.opt.Sampler, n, r.opt.Seed, r.quick.Weighted)
		for i, name := range r.names {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(name)
		}
		b.WriteString("\nlp__,log_p__,log_g__")
		for _, name := range r.names {
			b.WriteString("," + samplers.StanColumn(name))
		}
		b.WriteByte('\n')
		var line []byte
		for _, i := range order {
			lp, err := post.LogProb(nil, w.X[i])
			r.quick.Evaluations++
			if err != nil {
				if !samplers.Recoverable(err) {
					return err
				}
				lp = math.Inf(-1)
			}
			lg, err := g.LogProb(nil, w.X[i])
			if err != nil {
				return err
			}
			post.push(post.u, w.X[i])
			r.p.Post.Theta(theta, post.u)
			line = line[:0]
			for _, v := range []float64{lp, lp, lg} {
				line = append(strconv.AppendFloat(line, v, 'g', -1, 64), ',')
			}
			for _, k := range r.columns {
				line = append(strconv.AppendFloat(line, theta[k], 'g', -1, 64), ',')
			}
			line[len(line)-1] = '\n'
			if _, err := b.Write(line); err != nil {
				return err
			}
		}
		return b.Flush()
	})
}

// elapsed is the time that the run has taken, over all its parts.
func (r *sampling) elapsed() float64 { return r.saved.Seconds + time.Since(r.begun).Seconds() }
