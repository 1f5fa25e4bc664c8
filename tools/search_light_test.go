package tools

import (
	"math"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/internal/testkit"
)

func TestMGELeavesTheArc(t *testing.T) {
	galaxy, o := testkit.GalaxyWithArc(t)
	x0, y0 := o.BrightCentre()
	fit, image, err := o.FitMGE(x0, y0, config.DefaultSettings().LightError)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "centre x", fit.X0, 0.03, 0.02, 1)
	check.Close(t, "centre y", fit.Y0, -0.02, 0.02, 1)
	worst := 0.0
	for k, v := range galaxy {
		if o.Mask[k] {
			worst = math.Max(worst, math.Abs(image[k]-v)/(0.01+0.04*v))
		}
	}
	if worst > 3 {
		t.Errorf("the light is off by %.1f times 0.01 and 4 %% of the galaxy, want at most 3", worst)
	}
	at := 40*o.W + 40 + int(math.Round(1.3/o.Scale))
	if left := o.Data[at] - image[at]; left < 0.2 {
		t.Errorf("%.3f of the arc's 0.3 is left", left)
	}
}
