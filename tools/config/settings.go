package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Settings are the numbers of the search for the maximum a posteriori (package search, decision 0005): what each is, in which
// unit, and why it is what it is. Tags hold the key of the config, the unit, the default, and the least and the largest value.
// docs/search.md has a row of each, which a test writes with -update.
//
// Steps and numbers of starts are budgets. What the search does with these numbers is measured in docs/accuracy.md on mocks, and
// in docs/lenses.md on published lenses.
type Settings struct {
	// Images of the stages: their sides.

	// CoarseSide is the side of the image that draws from the priors are climbed on: small, since they are many.
	CoarseSide int `json:"coarse_side" unit:"pixels" default:"64" range:"8,1024"`
	// MiddleSide is the side of the image with which the decoder is put below a lens, before all is climbed at full size.
	MiddleSide int `json:"middle_side" unit:"pixels" default:"128" range:"8,4096"`
	// LightSide is the side of the image that the lens's light is measured on, where the lens shines.
	LightSide int `json:"light_side" unit:"pixels" default:"100" range:"8,1024"`

	// Starts and the climbs from them with simple sources.

	// DrawReach is where draws from the priors are cut, from their centres.
	DrawReach float64 `json:"draw_reach" unit:"σ" default:"2" range:"0.1,5"`
	// AmplitudeReach is the most that a fitted amplitude may be from the centre of its prior: beyond, the start's shape is wrong.
	AmplitudeReach float64 `json:"amplitude_reach" unit:"σ" default:"2.5" range:"0.1,5"`
	// DrawSteps are the Levenberg-Marquardt steps from each draw: they tell the promising ones.
	DrawSteps int `json:"draw_steps" unit:"steps" default:"12" range:"1,10000"`
	// KeepOneIn is the number of draws of which one, the best, is climbed further.
	KeepOneIn int `json:"keep_one_in" unit:"draws" default:"3" range:"1,1000"`
	// KeptSteps are the steps of these.
	KeptSteps int `json:"kept_steps" unit:"steps" default:"30" range:"1,10000"`
	// KeptFall is how far below the best end others are kept, for all pixels: 0.4 is a χ² half as large again.
	KeptFall float64 `json:"kept_fall" unit:"½ ln χ²" default:"0.4" range:"0,100"`
	// SameLens is the rms difference of deflections below which two ends count as one lens.
	SameLens float64 `json:"same_lens" unit:"arcsec" default:"0.05" range:"0,100"`
	// Lenses are how many that differ go on to the decoder, which takes most of the time.
	Lenses int `json:"lenses" unit:"lenses" default:"2" range:"1,100"`
	// PeakRatio is a galaxy's peak, seen through pixels, over its brightness at the half-light radius: it turns the prior of a
	// decoder's brightness into a Sersic profile's.
	PeakRatio float64 `json:"peak_ratio" unit:"1" default:"5" range:"0.1,1000"`
	// FrameOffset is the standard deviation of a galaxy's centre from the middle of its decoder's frame.
	FrameOffset float64 `json:"frame_offset" unit:"arcsec" default:"0.15" range:"0,10"`
	// LeastGain is what the full step of a climb that ends promises at most, Patience times in a row.
	LeastGain float64 `json:"least_gain" unit:"log posterior" default:"1e-3" range:"0,1000"`
	// LeastGainLight is the same where the lens shines: profiles, not the noise, limit the fit there.
	LeastGainLight float64 `json:"least_gain_light" unit:"log posterior" default:"0.1" range:"0,1000"`
	// Patience is how many such steps in a row end a climb.
	Patience int `json:"patience" unit:"steps" default:"3" range:"1,1000"`

	// The decoder below the lens, from the image traced back into its frame.

	// FrameWidths are the widths of the decoder's frame that are tried, evenly in the logarithm over what the prior holds likely;
	// every second where the lens shines.
	FrameWidths int `json:"frame_widths" unit:"widths" default:"5" range:"3,100"`
	// GuessWeight is the weight of the simple source in a traced-back pixel, over the typical weight of the light that arrives there.
	GuessWeight float64 `json:"guess_weight" unit:"1" default:"0.3" range:"0,100"`
	// SourceSteps are the steps of a source below the fixed lens; their ends rank the widths.
	SourceSteps int `json:"source_steps" unit:"steps" default:"8" range:"1,10000"`
	// FramesKept are how many of the widths are climbed with the lens free.
	FramesKept int `json:"frames_kept" unit:"widths" default:"2" range:"1,100"`
	// JointSteps are the steps of these.
	JointSteps int `json:"joint_steps" unit:"steps" default:"25" range:"1,10000"`
	// FrameNarrower is a narrower frame than what was found, tried once more through the better lens.
	FrameNarrower float64 `json:"frame_narrower" unit:"of the width" default:"0.75" range:"0.1,1"`
	// FrameWider is a wider one.
	FrameWider float64 `json:"frame_wider" unit:"of the width" default:"1.3" range:"1,10"`

	// Full size.

	// FullSizeGap is how far below the best a lens still goes on to full size, where alone closer ones are told apart.
	FullSizeGap float64 `json:"full_size_gap" unit:"log posterior" default:"30" range:"0,1e6"`
	// PolishSteps are Adam steps in coordinates whitened by the Gauss-Newton matrix, which go on where Levenberg-Marquardt stalls on a
	// kink.
	PolishSteps int `json:"polish_steps" unit:"steps" default:"400" range:"1,1000000"`
	// PolishRate is the size of the first of them: whitened, unit steps are standard deviations.
	PolishRate float64 `json:"polish_rate" unit:"σ" default:"0.3" range:"1e-6,10"`
	// PolishFinal is the last over the first.
	PolishFinal float64 `json:"polish_final" unit:"1" default:"0.05" range:"1e-6,1"`
	// PolishMemory is Adam's β₂ there, shorter than its usual 0.999.
	PolishMemory float64 `json:"polish_memory" unit:"1" default:"0.99" range:"0,0.999999"`
	// PolishWindow is how many steps that have gained no more than PolishGain end it.
	PolishWindow int `json:"polish_window" unit:"steps" default:"150" range:"1,1000000"`
	// PolishGain is the gain that PolishWindow is about.
	PolishGain float64 `json:"polish_gain" unit:"log posterior" default:"0.5" range:"0,1000"`
	// AdamRate is the first step of `--optimizer adam` (Kingma & Ba 2015), which does not whiten.
	AdamRate float64 `json:"adam_rate" unit:"σ of the prior" default:"0.05" range:"1e-6,10"`
	// AdamFinal is the last over the first.
	AdamFinal float64 `json:"adam_final" unit:"1" default:"0.02" range:"1e-6,1"`
	// AdamWindow is how many steps, or a tenth of its iterations where that is more, that have gained no more than AdamGain end it.
	AdamWindow int `json:"adam_window" unit:"steps" default:"500" range:"1,1000000"`
	// AdamGain is the gain that AdamWindow is about.
	AdamGain float64 `json:"adam_gain" unit:"log posterior" default:"0.1" range:"0,1000"`

	// The light of the lens, and the arcs above it.

	// LightStarts are the draws of the lens's light.
	LightStarts int `json:"light_starts" unit:"draws" default:"3" range:"1,1000"`
	// LightSteps are the steps of each.
	LightSteps int `json:"light_steps" unit:"steps" default:"20" range:"1,10000"`
	// LightError is added to the noise: profiles follow the light of elliptical galaxies no better.
	LightError float64 `json:"light_error" unit:"of the lens's light" default:"0.02" range:"0,10"`
	// ArcError is added to the noise: a Sersic source follows a galaxy no better, and bright knots must not outweigh a faint second
	// image.
	ArcError float64 `json:"arc_error" unit:"of the arcs" default:"0.5" range:"0,10"`
	// SimpleShear is the largest standard deviation of the shear's prior below simple sources, which put into the shear what they
	// lack.
	SimpleShear float64 `json:"simple_shear" unit:"1" default:"0.03" range:"1e-6,10"`
	// SimpleRadius is the largest half-light radius of simple sources: galaxies are no larger.
	SimpleRadius float64 `json:"simple_radius" unit:"arcsec" default:"1" range:"0.01,100"`
	// ArcStarts is the least number of draws of lens and source, their Einstein radii spread evenly over the prior.
	ArcStarts int `json:"arc_starts" unit:"draws" default:"48" range:"1,100000"`
	// ArcLenses are how many of their ends that differ are joined with the light.
	ArcLenses int `json:"arc_lenses" unit:"lenses" default:"4" range:"1,100"`
	// LensLightSteps are the steps of those.
	LensLightSteps int `json:"lens_light_steps" unit:"steps" default:"20" range:"1,10000"`

	// The pixelised source and its inversion (Warren & Dye 2003; Suyu et al. 2006).

	// InversionSide is the side of the image that is inverted: the cost of an evidence grows with its pixels.
	InversionSide int `json:"inversion_side" unit:"pixels" default:"72" range:"8,512"`
	// SourceNodes are the nodes along a side of the pixelised source: by default 0.1 arcsec apart.
	SourceNodes int `json:"source_nodes" unit:"nodes" default:"21" range:"5,51"`
	// SourceReach is how far the outermost nodes are from its centre.
	SourceReach float64 `json:"source_reach" unit:"arcsec" default:"1" range:"0.01,100"`
	// SourceContrast is the standard deviation of its second differences at first.
	SourceContrast float64 `json:"source_contrast" unit:"of the brightest arc" default:"0.05" range:"1e-6,100"`
	// InversionRays are the rays along the side of a pixel.
	InversionRays int `json:"inversion_rays" unit:"rays" default:"2" range:"1,8"`
	// InversionError is added to the noise, of the light above the lens's: nodes and rays are coarse.
	InversionError float64 `json:"inversion_error" unit:"of the arcs" default:"0.1" range:"0,10"`
	// MGEError is by how much each Gaussian of the lens's light may be off.
	MGEError float64 `json:"mge_error" unit:"of the lens's light" default:"0.1" range:"1e-6,10"`
	// SkyError is by how much the sky under it may be.
	SkyError float64 `json:"sky_error" unit:"σ of a pixel" default:"0.3" range:"1e-6,100"`
	// OriginSNR is the signal to noise above which the light of a pixel tells where the source is.
	OriginSNR float64 `json:"origin_snr" unit:"1" default:"3" range:"0,1000"`
	// RadiusReach is how far on both sides of an Einstein radius others are tried.
	RadiusReach float64 `json:"radius_reach" unit:"of the Einstein radius" default:"0.15" range:"0,0.9"`
	// RadiusTrials are how many of them.
	RadiusTrials int `json:"radius_trials" unit:"radii" default:"5" range:"2,1000"`
	// SimplexSteps are the evidences of a simplex (Nelder & Mead 1965) from each lens found with simple sources.
	SimplexSteps int `json:"simplex_steps" unit:"evaluations" default:"40" range:"1,100000"`
	// PriorLensSteps are the evidences from each lens as its priors have it.
	PriorLensSteps int `json:"prior_lens_steps" unit:"evaluations" default:"120" range:"1,100000"`
	// BestSteps are the evidences once more from the best.
	BestSteps int `json:"best_steps" unit:"evaluations" default:"120" range:"1,100000"`
	// BestLenses is how many those are.
	BestLenses int `json:"best_lenses" unit:"lenses" default:"2" range:"1,100"`
	// SimplexSize is the side of the first simplex, in LensUnit and RadiusUnit.
	SimplexSize float64 `json:"simplex_size" unit:"1" default:"0.5" range:"1e-3,10"`
	// LensUnit is the unit of a parameter of the lens in the simplex.
	LensUnit float64 `json:"lens_unit" unit:"σ of the prior" default:"0.6" range:"1e-3,10"`
	// RadiusUnit is the unit of an Einstein radius there, which arcs tell best.
	RadiusUnit float64 `json:"radius_unit" unit:"σ of the prior" default:"0.1" range:"1e-3,10"`
	// SamePriorLens is the rms difference of deflections below which two lenses as their priors have them are one.
	SamePriorLens float64 `json:"same_prior_lens" unit:"arcsec" default:"0.15" range:"0,100"`
	// RivalGap is how far below the best lens of a pixelised source another still goes on to the decoder.
	RivalGap float64 `json:"rival_gap" unit:"log posterior" default:"25" range:"0,1e6"`
	// OtherRadius is the difference of ln θ_E from which two lenses are not variants of one: then the radius of the pixelised source
	// is held, else what lies halfway.
	OtherRadius float64 `json:"other_radius" unit:"ln" default:"0.1" range:"0,10"`

	// Sources of type pixels: climbs of the evidence (decision 0012). They are written where a config has such a source.

	// PixelStarts is the least number of draws from the priors, which are climbed with simple sources.
	PixelStarts int `json:"pixel_starts,omitempty" unit:"draws" default:"128" range:"1,100000"`
	// PixelLenses are how many lenses found with simple sources, which multiply them, go on to the pixelised source.
	PixelLenses int `json:"pixel_lenses,omitempty" unit:"lenses" default:"5" range:"1,100"`
	// PixelSteps are the most that a climb by BFGS takes; 10 to 30 do.
	PixelSteps int `json:"pixel_steps,omitempty" unit:"steps" default:"60" range:"1,100000"`
	// PixelTolerance is the length of a full step that ends one: what is left is small beside the errors.
	PixelTolerance float64 `json:"pixel_tolerance,omitempty" unit:"standard deviations" default:"0.1" range:"1e-6,10"`
	// CoarseKnots is the step of the grids on smaller images, which only have to tell the lenses apart.
	CoarseKnots float64 `json:"coarse_knots,omitempty" unit:"of what is called for" default:"1.6" range:"0.1,10"`
	// PixelGap is how far below the best a lens still goes on from there to full size: coarse grids move evidences by tens.
	PixelGap float64 `json:"pixel_gap,omitempty" unit:"log posterior" default:"40" range:"0,1e6"`
	// PixelBest are how many of these: the best may not be told apart before.
	PixelBest int `json:"pixel_best,omitempty" unit:"lenses" default:"2" range:"1,100"`
	// PixelBoxes are how often the grids are laid out anew at the better lens, at most.
	PixelBoxes int `json:"pixel_boxes,omitempty" unit:"grids" default:"3" range:"1,100"`
	// PixelSame is the rms difference of deflections below which they stay as they are: a tenth of the finest step.
	PixelSame float64 `json:"pixel_same,omitempty" unit:"arcsec" default:"0.003" range:"0,100"`
	// FinerKnots is the step of a grid that is tried next, as long as the evidence rises.
	FinerKnots float64 `json:"finer_knots,omitempty" unit:"of the last" default:"0.8" range:"0.1,0.99"`
	// FinerGain is the least rise of the evidence for which a still finer one is tried.
	FinerGain float64 `json:"finer_gain,omitempty" unit:"log posterior" default:"2" range:"0,1e6"`
	// FinerTrials are how many of these, at most.
	FinerTrials int `json:"finer_trials,omitempty" unit:"grids" default:"3" range:"1,100"`
}

