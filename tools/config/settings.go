package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Settings are the numbers of the search for the maximum a posteriori (package search, decision 0005): what each is, in which
// unit, and why it is what it is. Tags hold the key of the config, the unit, and the least and the largest value. docs/search.md
// lists all of them.
//
// Steps and numbers of starts are budgets. What the search does with these numbers is measured in docs/accuracy.md on mocks, and
// in docs/lenses.md on published lenses.
type Settings struct {
	// Images of the stages: their sides.

	// CoarseSide is that of the image that draws from the priors are climbed on: small, since they are many.
	CoarseSide int `json:"coarse_side" unit:"pixels" range:"8,1024"`
	// MiddleSide is that of the image with which the decoder is put below the lens, before all is climbed at full size.
	MiddleSide int `json:"middle_side" unit:"pixels" range:"8,4096"`
	// LightSide is that of the image that the lens's light is measured on, where the lens shines.
	LightSide int `json:"light_side" unit:"pixels" range:"8,1024"`

	// Starts and the climbs from them with simple sources.

	// DrawReach is the most standard deviations that a draw may be from the centre of a prior; it is cut there.
	DrawReach float64 `json:"draw_reach" unit:"σ" range:"0.1,5"`
	// AmplitudeReach is the most that a fitted amplitude may be from the centre of its prior; beyond, the start's shape is wrong.
	AmplitudeReach float64 `json:"amplitude_reach" unit:"σ" range:"0.1,5"`
	// DrawSteps are the Levenberg-Marquardt steps from each draw: they tell the promising ones.
	DrawSteps int `json:"draw_steps" unit:"steps" range:"1,10000"`
	// KeepOneIn: one in so many of the draws, the best, is climbed further.
	KeepOneIn int `json:"keep_one_in" unit:"draws" range:"1,1000"`
	// KeptSteps are the steps of these.
	KeptSteps int `json:"kept_steps" unit:"steps" range:"1,10000"`
	// KeptFall is how far below the best end others are kept, in ½ ln χ² of all pixels: 0.4 is a χ² half as large again.
	KeptFall float64 `json:"kept_fall" unit:"½ ln χ²" range:"0,100"`
	// SameLens is the rms difference of deflections below which two ends count as one lens.
	SameLens float64 `json:"same_lens" unit:"arcsec" range:"0,100"`
	// Lenses is how many that differ go on to the decoder, which takes most of the time.
	Lenses int `json:"lenses" unit:"lenses" range:"1,100"`
	// PeakRatio is the peak of a galaxy seen through pixels over its brightness at the half-light radius, by which the prior of
	// a decoder's brightness becomes that of a Sersic profile's.
	PeakRatio float64 `json:"peak_ratio" unit:"1" range:"0.1,1000"`
	// FrameOffset is the standard deviation of a galaxy's centre from the middle of its decoder's frame.
	FrameOffset float64 `json:"frame_offset" unit:"arcsec" range:"0,10"`
	// LeastGain ends a climb whose full step promises no more, so often as Patience says.
	LeastGain float64 `json:"least_gain" unit:"log posterior" range:"0,1000"`
	// LeastGainLight is that where the lens shines: profiles, not the noise, limit the fit there.
	LeastGainLight float64 `json:"least_gain_light" unit:"log posterior" range:"0,1000"`
	// Patience is after how many such steps in a row.
	Patience int `json:"patience" unit:"steps" range:"1,1000"`

	// The decoder below the lens, from the image traced back into its frame.

	// FrameWidths are tried, evenly in the logarithm over what the prior holds likely; where the lens shines, every second.
	FrameWidths int `json:"frame_widths" unit:"widths" range:"3,100"`
	// GuessWeight is that of the simple source in a traced-back pixel, over the typical weight of the light that arrives there.
	GuessWeight float64 `json:"guess_weight" unit:"1" range:"0,100"`
	// SourceSteps fit the source below the fixed lens; their ends rank the widths.
	SourceSteps int `json:"source_steps" unit:"steps" range:"1,10000"`
	// FramesKept is how many of the widths are climbed with the lens free.
	FramesKept int `json:"frames_kept" unit:"widths" range:"1,100"`
	// JointSteps are the steps of these.
	JointSteps int `json:"joint_steps" unit:"steps" range:"1,10000"`
	// FrameNarrower and FrameWider than what was found are tried once more, through the better lens.
	FrameNarrower float64 `json:"frame_narrower" unit:"of the width" range:"0.1,1"`
	FrameWider    float64 `json:"frame_wider" unit:"of the width" range:"1,10"`

	// Full size.

	// FullSizeGap is how far below the best a lens still goes on to full size, where alone closer ones are told apart.
	FullSizeGap float64 `json:"full_size_gap" unit:"log posterior" range:"0,1e6"`
	// PolishSteps are those of Adam in coordinates whitened by the Gauss-Newton matrix, which goes on where Levenberg-Marquardt
	// stalls on a kink.
	PolishSteps int `json:"polish_steps" unit:"steps" range:"1,1000000"`
	// PolishRate is its first step, PolishFinal the factor of the last one; unit steps are standard deviations there.
	PolishRate  float64 `json:"polish_rate" unit:"σ" range:"1e-6,10"`
	PolishFinal float64 `json:"polish_final" unit:"1" range:"1e-6,1"`
	// PolishMemory is Adam's β₂, shorter than its usual 0.999.
	PolishMemory float64 `json:"polish_memory" unit:"1" range:"0,0.999999"`
	// PolishWindow and PolishGain: it ends where so many steps have raised the log posterior by no more than that.
	PolishWindow int     `json:"polish_window" unit:"steps" range:"1,1000000"`
	PolishGain   float64 `json:"polish_gain" unit:"log posterior" range:"0,1000"`
	// AdamRate, AdamFinal, AdamWindow and AdamGain are those of --optimizer adam (Kingma & Ba 2015), which does not whiten. Its
	// window is a tenth of its iterations where that is more.
	AdamRate   float64 `json:"adam_rate" unit:"σ of the prior" range:"1e-6,10"`
	AdamFinal  float64 `json:"adam_final" unit:"1" range:"1e-6,1"`
	AdamWindow int     `json:"adam_window" unit:"steps" range:"1,1000000"`
	AdamGain   float64 `json:"adam_gain" unit:"log posterior" range:"0,1000"`

	// The light of the lens, and the arcs above it.

	// LightStarts draws of the lens's light are climbed, of so many LightSteps.
	LightStarts int `json:"light_starts" unit:"draws" range:"1,1000"`
	LightSteps  int `json:"light_steps" unit:"steps" range:"1,10000"`
	// LightError is added to the noise, of the light of the lens in a pixel: profiles follow elliptical galaxies no better.
	LightError float64 `json:"light_error" unit:"of the lens's light" range:"0,10"`
	// ArcError is added to the noise, of what lies above that light: a Sersic source follows a galaxy no better, and bright
	// knots must not outweigh a faint second image.
	ArcError float64 `json:"arc_error" unit:"of the arcs" range:"0,10"`
	// SimpleShear is the largest standard deviation of the shear's prior below simple sources, which put into the shear what they lack.
	SimpleShear float64 `json:"simple_shear" unit:"1" range:"1e-6,10"`
	// SimpleRadius is the largest half-light radius of simple sources: galaxies are no larger.
	SimpleRadius float64 `json:"simple_radius" unit:"arcsec" range:"0.01,100"`
	// ArcStarts is the least number of draws of lens and source, their Einstein radii spread evenly over the prior.
	ArcStarts int `json:"arc_starts" unit:"draws" range:"1,100000"`
	// ArcLenses of their ends that differ are joined with the light, by so many LensLightSteps.
	ArcLenses      int `json:"arc_lenses" unit:"lenses" range:"1,100"`
	LensLightSteps int `json:"lens_light_steps" unit:"steps" range:"1,10000"`

	// The pixelised source and its inversion (Warren & Dye 2003; Suyu et al. 2006).

	// InversionSide is the side of the image that is inverted: the cost of an evidence grows with its pixels.
	InversionSide int `json:"inversion_side" unit:"pixels" range:"8,512"`
	// SourceNodes along a side of the source, and SourceReach from its centre to the outermost: nodes are
	// 0.1 arcsec apart.
	SourceNodes int     `json:"source_nodes" unit:"nodes" range:"5,51"`
	SourceReach float64 `json:"source_reach" unit:"arcsec" range:"0.01,100"`
	// SourceContrast is the standard deviation of the source's second differences at first, of the brightest arc.
	SourceContrast float64 `json:"source_contrast" unit:"of the brightest arc" range:"1e-6,100"`
	// InversionRays along the side of a pixel.
	InversionRays int `json:"inversion_rays" unit:"rays" range:"1,8"`
	// InversionError is added to the noise, of the light above the lens's: nodes and rays are coarse.
	InversionError float64 `json:"inversion_error" unit:"of the arcs" range:"0,10"`
	// MGEError is by how much each Gaussian of the lens's light may be off, SkyError that of the sky under it.
	MGEError float64 `json:"mge_error" unit:"of the lens's light" range:"1e-6,10"`
	SkyError float64 `json:"sky_error" unit:"σ of a pixel" range:"1e-6,100"`
	// OriginSNR is the signal to noise above which the light of a pixel tells where the source is.
	OriginSNR float64 `json:"origin_snr" unit:"1" range:"0,1000"`
	// RadiusReach on both sides of an Einstein radius others are tried, RadiusTrials in all.
	RadiusReach  float64 `json:"radius_reach" unit:"of the Einstein radius" range:"0,0.9"`
	RadiusTrials int     `json:"radius_trials" unit:"radii" range:"2,1000"`
	// SimplexSteps are the evidences of a simplex (Nelder & Mead 1965) from each lens found with simple sources, PriorLensSteps
	// those from each lens as its priors have it, BestSteps once more those from the best BestLenses.
	SimplexSteps   int `json:"simplex_steps" unit:"evaluations" range:"1,100000"`
	PriorLensSteps int `json:"prior_lens_steps" unit:"evaluations" range:"1,100000"`
	BestSteps      int `json:"best_steps" unit:"evaluations" range:"1,100000"`
	BestLenses     int `json:"best_lenses" unit:"lenses" range:"1,100"`
	// SimplexSize is the side of the first simplex, in units of LensUnit for a parameter of the lens and of RadiusUnit for its
	// Einstein radius, which arcs tell best.
	SimplexSize float64 `json:"simplex_size" unit:"1" range:"1e-3,10"`
	LensUnit    float64 `json:"lens_unit" unit:"σ of the prior" range:"1e-3,10"`
	RadiusUnit  float64 `json:"radius_unit" unit:"σ of the prior" range:"1e-3,10"`
	// SamePriorLens is the rms difference of deflections below which two lenses as their priors have them are one.
	SamePriorLens float64 `json:"same_prior_lens" unit:"arcsec" range:"0,100"`
	// RivalGap is how far below the best lens of a pixelised source another still goes on to the decoder.
	RivalGap float64 `json:"rival_gap" unit:"log posterior" range:"0,1e6"`
	// OtherRadius is the difference in the logarithm of Einstein radii from which two lenses are not variants of one: then the
	// radius of the pixelised source is held, else what lies halfway.
	OtherRadius float64 `json:"other_radius" unit:"ln" range:"0,10"`
}

