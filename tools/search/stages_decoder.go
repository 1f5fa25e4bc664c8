package search

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"

	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
)

// refine takes the basins to the full model: at middle size with the sources traced back, then at full size.
func (s *Search) refine(ctx context.Context, full *adjoint.Posterior, basins []basin) (*Result, error) {
	k := s.Problem.Obs.Binning(s.Settings.MiddleSide)
	middle := s.Problem.Obs.Coarsen(k)
	post := full
	if k > 1 {
		p, err := s.posterior(s.Problem.Config, middle, s.Compute.Threads)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		post = p
	}
	src, err := s.newSources(middle)
	if err != nil {
		return nil, err
	}
	defer src.close()
	var best *StageEnd
	var ends []*StageEnd
	set := &s.Settings
	steps := (set.FrameWidths+3)*set.SourceSteps + (set.FramesKept+1)*set.JointSteps
	if s.free != nil {
		steps = (set.FrameWidths+1)/2*set.SourceSteps + set.FramesKept*set.JointSteps
	}
	for i, b := range basins {
		s.climbs(fmt.Sprintf("lens %d of %d", i+1, len(basins)), steps)
		end, err := s.place(ctx, post, src, fmt.Sprintf("basin %d", i+1), b)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
		if best == nil || end.LogProb > best.LogProb {
			best = end
		}
	}
	placed := ends[0] // DeleteFunc moves the others
	return s.Settle(ctx, post, full, slices.DeleteFunc(ends, func(e *StageEnd) bool {
		return best.LogProb-e.LogProb > set.FullSizeGap // closer ones are only told apart at full size
	}), placed)
}

// place puts the full sources below the lens of a basin at middle size and climbs with everything free.
func (s *Search) place(ctx context.Context, post *adjoint.Posterior, src *sources, key string, b basin) (*StageEnd, error) {
	theta := LaidOut(post, b.theta)
	from := &StageEnd{LogProb: math.Inf(-1)}
	if len(src.decoders) == 0 {
		u, err := coordinates(post, theta)
		if err != nil {
			return nil, err
		}
		return s.lm(ctx, key+": everything", post, s.joint(post), u, s.Settings.JointSteps)
	}
	widths := src.widths()
	if hasLensLight(s.Problem.Config) && len(widths) > 1 {
		every := widths // the middle of a large image is quick enough to be taken as it is
		widths = nil
		for k := 0; k < len(every); k += 2 {
			widths = append(widths, every[k])
		}
	}
	ends, err := s.below(ctx, post, src, key, theta, b.theta, widths)
	if err != nil {
		return nil, err
	}
	for i, e := range ends[:min(s.Settings.FramesKept, len(ends))] {
		key := fmt.Sprintf("%s: everything %d", key, i+1)
		var end *StageEnd
		if s.free != nil {
			// while source and light settle, a radius that is free may leave its basin
			end, err = s.heldRadius(ctx, key, post, s.joint(post), e.U)
		} else {
			end, err = s.lm(ctx, key, post, s.joint(post), e.U, s.Settings.JointSteps)
		}
		if err != nil {
			return nil, err
		}
		if end.LogProb > from.LogProb {
			from = end
		}
	}
	if s.free != nil {
		return from, nil // the lens that a free source has found is as good as one found with the decoder
	}
	// once more through the better lens
	post.Theta(theta, from.U)
	named := namedTheta(post, from.U)
	widths = nil
	if w := named[src.decoders[0].prefix+"s"]; w > 0 {
		widths = []float64{s.Settings.FrameNarrower * w, w, s.Settings.FrameWider * w}
	}
	ends, err = s.below(ctx, post, src, key+" again", theta, named, widths)
	if err != nil {
		return nil, err
	}
	end, err := s.lm(ctx, key+" again: everything", post, s.joint(post), ends[0].U, s.Settings.JointSteps)
	if err != nil {
		return nil, err
	}
	if end.LogProb > from.LogProb {
		from = end
	}
	return from, nil
}

// joint is the density that is climbed with everything free. The relaxed one is flat in a factor of the noise; where the
// light of the lens was fitted first, the start is good enough to do without.
func (s *Search) joint(post *adjoint.Posterior) samplers.Lagged {
	if s.Problem.Config.NoiseScale != nil && hasLensLight(s.Problem.Config) {
		return post.MAP()
	}
	return post.Relaxed()
}

// below fits the decoder sources under the fixed lens of theta, from the image traced back at each width, and returns
// the ends, best first.
func (s *Search) below(ctx context.Context, post *adjoint.Posterior, src *sources, key string, theta []float64, named config.Named, widths []float64) ([]*StageEnd, error) {
	starts, err := src.trace(post, theta, named, widths)
	if err != nil {
		return nil, err
	}
	var ends []*StageEnd
	for i, u := range starts {
		end, err := s.lmPart(ctx, fmt.Sprintf("%s: source %d", key, i+1), post, post.Relaxed(), isSource, u, s.Settings.SourceSteps)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
	}
	sort.SliceStable(ends, func(a, b int) bool { return ends[a].LogProb > ends[b].LogProb })
	return ends, nil
}
