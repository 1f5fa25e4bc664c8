package config

import (
	"lenskit/physics"
)

// KindNames lists the types that a component of a group may have.
func KindNames(group string) []string {
	if group == "lens" {
		return physics.LensKinds()
	}
	kinds := append([]string{"decoder"}, physics.LightKinds()...)
	if group == "source" {
		kinds = append(kinds, TypePixels)
	}
	return kinds
}

// kindParams lists the parameters of a type that KindNames lists.
func kindParams(group, kind string) []physics.Param {
	if kind == "decoder" {
		return decoderParams()
	}
	if group == "lens" {
		l, err := physics.NewLens(kind)
		if err != nil {
			return nil
		}
		return l.Params()
	}
	l, err := physics.NewLight(kind)
	if err != nil {
		return nil
	}
	return l.Params()
}
