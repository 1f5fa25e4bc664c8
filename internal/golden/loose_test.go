package golden

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"
)

// Loosely held figures may be shaded a little otherwise anywhere, and be others in some pixels; the rest may not differ at all.
func TestLooseFigures(t *testing.T) {
	figure := func(shade uint8, others int) []byte {
		img := image.NewGray(image.Rect(0, 0, 20, 20))
		for k := range img.Pix {
			img.Pix[k] = 100 + shade
			if k < others {
				img.SetGray(k%20, k/20, color.Gray{Y: 255})
			}
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, row := range []struct {
		shade  uint8
		others int
		may    int
		same   bool
	}{
		{0, 0, 0, true}, {1, 0, 0, false}, {0, 1, 0, false},
		{32, 0, 40, true}, {33, 0, 40, false}, {0, 40, 40, true}, {0, 41, 40, false}, {32, 40, 40, true},
	} {
		if why := differPixels(figure(0, 0), figure(row.shade, row.others), row.may); (why == "") != row.same {
			t.Errorf("%+v: got %q", row, why)
		}
	}
}
