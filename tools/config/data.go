package config

import (
	"fmt"
	"strconv"
)

// DataConfig says what was observed. Lengths are in arcsec.
type DataConfig struct {
	Image         string // PATH or PATH[EXT]; "" where a command needs no image
	Size          [2]int // width and height in pixels where there is no image
	Noise         noiseConfig
	PSFSigma      float64
	PSFFile       string // in place of PSFSigma; neither: no PSF
	PSFSampling   int    // pixels of the PSF along an image pixel's side; 0 is 1
	PixelScale    float64
	Supersampling int     // rays per pixel and axis; where there is a Tolerance, the most of them
	Tolerance     float64 // of adaptive supersampling: the error of a pixel in units of its noise; 0: as many rays everywhere
	Mask          MaskConfig
}

// Limits of what a config states.
const (
	MaxSide          = 16384 // pixels along a side of the images that lenskit draws
	MaxPSFSampling   = 16    // pixels of a PSF along a side of the image's
	maxSupersampling = 32    // rays along a pixel's side
)

const defaultTolerance = 0.05 // error, in units of the noise

// dataFields are the keys of data. They go into a Config, which notes where they stand.
var dataFields = mapping[Config]{
	field[Config]{key: "image", value: "PATH or PATH[EXT]", without: "none, for commands that need none",
		help: "FITS image; EXT is the name or the number of an HDU", omit: func(c *Config) bool { return c.Data.Image == "" },
	}.with(func(c *Config, e entry) (err error) {
		if c.Data.Image, err = e.text(); err == nil && c.Data.Image == "" {
			err = e.fail("found an empty path")
		}
		return err
	}, func(c *Config, moved func(string) string) string { return moved(c.Data.Image) }),
	field[Config]{key: "size", value: "the side in pixels, or [width, height]", without: "the image's",
		help: "size of what is drawn where there is no image", omit: func(c *Config) bool { return c.Data.Size[0] <= 0 },
	}.with(func(c *Config, e entry) error { return e.parseSize(&c.Data.Size) },
		func(c *Config, _ func(string) string) string {
			return fmt.Sprintf("[%d, %d]", c.Data.Size[0], c.Data.Size[1])
		}),
	field[Config]{key: "noise", value: sigmaOrFile + ", or a mapping",
		help: "noise of a pixel, in image units", sub: noiseFields, omit: func(c *Config) bool { return c.Data.Noise == (noiseConfig{}) },
	}.with(func(c *Config, e entry) error { return c.Data.Noise.parse(e.node, c.placeValue) },
		func(c *Config, moved func(string) string) string { return c.Data.Noise.text(moved) }),
	field[Config]{key: "psf", value: "a mapping, or none", without: "none",
		help: "point spread function", sub: psfFields, omit: func(c *Config) bool { return c.Data.PSFFile == "" && c.Data.PSFSigma <= 0 },
	}.with(func(c *Config, e entry) error { return c.Data.parsePSF(e.node) },
		func(c *Config, moved func(string) string) string { return psfFields.flow(&c.Data, moved) }),
	field[Config]{key: "pixel_scale", value: "arcsec per pixel above 0", without: "that of the image's header",
		help: "side of a pixel", omit: func(c *Config) bool { return c.Data.PixelScale <= 0 },
	}.number(func(c *Config) *float64 { return &c.Data.PixelScale }, above0),
	field[Config]{key: "supersampling", value: wholeFrom(1, maxSupersampling) + ", or a mapping", without: "the PSF's",
		help: "rays along a pixel's side, a multiple of the PSF's", sub: adaptiveFields, omit: func(c *Config) bool { return c.Data.Tolerance <= 0 && c.Data.Supersampling <= 1 },
	}.with(func(c *Config, e entry) error { return c.Data.parseSupersampling(e.node) },
		func(c *Config, moved func(string) string) string {
			if c.Data.Tolerance > 0 {
				return adaptiveFields.flow(&c.Data, moved)
			}
			return strconv.Itoa(c.Data.Supersampling)
		}),
	field[Config]{key: "mask", value: "a region, or a list of regions that stands for all of them", without: "all pixels",
		help: "pixels that are used", sub: maskFields(0), omit: func(c *Config) bool { return c.Data.Mask.Kind == "" },
	}.with(func(c *Config, e entry) error { return c.Data.Mask.parse(e.node, 0) },
		func(c *Config, moved func(string) string) string { return c.Data.Mask.text(moved) }),
}

