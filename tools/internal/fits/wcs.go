package fits

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// wcsKeys matches the keywords that place an image on the sky: the linear terms, the projection with its parameters (PVi_m,
// PSi_m), the pole, the frame, and polynomials (SIP, and those of IRAF in WATi_nnn). Tables of distortions are not among
// them.
var wcsKeys = regexp.MustCompile(`^(WCSAXES|C(TYPE|RPIX|RVAL|UNIT|DELT|ROTA)[12]|(CD|PC)[12]_[12]|P[VS][12]_\d{1,2}|LONPOLE|LATPOLE|` +
	`RADESYS|RADECSYS|EQUINOX|EPOCH|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)|WAT[0-2]_\d{3})$`)

// WCSTables matches the keywords of distortions that are tables in other extensions.
var WCSTables = regexp.MustCompile(`^(CPDIS|CQDIS|D2IMDIS|D2IM_)[12]$|^D2IMEXT$|^AXISCORR$`)

// Limits on the side of a pixel in arcsec: from the finest radio images to those of whole clusters. A header that says
// otherwise has no sky coordinates, or has them in other units.
const (
	MinPixelScale = 1e-5
	MaxPixelScale = 60.0
)

// WCS is what the sky coordinates of an image say at its centre, where the lens is.
type WCS struct {
	Cd     [2][2]float64 // arcsec per pixel on the plane of projection: world axis (1 east, 2 north) by pixel axis
	Linear float64       // scale by the linear terms alone, which hold at the reference pixel
	Local  float64       // scale on the sky
	even   bool          // pixels are squares to 1 %
	Cards  string        // that say the scale
}

// SkyWCS reads the sky coordinates of a header. It returns false where the header has none that make sense: no keyword, a
// unit that is no angle, a singular matrix, or a scale beyond the limits.
func SkyWCS(h Header) (w WCS, ok bool) {
	w, ok = ReadWCS(h)
	return w, ok && w.Scale() >= MinPixelScale && w.Scale() <= MaxPixelScale
}

