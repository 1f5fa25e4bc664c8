package lensing

import (
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
)

// singularSphere is a singular isothermal sphere of Einstein radius 1.2 at the origin.
func singularSphere(t *testing.T) Sum {
	t.Helper()
	l, err := physics.NewLens("sis")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Set([]float64{1.2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	return Sum{l}
}

func TestImagesOfAnIsothermalSphere(t *testing.T) {
	lens := singularSphere(t)
	// within the Einstein radius: β ± θ_E, magnified by θ_E/β ± 1 (Narayan & Bartelmann 1996, §3.1)
	images := lens.ImagesOf(0.3, 0, 3, 3, 0.02)
	if len(images) != 2 {
		t.Fatalf("got %d images of a point within the Einstein radius, want 2: %v", len(images), images)
	}
	for _, p := range images {
		want, mu := 1.5, 5.0
		if p.X < 0 {
			want, mu = -0.9, 3
		}
		check.Close(t, "x", p.X, want, 0.01, 1)
		check.Close(t, "y", p.Y, 0, 0.02, 1)
		check.Close(t, "magnification", p.Magnification, mu, 0.1, 1)
	}
	if images := lens.ImagesOf(1.4, 0, 3, 3, 0.02); len(images) != 1 {
		t.Errorf("got %d images of a point outside, want 1: %v", len(images), images)
	}
}

func TestEinsteinRadiusIsThatOfTheMass(t *testing.T) {
	check.Close(t, "radius", singularSphere(t).EinsteinRadius(5), 1.2, 1e-6, 1)
	check.Close(t, "radius beyond the image", singularSphere(t).EinsteinRadius(1), 1, 1e-9, 1)
}