// WithoutPixels is the settings without those that only a source of type pixels reads, which are not written then.
func (s Settings) WithoutPixels() Settings {
	s.PixelStarts, s.PixelLenses, s.PixelSteps, s.PixelTolerance, s.CoarseKnots, s.PixelGap = 0, 0, 0, 0, 0, 0
	s.PixelBest, s.PixelBoxes, s.PixelSame, s.FinerKnots, s.FinerGain, s.FinerTrials = 0, 0, 0, 0, 0, 0
	return s
}

// DefaultSettings are those of a config that does not say otherwise.
func DefaultSettings() (all Settings) {
	for i := range settingList {
		settingList[i].set(&all, settingList[i].Default)
	}
	return all
}

// MarshalJSON writes every setting by its key, in the order of the struct.
func (s Settings) MarshalJSON() ([]byte, error) {
	type plain Settings // whose numbers are finite: a config with others is refused
	return json.Marshal(plain(s))
}

// setting is a field of Settings as its tags describe it.
type setting struct {
	Key, Unit       string
	Default, Lo, Hi float64
	Whole           bool
	field           int
}

// settingList lists the fields of Settings in their order.
var settingList = func() (out []setting) {
	t := reflect.TypeFor[Settings]()
	for i := range t.NumField() {
		f := t.Field(i)
		number := func(text string) float64 {
			v, _ := strconv.ParseFloat(text, 64) // a test reads the tags
			return v
		}
		lo, hi, _ := strings.Cut(f.Tag.Get("range"), ",")
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		s := setting{Key: key, Unit: f.Tag.Get("unit"), Default: number(f.Tag.Get("default")), Lo: number(lo), Hi: number(hi),
			Whole: f.Type.Kind() == reflect.Int, field: i}
		out = append(out, s)
	}
	return out
}()

