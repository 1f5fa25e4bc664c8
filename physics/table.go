package physics

import (
	"fmt"
	"strings"
)

// lensTable lists the mass profiles: the name in a config and the constructor.
var lensTable = []struct {
	kind string
	make func() Lens
}{
	{"sple", func() Lens { return newSPLE() }},
	{"epl", func() Lens { return newEPL() }},
	{"sie", func() Lens { return newSIE() }},
	{"sis", func() Lens { return newSIS() }},
	{"point_mass", func() Lens { return newPointMass() }},
	{"shear", func() Lens { return &shear{} }},
	{"convergence", func() Lens { return &convergence{} }},
	{"nfw", func() Lens { return newNFW() }},
	{"tnfw", func() Lens { return newTNFW() }},
	{"nie", func() Lens { return newNIE() }},
	{"nfw_ellipse_cse", func() Lens { return newNFWCSE() }},
	{"nfw_ellipse_potential", func() Lens { return newNFWPotential() }},
	{"multipole3", func() Lens { return newMultipole("multipole3", 3) }},
	{"multipole4", func() Lens { return newMultipole("multipole4", 4) }},
}

// lightTable lists the light profiles.
var lightTable = []struct {
	kind string
	make func() Light
}{
	{"sersic", func() Light { return newSersic() }},
	{"core_sersic", func() Light { return newCoreSersic() }},
	{"gaussian", func() Light { return newGaussian() }},
	{"mge", func() Light { return newMGE() }},
}

// NewLens makes the mass profile of that name. It has no parameters yet: call Set before anything else.
func NewLens(kind string) (Lens, error) {
	for _, row := range lensTable {
		if row.kind == kind {
			return row.make(), nil
		}
	}
	return nil, fmt.Errorf("physics: lens: found type %q, expected one of %s", kind, strings.Join(LensKinds(), ", "))
}

// NewLight makes the light profile of that name. It has no parameters yet: call Set before anything else.
func NewLight(kind string) (Light, error) {
	for _, row := range lightTable {
		if row.kind == kind {
			return row.make(), nil
		}
	}
	return nil, fmt.Errorf("physics: light: found type %q, expected one of %s", kind, strings.Join(LightKinds(), ", "))
}

// LensKinds names the mass profiles.
func LensKinds() []string {
	names := make([]string, len(lensTable))
	for i, row := range lensTable {
		names[i] = row.kind
	}
	return names
}

// LightKinds names the light profiles.
func LightKinds() []string {
	names := make([]string, len(lightTable))
	for i, row := range lightTable {
		names[i] = row.kind
	}
	return names
}
