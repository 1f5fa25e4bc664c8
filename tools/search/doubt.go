package search

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/optimize"
	"lenskit/samplers"
	"lenskit/tools/internal/term"
)

// Doubt is a reason why the maximum of a search is not to be trusted.
type Doubt struct {
	Code  string         `json:"code"`  // one of DoubtKinds
	About string         `json:"about"` // optimiser, data, model or physics
	Value term.JSONFloat `json:"value"` // the number looked at, null where there is none or it is not finite
	Limit term.JSONFloat `json:"limit"` // what the number was held against, null likewise
	Text  string         `json:"text"`  // the doubt in a sentence
}

// What a doubt is about, and so where its cure is to be looked for.
const (
	AboutOptimiser = "optimiser" // the search has not done what it set out to do
	AboutData      = "data"      // the image, its noise or its mask
	AboutModel     = "model"     // what the config says of profiles and priors
	AboutPhysics   = "physics"   // what was found is unlike a lens and its source
)

// DoubtKind is a row of DoubtKinds.
type DoubtKind int

// The kinds of doubts. Those that the record of a run adds are exported.
const (
	outOfSteps DoubtKind = iota
	stalled
	gainUnknown
	stageError
	startsLost
	rivalUnknown
	fewPixels
	pixelTooLarge
	flatImage
	skyLevel
	noiseUnderstated
	darkImage
	signTurned
	noSignal
	noArcs
	noiseScale
	rivalLens
	Undetermined
	fixedBelowNoise
	sourceDark
	misfitImage
	misfitSource
	unexplainedLight
	arcsMissed
	arcsMisfit
	radiusOfSource
	radiusHeld
	faintLensLight
	priorEdge
	OnBound
	modelError
	NotFinite
	NotComputed
	oneImage
	faintImage
	magnification
	unlikelyLens
	doubtKinds
)

// DoubtKinds are the codes of doubts, which stay what they are from one version to the next, what each is about and when it is
// raised. docs/verdict.md has the same table, which a test writes with -update.
var DoubtKinds = [doubtKinds]struct{ Code, About, When string }{
	outOfSteps:   {"out_of_steps", AboutOptimiser, "The last climb, by Levenberg-Marquardt or Adam, was stopped by its limit of steps before its maximum. Value: by how much a full Newton step would still raise the log posterior."},
	stalled:      {"stalled", AboutOptimiser, "The last climb found no way up any more, though the curvature promises one. Value: as for out_of_steps."},
	gainUnknown:  {"gain_unknown", AboutOptimiser, "What a full Newton step would still gain at the end of the last climb cannot be computed."},
	stageError:   {"stage_error", AboutOptimiser, "A part of the search met an error and was left out; the rest went on without it."},
	startsLost:   {"starts_lost", AboutOptimiser, "Most of the starts drawn from the priors could not be computed. Value: how many."},
	rivalUnknown: {"rival_unknown", AboutOptimiser, "Another lens was found and cannot be compared with the one given."},

	fewPixels:        {"few_pixels", AboutData, "There are too few used pixels for the number of free parameters. Value: used pixels."},
	pixelTooLarge:    {"pixel_too_large", AboutData, "A pixel is beyond what 16 digits can tell apart. Value: the pixel over its noise."},
	flatImage:        {"flat_image", AboutData, "Every used pixel has the same value."},
	skyLevel:         {"sky_level", AboutData, "The image stands on a level that the model's sky cannot follow. Value: the level."},
	noiseUnderstated: {"noise_understated", AboutData, "The noise of neighbouring pixels is far larger than stated. Value: by which factor."},
	darkImage:        {"dark_image", AboutData, "The image lies below the model's sky. Value: its level."},
	signTurned:       {"sign_turned", AboutData, "What stands out in the image is darker than its surroundings."},
	noSignal:         {"no_signal", AboutData, "Nothing in the image stands out of the noise. Value: the highest mean of pixels, in standard deviations."},
	noArcs:           {"no_arcs", AboutData, "Nothing in the image stands out of the light of the lens."},
	noiseScale:       {"noise_scale", AboutData, "Reduced χ² where no source shines is too large for the noise map alone to be off. Value: it."},
	rivalLens:        {"rival_lens", AboutData, "Another lens does nearly as well. Value: by how much its log posterior is lower."},
	Undetermined:     {"undetermined", AboutData, "The data do not determine a free parameter."},

	fixedBelowNoise:  {"fixed_below_noise", AboutModel, "The config fixes the source at a brightness below the noise. Value: its brightest point over the noise."},
	sourceDark:       {"source_dark", AboutModel, "The model has no light of the source above the noise."},
	misfitImage:      {"misfit_image", AboutModel, "Reduced χ² of the image is larger than the pixels without source allow. Value: it."},
	misfitSource:     {"misfit_source", AboutModel, "Reduced χ² where the source shines is larger than the pixels without source allow. Value: it."},
	unexplainedLight: {"unexplained_light", AboutModel, "Patches of light are not explained. Value: how many."},
	arcsMissed:       {"arcs_missed", AboutModel, "Too little of the arcs is explained, where the lens shines, too. Value: which share."},
	arcsMisfit:       {"arcs_misfit", AboutModel, "χ² of a pixel where the source shines is far larger than elsewhere. Value: by which factor."},
	radiusOfSource:   {"radius_of_source", AboutModel, "The Einstein radius hangs on how the source is described. Value: the relative difference of the two."},
	radiusHeld:       {"radius_held", AboutModel, "The Einstein radius was held between those of two descriptions of the source."},
	faintLensLight:   {"faint_lens_light", AboutModel, "The model's lens hardly shines, as where its light was subtracted before."},
	priorEdge:        {"prior_edge", AboutModel, "A parameter ended at the edge of its prior. Value: standard deviations of the prior from its centre."},
	OnBound:          {"on_bound", AboutModel, "A parameter sits on a bound of its prior. Value: the parameter."},
	modelError:       {"model_error", AboutModel, "The model at the maximum cannot be drawn."},
	NotFinite:        {"not_finite", AboutModel, "A number that the verdict looks at is not finite."},
	NotComputed:      {"not_computed", AboutModel, "The fit could not be computed: status is failed."},

	oneImage:      {"one_image", AboutPhysics, "The brightest point of the source is seen once only. Value: how often."},
	faintImage:    {"faint_image", AboutPhysics, "The second image of the source does not stand out. Value: its signal to noise."},
	magnification: {"magnification", AboutPhysics, "The source is hardly magnified. Value: its magnification."},
	unlikelyLens:  {"unlikely_lens", AboutPhysics, "A parameter of the lens is unlike what its prior holds likely. Value: standard deviations of the prior from its centre."},
}

