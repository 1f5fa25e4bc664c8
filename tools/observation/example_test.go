package observation_test

import (
	"fmt"

	"lenskit/tools/config"
	"lenskit/tools/observation"
)

// What a config says of its data, read and checked. Without an image, as for a mock, the pixels are zero.
func Example() {
	cfg, err := config.Parse("lens.yaml", []byte(`
data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}, mask: {circle: 1.5}}
lens: [{type: sis}]
source: [{type: sersic}]
`))
	if err != nil {
		panic(err)
	}
	obs, err := observation.Read(cfg)
	if err != nil {
		panic(err)
	}
	used := 0
	for _, ok := range obs.Mask {
		if ok {
			used++
		}
	}
	fmt.Printf("%d x %d pixels of %g arcsec, %d of them used\n", obs.W, obs.H, obs.Scale, used)
	// Output: 40 x 40 pixels of 0.1 arcsec, 716 of them used
}