// placeValue notes where the value of a key stands.
func (c *Config) placeValue(e entry) { c.Where[e.key] = start(e.n) }

func (c *Config) parseData(n node) error {
	d := &c.Data
	d.Supersampling = 0 // until the PSF's is known
	if err := dataFields.read(c, n, c.placeValue); err != nil {
		return err
	}
	if k := max(d.PSFSampling, 1); d.Supersampling == 0 {
		d.Supersampling = k
	} else if d.Supersampling%k != 0 {
		return c.Fail("data.supersampling", "found %d, expected a multiple of the PSF's %d", d.Supersampling, k)
	}
	return nil
}

func (n node) parseSize(size *[2]int) error {
	if items, err := n.list(); err == nil && len(items) == 2 {
		for i := range size {
			if size[i], err = items[i].whole(1, MaxSide); err != nil {
				return err
			}
		}
		return nil
	}
	v, err := n.whole(1, MaxSide)
	if err != nil {
		return n.fail("found %s, expected the side in pixels, or [width, height]", n.describe())
	}
	*size = [2]int{v, v}
	return nil
}

// psfFields are the keys of data.psf, of which it has gaussian or file.
var psfFields = mapping[DataConfig]{
	field[DataConfig]{key: "gaussian", value: "a standard deviation in arcsec above 0", help: "width of a Gaussian PSF",
		omit: func(d *DataConfig) bool { return d.PSFFile != "" },
	}.number(func(d *DataConfig) *float64 { return &d.PSFSigma }, above0),
	field[DataConfig]{key: "file", value: "PATH or PATH[EXT]", help: "FITS image of the PSF",
		omit: func(d *DataConfig) bool { return d.PSFFile == "" },
	}.path(func(d *DataConfig) *string { return &d.PSFFile }),
	field[DataConfig]{key: "supersampling", without: "1", help: "pixels of the PSF along a side of the image's",
		omit: func(d *DataConfig) bool { return d.PSFSampling <= 1 },
	}.whole(func(d *DataConfig) *int { return &d.PSFSampling }, 1, MaxPSFSampling),
}

func (d *DataConfig) parsePSF(n node) error {
	if s, err := n.text(); err == nil && s == "none" || n.isNull() {
		return nil
	}
	if err := psfFields.read(d, n, nil); err != nil {
		return err
	}
	if (d.PSFFile != "") == (d.PSFSigma > 0) {
		return n.fail("expected either gaussian or file, with supersampling if need be")
	}
	return nil
}

// adaptiveFields are the keys of a data.supersampling that follows the image.
var adaptiveFields = mapping[DataConfig]{
	field[DataConfig]{key: "adaptive", help: "rays along a pixel's side, at the most"}.whole(func(d *DataConfig) *int { return &d.Supersampling }, 1, maxSupersampling),
	field[DataConfig]{key: "tolerance", value: "an error in units of the noise above 0", without: yamlNumber(defaultTolerance), help: "error of a pixel, below which no more rays are traced"}.
		number(func(d *DataConfig) *float64 { return &d.Tolerance }, above0),
}

func (d *DataConfig) parseSupersampling(n node) (err error) {
	if !n.isMapping() {
		d.Supersampling, err = n.whole(1, maxSupersampling)
		return err
	}
	d.Tolerance = defaultTolerance
	if err := adaptiveFields.read(d, n, nil); err != nil {
		return err
	}
	if d.Supersampling == 0 {
		return n.fail("has no adaptive, expected {adaptive: rays along a pixel's side, at the most}")
	}
	return nil
}