// ReadWCS is SkyWCS without limits.
func ReadWCS(h Header) (w WCS, ok bool) {
	get := func(key string, def float64) float64 {
		v, err := h.Number(key, def)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	switch {
	case h.Has("CD1_1") || h.Has("CD2_2") || h.Has("CD1_2") || h.Has("CD2_1"):
		w.Cd = [2][2]float64{{get("CD1_1", 0), get("CD1_2", 0)}, {get("CD2_1", 0), get("CD2_2", 0)}}
		w.Cards = "CDi_j"
	case h.Has("CDELT1") && h.Has("CDELT2"):
		w.Cards = "CDELT1 and CDELT2"
		d1, d2 := get("CDELT1", 1), get("CDELT2", 1)
		if h.Has("PC1_1") || h.Has("PC1_2") || h.Has("PC2_1") || h.Has("PC2_2") {
			w.Cd = [2][2]float64{{d1 * get("PC1_1", 1), d1 * get("PC1_2", 0)}, {d2 * get("PC2_1", 0), d2 * get("PC2_2", 1)}}
			break
		}
		s, c := math.Sincos(get("CROTA2", 0) * math.Pi / 180)
		w.Cd = [2][2]float64{{d1 * c, -d2 * s}, {d1 * s, d2 * c}}
	default:
		return w, false
	}
	for i, key := range []string{"CUNIT1", "CUNIT2"} {
		f := 0.0
		switch strings.ToLower(h.Text(key)) {
		case "", "deg", "degree", "degrees":
			f = 3600
		case "arcmin":
			f = 60
		case "arcsec":
			f = 1
		case "mas":
			f = 1e-3
		case "rad":
			f = 180 * 3600 / math.Pi
		}
		w.Cd[i][0], w.Cd[i][1] = f*w.Cd[i][0], f*w.Cd[i][1]
	}
	w.Linear = math.Sqrt(math.Abs(w.det()))
	if !(w.Linear > 0) || math.IsInf(w.Linear, 0) {
		return w, false
	}
	w.Local, w.even = w.Linear, squares(w.Cd)
	if p := NewProjection(h, w.Cd); p != nil {
		p.atCentre(h, &w)
		// Where the pole of the projection is not the default, north is not along the second axis.
		if pole := get("LONPOLE", get("PV1_3", 180)); p.zenithal() && pole-pole == 0 {
			s, c := math.Sincos((pole - 180) * math.Pi / 180)
			for j := range 2 {
				east, north := w.Cd[0][j], w.Cd[1][j]
				if s != 0 {
					w.Cd[0][j], w.Cd[1][j] = east*c+north*s, north*c-east*s
				}
			}
		}
	}
	return w, true
}

// Scale is the geometric mean of the sides of a pixel in arcsec, at the image's centre.
func (w WCS) Scale() float64 { return w.Local }

func (w WCS) det() float64 { return w.Cd[0][0]*w.Cd[1][1] - w.Cd[0][1]*w.Cd[1][0] }

// Square tells whether pixels are squares to 1 %.
func (w WCS) Square() bool { return w.even }

// squares tells whether the columns of m are of one length and at right angles, to 1 %.
func squares(m [2][2]float64) bool {
	a, b := math.Hypot(m[0][0], m[1][0]), math.Hypot(m[0][1], m[1][1])
	skew := m[0][0]*m[0][1] + m[1][0]*m[1][1]
	return math.Abs(a-b) <= 0.01*math.Max(a, b) && math.Abs(skew) <= 0.01*a*b
}

// EastOfNorth turns an angle counter-clockwise from the image's +x axis into a position angle on the sky, from north
// through east, in [0, π): world axis 1 is east (right ascension), 2 is north.
func (w WCS) EastOfNorth(phi float64) float64 {
	s, c := math.Sincos(phi)
	east := w.Cd[0][0]*c + w.Cd[0][1]*s
	north := w.Cd[1][0]*c + w.Cd[1][1]*s
	pa := math.Mod(math.Atan2(east, north), math.Pi)
	if pa < 0 {
		pa += math.Pi
	}
	return pa
}

// Projection takes pixels to the sphere: the SIP polynomials, the linear terms, those of TPV, and the projection itself
// (Calabretta & Greisen 2002; Shupe et al. 2005). Lengths on its plane are in degrees.
type Projection struct {
	code  string
	crpix [2]float64
	cd    [2][2]float64
	sip   [2][]sipTerm
	pv    [2]map[int]float64
	tpv   bool
}

type sipTerm struct {
	p, q int
	a    float64
}

// projections are those whose scale away from the reference point is known here; others are taken at theirs.
var projections = []string{"TAN", "TPV", "SIN", "STG", "ARC", "ZEA", "ZPN", "CAR", "CEA", "MER", "SFL"}

// NewProjection reads the projection of a header whose linear terms in arcsec are given; nil where it has none.
func NewProjection(h Header, cd [2][2]float64) *Projection {
	p := &Projection{}
	kind := strings.ToUpper(h.Text("CTYPE1"))
	if len(kind) < 8 || kind[4] != '-' {
		return nil
	}
	p.code = kind[5:8]
	if !slices.Contains(projections, p.code) {
		return nil
	}
	for i := range 2 {
		n := strconv.Itoa(i + 1)
		p.crpix[i], _ = h.Number("CRPIX"+n, 0)
		p.cd[i] = [2]float64{cd[i][0] / 3600, cd[i][1] / 3600}
		p.pv[i] = map[int]float64{}
		for m := range 40 {
			if key := "PV" + n + "_" + strconv.Itoa(m); h.Has(key) {
				p.pv[i][m], _ = h.Number(key, 0)
				// the TAN of a well-known program has the polynomials of TPV
				p.tpv = p.tpv || p.code == "TAN" && (i == 1 || m > 4)
			}
		}
		letter := "AB"[i : i+1]
		order, _, _ := h.integer(letter + "_ORDER")
		for a := range min(max(0, order), 9) + 1 {
			for b := range min(max(0, order), 9) + 1 - a {
				key := letter + "_" + strconv.Itoa(int(a)) + "_" + strconv.Itoa(int(b))
				if v, _ := h.Number(key, 0); v != 0 {
					p.sip[i] = append(p.sip[i], sipTerm{int(a), int(b), v})
				}
			}
		}
	}
	p.tpv = p.tpv || p.code == "TPV"
	return p
}

func (p *Projection) zenithal() bool {
	return slices.Contains([]string{"TAN", "TPV", "SIN", "STG", "ARC", "ZEA", "ZPN"}, p.code)
}

// PlainTAN tells whether the projection is gnomonic with its pole at the default, without polynomials.
func (p *Projection) PlainTAN(h Header) bool {
	pole, err := h.Number("LONPOLE", 180)
	return p.code == "TAN" && !p.tpv && len(p.sip[0])+len(p.sip[1])+len(p.pv[0])+len(p.pv[1]) == 0 && pole == 180 && err == nil
}

// atCentre fills in what holds at the image's centre where that differs from the linear terms by more than a millionth.
func (p *Projection) atCentre(h Header, w *WCS) {
	centre := p.crpix
	for i, key := range []string{"NAXIS1", "NAXIS2"} {
		if n, ok, err := h.integer(key); ok && err == nil && n > 0 {
			centre[i] = (float64(n) + 1) / 2
		}
	}
	var plane [2][2]float64
	var side [2][3]float64
	for j := range 2 {
		a, b := centre, centre
		a[j] -= 0.5
		b[j] += 0.5
		xa, xb := p.plane(a), p.plane(b)
		na, nb := p.sphere(xa), p.sphere(xb)
		for i := range 2 {
			plane[i][j] = 3600 * (xb[i] - xa[i])
		}
		for i := range 3 {
			side[j][i] = (nb[i] - na[i]) * 180 / math.Pi * 3600
		}
	}
	var cross [3]float64
	dot, a2, b2 := 0.0, 0.0, 0.0
	for i := range 3 {
		k, l := (i+1)%3, (i+2)%3
		cross[i] = side[0][k]*side[1][l] - side[0][l]*side[1][k]
		dot += side[0][i] * side[1][i]
		a2 += side[0][i] * side[0][i]
		b2 += side[1][i] * side[1][i]
	}
	local := math.Sqrt(math.Sqrt(cross[0]*cross[0] + cross[1]*cross[1] + cross[2]*cross[2]))
	if !(local > 0) || math.IsInf(local, 0) {
		return // the centre is not on the sky
	}
	const same = 1e-6
	if math.Abs(local/w.Linear-1) > same {
		w.Local = local
	}
	a, b := math.Sqrt(a2), math.Sqrt(b2)
	w.even = math.Abs(a-b) <= 0.01*math.Max(a, b) && math.Abs(dot) <= 0.01*a*b
	for i := range 2 {
		for j := range 2 {
			if math.Abs(plane[i][j]-w.Cd[i][j]) > same*w.Linear {
				w.Cd[i][j] = plane[i][j]
			}
		}
	}
}

// plane takes a pixel to the plane of projection, in degrees.
func (p *Projection) plane(pixel [2]float64) [2]float64 {
	u := [2]float64{pixel[0] - p.crpix[0], pixel[1] - p.crpix[1]}
	v := u
	for i := range 2 {
		for _, t := range p.sip[i] {
			v[i] += t.a * math.Pow(u[0], float64(t.p)) * math.Pow(u[1], float64(t.q))
		}
	}
	x, y := p.cd[0][0]*v[0]+p.cd[0][1]*v[1], p.cd[1][0]*v[0]+p.cd[1][1]*v[1]
	if p.tpv {
		return [2]float64{tpv(p.pv[0], x, y), tpv(p.pv[1], y, x)}
	}
	return [2]float64{x, y}
}

// tpv is the polynomial of TPV: 1, x, y, r, x², xy, y², x³, ..., y³, r³, x⁴, ...; with r after each odd degree.
func tpv(pv map[int]float64, x, y float64) float64 {
	sum, m := 0.0, 0
	add := func(term float64) {
		c, ok := pv[m]
		if !ok && m == 1 {
			c = 1
		}
		sum += c * term
		m++
	}
	for degree := range 8 {
		for k := range degree + 1 {
			add(math.Pow(x, float64(degree-k)) * math.Pow(y, float64(k)))
		}
		if degree%2 == 1 {
			add(math.Pow(math.Hypot(x, y), float64(degree)))
		}
	}
	return sum
}

// sphere takes a point of the plane to a unit vector, the native pole along the third axis.
func (p *Projection) sphere(x [2]float64) [3]float64 {
	a, b := x[0]*math.Pi/180, x[1]*math.Pi/180
	phi, theta := a, b
	if p.zenithal() {
		r := math.Hypot(a, b)
		phi = math.Atan2(a, -b)
		switch p.code {
		case "SIN":
			theta = math.Acos(r)
		case "STG":
			theta = math.Pi/2 - 2*math.Atan(r/2)
		case "ARC":
			theta = math.Pi/2 - r
		case "ZEA":
			theta = math.Pi/2 - 2*math.Asin(r/2)
		case "ZPN":
			theta = math.Pi/2 - p.zenithDistance(r)
		default:
			theta = math.Atan2(1, r)
		}
	}
	switch p.code {
	case "CEA":
		lambda := 1.0
		if v, ok := p.pv[1][1]; ok {
			lambda = v
		}
		theta = math.Asin(b * lambda)
	case "MER":
		theta = 2*math.Atan(math.Exp(b)) - math.Pi/2
	case "SFL":
		phi = a / math.Cos(b)
	}
	st, ct := math.Sincos(theta)
	sp, cp := math.Sincos(phi)
	return [3]float64{ct * cp, ct * sp, st}
}

// zenithDistance inverts the polynomial of ZPN, r = Σ PV2_m zᵐ, by Newton's steps from its linear term.
func (p *Projection) zenithDistance(r float64) float64 {
	z := r
	if c := p.pv[1][1]; c > 0 {
		z = (r - p.pv[1][0]) / c
	}
	for range 50 {
		f, d := -r, 0.0
		for m := range 40 {
			c := p.pv[1][m]
			f += c * math.Pow(z, float64(m))
			if m > 0 {
				d += float64(m) * c * math.Pow(z, float64(m-1))
			}
		}
		step := f / d
		if z -= step; !(math.Abs(step) > 1e-16*math.Abs(z)) {
			break
		}
	}
	return z
}