// DefaultSettings are those of a config that does not say otherwise.
func DefaultSettings() Settings {
	return Settings{
		CoarseSide: 64, MiddleSide: 128, LightSide: 100,

		DrawReach: 2, AmplitudeReach: 2.5, DrawSteps: 12, KeepOneIn: 3, KeptSteps: 30, KeptFall: 0.4, SameLens: 0.05, Lenses: 2,
		PeakRatio: 5, FrameOffset: 0.15, LeastGain: 1e-3, LeastGainLight: 0.1, Patience: 3,

		FrameWidths: 5, GuessWeight: 0.3, SourceSteps: 8, FramesKept: 2, JointSteps: 25, FrameNarrower: 0.75, FrameWider: 1.3,

		FullSizeGap: 30, PolishSteps: 400, PolishRate: 0.3, PolishFinal: 0.05, PolishMemory: 0.99, PolishWindow: 150, PolishGain: 0.5,
		AdamRate: 0.05, AdamFinal: 0.02, AdamWindow: 500, AdamGain: 0.1,

		LightStarts: 3, LightSteps: 20, LightError: 0.02, ArcError: 0.5, SimpleShear: 0.03, SimpleRadius: 1, ArcStarts: 48,
		ArcLenses: 4, LensLightSteps: 20,

		InversionSide: 72, SourceNodes: 21, SourceReach: 1, SourceContrast: 0.05, InversionRays: 2, InversionError: 0.1, MGEError: 0.1,
		SkyError: 0.3, OriginSNR: 3, RadiusReach: 0.15, RadiusTrials: 5, SimplexSteps: 40, PriorLensSteps: 120, BestSteps: 120,
		BestLenses: 2, SimplexSize: 0.5, LensUnit: 0.6, RadiusUnit: 0.1, SamePriorLens: 0.15, RivalGap: 25, OtherRadius: 0.1,
	}
}

