//go:build !noasm

package kern

//go:noescape
func sersicVec(k *Light, dst, x, y *float64, n int)

//go:noescape
func sersicVJPVec(k *Light, acc *[10][4]float64, zx, zy, gdst, x, y *float64, n int)

//go:noescape
func sersicSlopesVec(k *Light, s *LightSlopes, x, y *float64, n int)

//go:noescape
func coreSersicVec(k *Light, dst, x, y *float64, n int)

//go:noescape
func coreSersicVJPVec(k *Light, acc *[10][4]float64, zx, zy, gdst, x, y *float64, n int)

//go:noescape
func coreSersicSlopesVec(k *Light, s *LightSlopes, x, y *float64, n int)

//go:noescape
func gaussianVec(k *Light, dst, x, y *float64, n int)

//go:noescape
func gaussianVJPVec(k *Light, acc *[10][4]float64, zx, zy, gdst, x, y *float64, n int)

//go:noescape
func gaussianSlopesVec(k *Light, s *LightSlopes, x, y *float64, n int)

// Brightness adds I of at most Block rays x, y to dst and says whether it did; without assembly it does nothing.
func (k *Light) Brightness(kind LightKind, dst, x, y []float64) bool {
	n := len(x)
	if kind == NoLight || n == 0 || !Accelerated() {
		return false
	}
	y, dst = y[:n], dst[:n]
	m := pad(n)
	if n == m {
		k.brightness(kind, &dst[0], &x[0], &y[0], m)
		return true
	}
	var pd, px, py [Block]float64
	copy(pd[:], dst)
	padded(&px, x, x[n-1])
	padded(&py, y, y[n-1])
	k.brightness(kind, &pd[0], &px[0], &py[0], m)
	copy(dst, pd[:])
	return true
}

func (k *Light) brightness(kind LightKind, dst, x, y *float64, n int) {
	switch kind {
	case Sersic:
		sersicVec(k, dst, x, y, n)
	case CoreSersic:
		coreSersicVec(k, dst, x, y, n)
	case Gaussian:
		gaussianVec(k, dst, x, y, n)
	}
}

// VJP adds the gradient of at most Block rays x, y to sum (own parameters, e1, e2, x, y), writes ∂I/∂(x,y) gdst to zx, zy
// and says whether it did; without assembly it does nothing.
func (k *Light) VJP(kind LightKind, sum *[10]float64, zx, zy *[Block]float64, gdst, x, y []float64) bool {
	n := len(x)
	if kind == NoLight || n == 0 || !Accelerated() {
		return false
	}
	y, gdst = y[:n], gdst[:n]
	m := pad(n)
	var acc [10][4]float64
	if n == m {
		k.vjp(kind, &acc, zx, zy, &gdst[0], &x[0], &y[0], m)
	} else {
		var pg, px, py [Block]float64
		padded(&pg, gdst, 0)
		padded(&px, x, x[n-1])
		padded(&py, y, y[n-1])
		k.vjp(kind, &acc, zx, zy, &pg[0], &px[0], &py[0], m)
	}
	for i := range sum {
		sum[i] += (acc[i][0] + acc[i][1]) + (acc[i][2] + acc[i][3])
	}
	return true
}

func (k *Light) vjp(kind LightKind, acc *[10][4]float64, zx, zy *[Block]float64, gdst, x, y *float64, n int) {
	switch kind {
	case Sersic:
		sersicVJPVec(k, acc, &zx[0], &zy[0], gdst, x, y, n)
	case CoreSersic:
		coreSersicVJPVec(k, acc, &zx[0], &zy[0], gdst, x, y, n)
	case Gaussian:
		gaussianVJPVec(k, acc, &zx[0], &zy[0], gdst, x, y, n)
	}
}

// Slopes fills s for at most Block rays x, y and says whether it did; without assembly it does nothing.
func (k *Light) Slopes(kind LightKind, s *LightSlopes, x, y []float64) bool {
	n := len(x)
	if kind == NoLight || n == 0 || !Accelerated() {
		return false
	}
	y = y[:n]
	m := pad(n)
	if n == m {
		k.slopes(kind, s, &x[0], &y[0], m)
		return true
	}
	var px, py [Block]float64
	padded(&px, x, x[n-1])
	padded(&py, y, y[n-1])
	k.slopes(kind, s, &px[0], &py[0], m)
	return true
}

func (k *Light) slopes(kind LightKind, s *LightSlopes, x, y *float64, n int) {
	switch kind {
	case Sersic:
		sersicSlopesVec(k, s, x, y, n)
	case CoreSersic:
		coreSersicSlopesVec(k, s, x, y, n)
	case Gaussian:
		gaussianSlopesVec(k, s, x, y, n)
	}
}
