package search

import (
	"context"

	"lenskit/tools/config"
)

// Found is a lens on its way through the stages of a search. What a stage has to say to those after it stands here, and
// nowhere else.
type Found struct {
	Theta    config.Named // parameters of the model of its stage
	LogProb  float64      // log density or evidence there; those of different stages are not to be compared
	Multiple bool         // the brightest point of its pixelised source is seen more than once
	Radius   float64      // arcsec: Einstein radius of the lens of the largest evidence with a pixelised source; 0 where none was made
	From     string       // name of the stage that it comes from
	At       config.Named // the lens that the grids of its pixelised sources were laid out at
	End      *StageEnd    // of the climb, in the coordinates of the config's own model; nil before the decoder
}

// Stage takes what was found on, or begins the search where that is nothing.
type Stage struct {
	Name string
	Run  func(ctx context.Context, c *Climber, found []Found) ([]Found, error)
}

// Names of stages whose lenses a later stage tells from others.
const (
	arcsStage    = "arcs"
	jointStage   = "joint"
	decoderStage = "decoder"
	fullStage    = "full size"
	heldStage    = "held radius"
)

// The strategies of decision 0005. A further stage is a function and a row.
var (
	// fromPriors is that of a config whose lens does not shine.
	fromPriors = []Stage{
		{"draws", climbDraws},        // from the priors on a small image, a Sersic profile in place of each decoder
		{decoderStage, placeDecoder}, // at middle size, from the image traced back through the best lenses that differ
		{fullStage, climbFullSize},
	}

	// fromLensLight is that where the lens shines.
	fromLensLight = []Stage{
		{"light", fitLensLight},           // the config's profiles to the MGE of the lens's light
		{arcsStage, climbArcs},            // from draws, on what the MGE leaves
		{jointStage, fitLightAndArcs},     // profiles, lens and simple source together, beside the lenses before that
		{"pixelised source", invert},      // to the lens of the largest evidence around each of them
		{"rivals", keepRivals},            // those that multiply first, and what comes near the best
		{"joint again", refitLightAndArc}, // profiles and simple source below these lenses
		{decoderStage, placeDecoderHeld},  // with the Einstein radius held
		{fullStage, climbFullSize},
		{heldStage, holdRadius}, // where decoder and pixelised source do not agree
	}

	// fromPriorsPixels is fromPriors with a source of type pixels (decision 0012).
	fromPriorsPixels = []Stage{
		{"draws", climbDraws},
		{"multiple", keepMultiple},
		{"coarse source", climbCoarseSource}, // on a small image: the evidence tells the lenses apart
		{"middle source", climbMiddleSource},
		{"nested source", climbNestedSource}, // on the grids that are called for, and finer ones
		{fullStage, climbPixelised},
	}

	// fromLensLightPixels is fromLensLight likewise.
	fromLensLightPixels = []Stage{
		{"light", fitLensLight},
		{arcsStage, climbArcs},
		{jointStage, fitLightAndArcs},
		{"multiple", keepMultiple},
		{"coarse source", climbCoarseSource},
		{"middle source", climbMiddleSource},
		{"nested source", climbNestedSource},
		{fullStage, climbPixelised},
	}

	// fromConfigPixels is fromConfig likewise.
	fromConfigPixels = []Stage{{fullStage, climbPixelised}}

	// fromConfig is that of a config which states a start.
	fromConfig = []Stage{{fullStage, climbFullSize}}
)

// strategy is that of a config without a start.
func (s *Search) strategy() []Stage {
	lit, pixels := hasLensLight(s.Problem.Config), s.Problem.Config.HasPixels()
	switch {
	case lit && pixels:
		return fromLensLightPixels
	case lit:
		return fromLensLight
	case pixels:
		return fromPriorsPixels
	}
	return fromPriors
}

// strategyOfStart is that of a config with one.
func (s *Search) strategyOfStart() []Stage {
	if s.Problem.Config.HasPixels() {
		return fromConfigPixels
	}
	return fromConfig
}

// through takes what is found through stages.
func (c *Climber) through(ctx context.Context, stages []Stage, found []Found) ([]Found, error) {
	for _, stage := range stages {
		var err error
		if found, err = stage.Run(ctx, c, found); err != nil {
			return nil, err
		}
		for i := range found {
			if found[i].From == "" {
				found[i].From = stage.Name
			}
		}
	}
	return found, nil
}

// endsFrom are the ends of those that come from a stage, in their order.
func endsFrom(stage string, found []Found) []*StageEnd {
	var out []*StageEnd
	for _, f := range found {
		if f.From == stage {
			out = append(out, f.End)
		}
	}
	return out
}
