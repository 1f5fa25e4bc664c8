package config

import (
	"reflect"
	"strings"
	"testing"

	"lenskit/physics"
)

func TestNoiseAndMasksAreWrittenAsTheyAreRead(t *testing.T) {
	for _, text := range []string{
		"data: {noise: {exposure: 500, background: 0.01}}",
		"data: {noise: {exposure: exp.fits, background: 'b g.fits[RMS]', gain: 2.5}}",
		"data: {noise: 0.1, psf: {file: psf.fits, supersampling: 3}, supersampling: 6}",
		"data: {noise: n.fits, psf: {gaussian: 0.05, supersampling: 2}}",
		"data: {supersampling: {adaptive: 4}}",
		"data: {psf: {gaussian: 0.1, supersampling: 2}, supersampling: {adaptive: 6, tolerance: 0.03}}",
		"noise_scale: {lognormal: [0.1, 0.2], truth: 1.3, init: 1}",
		"noise_scale: {fixed: 2}",
		"likelihood: {student_t: {nu: 3.5}}",
		"data: {mask: {annulus: [0, 2], center: [1, -1]}}",
		"data: {mask: {neighbours: auto}}",
		"data: {mask: {neighbours: {beyond: 2, threshold: 8, margin: 0.3}}}",
		"data: {mask: [{circle: 3}, {file: bad.fits}, {not: {box: [1, 2], center: [2, 2]}}, {neighbours: auto}]}",
		"data: {mask: {any: [{circle: 1}, {not: {all: [{circle: 3}, {any: [{box: [1, 1]}]}]}}]}}",
	} {
		c, err := Parse("dir/c.yaml", []byte(text+"\nlens: [{type: sis}]"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("dir/c.yaml", []byte(c.Text("dir")))
		if err != nil {
			t.Fatalf("%v in\n%s", err, c.Text("dir"))
		}
		c.Where, back.Where = nil, nil
		if !reflect.DeepEqual(c, back) {
			t.Errorf("%s: got\n%s", text, c.Text("dir"))
		}
	}
	// defaults
	c, err := Parse("c.yaml", []byte("noise_scale: {}\nlikelihood: student_t\nlens: [{type: sis}]"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Data.Supersampling != 1 {
		t.Errorf("got supersampling %d", c.Data.Supersampling)
	}
	if p := c.NoiseScale; c.StudentT != defaultNu || p.Family != physics.FamilyLogNormal || p.A != 0 || p.B != 0.3 {
		t.Errorf("got ν = %g, noise_scale %+v", c.StudentT, p)
	}
}

func TestBadNoiseAndMasksAreRefused(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"data: {noise: -1}", "data.noise: found -1, expected a standard deviation above 0 or a FITS path"},
		{"data: {noise: {exposure: 500}}", "data.noise: has no background"},
		{"data: {noise: {background: 1}}", "data.noise: has no exposure"},
		{"data: {noise: {exposure: 0, background: 1}}", "data.noise.exposure: found 0, expected seconds above 0"},
		{"data: {noise: {exposure: 1, background: 1, gain: -1}}", "data.noise.gain: found -1"},
		{"data: {noise: {exposur: 1}}", `did you mean "exposure"?`},
		{"data: {noise: [1]}", "data.noise: found a list, expected a number"},
		{"data: {psf: {supersampling: 2}}", "data.psf: expected either gaussian or file"},
		{"data: {psf: {gaussian: 1, file: a}}", "data.psf: expected either gaussian or file"},
		{"data: {psf: {gaussian: 1, supersampling: 0}}", "expected a whole number from 1 to 16"},
		{"data: {psf: {gaussian: 1, supersampling: 2}, supersampling: 3}", "data.supersampling: found 3, expected a multiple of the PSF's 2"},
		{"data: {psf: {gaussian: 1, supersampling: 2}, supersampling: {adaptive: 5}}", "data.supersampling: found 5, expected a multiple of the PSF's 2"},
		{"data: {supersampling: {}}", "data.supersampling: has no adaptive"},
		{"data: {supersampling: {adaptive: 33}}", "data.supersampling.adaptive: found \"33\", expected a whole number from 1 to 32"},
		{"data: {supersampling: {adaptive: 4, tolerance: 0}}", "data.supersampling.tolerance: found 0, expected an error in units of the noise above 0"},
		{"data: {supersampling: {adaptiv: 4}}", `did you mean "adaptive"?`},
		{"noise_scale: {normal: [-1, 1]}", "the centre -1 of the prior is outside the range"},
		{"noise_scale: 1", "expected a prior"},
		{"likelihood: student", `likelihood: found "student", expected gaussian or student_t`},
		{"likelihood: {student_t: {nu: 0.5}}", "expected 1 to 1000 degrees of freedom"},
		{"data: {mask: []}", "data.mask: found no region"},
		{"data: {mask: {any: 3}}", "expected a list"},
		{"data: {mask: {not: [3]}}", `data.mask.not[0]: found "3", expected a mapping`},
		{"data: {mask: {circle: 1, box: [1, 1]}}", "stands beside circle"},
		{"data: {mask: {all: [{circle: 1}], center: [1, 1]}}", "data.mask: expected one of circle"},
		{"data: {mask: {neighbours: many}}", `data.mask.neighbours: found "many", expected auto`},
		{"data: {mask: {neighbours: {beyond: 0}}}", "found 0, expected a number above 0"},
		{"data: {mask: " + strings.Repeat("{not: ", 30) + "{circle: 1}" + strings.Repeat("}", 30) + "}", "more than 16 regions"},
	} {
		_, err := Parse("c.yaml", []byte(row.text+"\nlens: [{type: sis}]"))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.text, err, row.want)
		}
	}
}