func (s *setting) set(all *Settings, v float64) {
	f := reflect.ValueOf(all).Elem().Field(s.field)
	if s.Whole {
		f.SetInt(int64(v))
		return
	}
	f.SetFloat(v)
}

// Override is a setting that the config states.
type Override struct {
	Key   string
	Value float64
}

// Settings are those of the search, as the config states them or else by default.
func (c *Config) Settings() Settings {
	all := DefaultSettings()
	for _, o := range c.Search {
		for i := range settingList {
			if s := &settingList[i]; s.Key == o.Key {
				s.set(&all, o.Value)
			}
		}
	}
	return all
}

// searchFields are the keys of search.
var searchFields = func() (m mapping[Config]) {
	for i := range settingList {
		s := &settingList[i]
		f := field[Config]{key: s.Key, value: fmt.Sprintf("a number from %g to %g (unit: %s)", s.Lo, s.Hi, s.Unit)}
		f.read = func(c *Config, e entry) (err error) {
			o := Override{Key: s.Key}
			if s.Whole {
				var v int
				v, err = e.whole(int(s.Lo), int(s.Hi))
				o.Value = float64(v)
			} else if o.Value, err = e.number(); err == nil && (o.Value < s.Lo || o.Value > s.Hi) {
				err = e.fail("found %s, expected %s", e.describe(), f.value)
			}
			c.Search = append(c.Search, o)
			return err
		}
		m = append(m, f)
	}
	return m
}()

// parseSearch reads the settings that a config states.
func (c *Config) parseSearch(n node) error {
	if !n.isMapping() {
		return n.fail("found %s, expected a mapping of settings such as {draw_steps: 12}", n.describe())
	}
	return searchFields.read(c, n, nil)
}

// searchText is the settings that the config states, as lines of YAML behind indent, in its order.
func (c *Config) searchText(indent string) string {
	var b strings.Builder
	for _, o := range c.Search {
		b.WriteString(indent + line(o.Key, yamlNumber(o.Value)))
	}
	return b.String()
}