// MarshalJSON writes every setting by its key, in the order of the struct.
func (s Settings) MarshalJSON() ([]byte, error) {
	type plain Settings // whose numbers are finite: a config with others is refused
	return json.Marshal(plain(s))
}

// setting is a field of Settings as its tags describe it.
type setting struct {
	Key, Unit string
	Lo, Hi    float64
	Whole     bool
	field     int
}

// settingList lists the fields of Settings in their order.
var settingList = func() (out []setting) {
	t := reflect.TypeFor[Settings]()
	for i := range t.NumField() {
		f := t.Field(i)
		s := setting{Key: f.Tag.Get("json"), Unit: f.Tag.Get("unit"), Whole: f.Type.Kind() == reflect.Int, field: i}
		lo, hi, _ := strings.Cut(f.Tag.Get("range"), ",")
		s.Lo, _ = strconv.ParseFloat(lo, 64) // a test holds the defaults to the ranges
		s.Hi, _ = strconv.ParseFloat(hi, 64)
		out = append(out, s)
	}
	return out
}()

// Value is the setting among all of them.
func (s *setting) Value(all *Settings) float64 {
	v := reflect.ValueOf(all).Elem().Field(s.field)
	if s.Whole {
		return float64(v.Int())
	}
	return v.Float()
}

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