// none is a value or a limit where there is none.
var none = math.NaN()

// NewDoubt makes a doubt of a kind. value and limit are NaN where there are none.
func NewDoubt(kind DoubtKind, value, limit float64, format string, args ...any) Doubt {
	k := DoubtKinds[kind]
	return Doubt{Code: k.Code, About: k.About, Value: term.JSONFloat(value), Limit: term.JSONFloat(limit), Text: fmt.Sprintf(format, args...)}
}

// Doubts are reasons, the weightiest first.
type Doubts []Doubt

// Reason is their texts in a sentence, "" where there are none.
func (d Doubts) Reason() string {
	if len(d) == 0 {
		return ""
	}
	texts := make([]string, len(d))
	for i := range d {
		texts[i] = d[i].Text
	}
	out := texts[0]
	if len(texts) > 1 {
		out += "; also: " + strings.Join(texts[1:], "; ")
	}
	return out
}

func (d *Doubts) add(kind DoubtKind, value, limit float64, format string, args ...any) {
	*d = append(*d, NewDoubt(kind, value, limit, format, args...))
}

// finite tells whether v is a finite number, and adds a doubt where it is not: such a number passes no comparison and fails
// none.
func (d *Doubts) finite(what string, v float64) bool {
	if term.Finite(v) {
		return true
	}
	d.add(NotFinite, v, none, "%s is not a finite number", what)
	return false
}

// climb says what speaks against the end of a climb. A full Newton step may promise no more than limit where the climb ended
// by itself, and no more than Levenberg-Marquardt stops at, tolerance, where its steps were used up. Where χ² does not count,
// a climb that has stalled has found all that it can.
func (d *Doubts) climb(end *StageEnd, limit, tolerance float64, followed bool) {
	switch {
	case !term.Finite(end.Gain) || end.Gain >= math.MaxFloat64:
		d.add(gainUnknown, none, limit, "what a full step would still raise the log posterior by cannot be computed where the climb ended")
	case end.Status == samplers.OutOfSteps && end.Gain > tolerance:
		d.add(outOfSteps, end.Gain, tolerance, "the climb was stopped by its limit of steps where a full step still promises to raise the log posterior by %.3g", end.Gain)
	case end.Gain > limit && followed:
		d.add(stalled, end.Gain, limit, "the climb stalled where a full step still promises to raise the log posterior by %.3g", end.Gain)
	}
}

// leftOut notes that a part of the search was left out because of err, for the verdict to tell. The note is kept in the record,
// so that a search that was stopped tells it, too. The caller must not hold the lock of the search.
func (c *Climber) leftOut(part string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(NewDoubt(stageError, none, none, "a part of the search was left out (%s): %s", part, term.OneLine(err.Error())))
}

// note adds a doubt to the record, once. The caller holds the lock of the search or is alone.
func (c *Climber) note(d Doubt) {
	if !slices.ContainsFunc(c.Saved.Doubts, func(o Doubt) bool { return o.Text == d.Text }) {
		c.Saved.Doubts = append(c.Saved.Doubts, d)
	}
}

// noted are the doubts in the record, in an order that does not hang on which of the climbs side by side came first.
func (c *Climber) noted() Doubts {
	out := slices.Clone(c.Saved.Doubts)
	slices.SortFunc(out, func(a, b Doubt) int { return strings.Compare(a.Text, b.Text) })
	return out
}

// noteStarts notes where more than half of the starts could not be computed.
func (c *Climber) noteStarts(ends []*StageEnd) {
	lost := 0
	for _, e := range ends {
		if e.LogProb == -math.MaxFloat64 || !term.Finite(e.LogProb) {
			lost++
		}
	}
	if 2*lost > len(ends) {
		c.note(NewDoubt(startsLost, float64(lost), 0.5*float64(len(ends)), "%d of %d starts could not be computed", lost, len(ends)))
	}
}

// errNoEvidence says that for no lens of a climb the evidence is a number.
var errNoEvidence = errors.New("its evidence is not a finite number")

// broken is the error of a minimiser but for that which says that its evaluations are used up, as they are meant to be.
func broken(res *optimize.Result, err error) error {
	if res != nil && res.Status == optimize.FunctionEvaluationLimit {
		return nil
	}
	return err
}
