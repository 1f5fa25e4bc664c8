package config_test

import (
	"fmt"

	"lenskit/tools/config"
)

// Read a config and look at its priors; a config that cannot be is refused with the place in it.
func Example() {
	cfg, err := config.Parse("lens.yaml", []byte(`
data: {size: 48, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sis, priors: {theta_E: {normal: [1.2, 0.1]}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {n: {fixed: 1}}}
`))
	if err != nil {
		panic(err)
	}
	for _, c := range cfg.Components() {
		for i := range c.Params {
			if p := &c.Params[i]; !p.Prior.IsFixed() {
				fmt.Println(c.NameOf(p, 0), p.Prior.Family)
			}
		}
	}
	_, err = config.Parse("lens.yaml", []byte("data: {size: 48, pixel_scale: -1}\n"))
	fmt.Println(err)
	// Output:
	// lens.sis.theta_E normal
	// source.sersic.amp lognormal
	// source.sersic.r_sersic lognormal
	// source.sersic.e1 normal
	// source.sersic.e2 normal
	// source.sersic.center_x normal
	// source.sersic.center_y normal
	// lens.yaml:1:31: data.pixel_scale: found -1, expected arcsec per pixel above 0
}
