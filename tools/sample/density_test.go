package sample

import (
	"testing"

	"gonum.org/v1/plot/vg"
	"lenskit/tools/internal/figure"
)

func TestTickLabelsDoNotTouch(t *testing.T) {
	style := textStyle(smallSize, 0, 0)
	for _, c := range [][2]float64{{129803, 129848}, {-0.0205, -0.019}, {1.7895, 1.7955}, {-3, 900}} {
		for length := vg.Points(40); length < vg.Points(400); length += vg.Points(7) {
			v := fewTicks(c[0], c[1], length, true)
			if len(v) == 0 {
				t.Errorf("%v along %v: no ticks", c, length)
			}
			for i := 1; i < len(v); i++ {
				apart := length * vg.Length((v[i]-v[i-1])/(c[1]-c[0]))
				if w := (style.Width(figure.TickText(v[i], c[1]-c[0])) + style.Width(figure.TickText(v[i-1], c[1]-c[0]))) / 2; apart <= w {
					t.Errorf("%v along %v: labels of width %v are %v apart", c, length, w, apart)
				}
			}
		}
	}
}
