package fits

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lenskit/tools/internal/term"
)

// Role is what an image is wanted for, which tells it from others of its file by their names.
type Role int

const (
	RoleImage Role = iota // the image itself
	RoleNoise             // standard deviations
	RolePSF
	RoleMask
	RoleOther
)

// roleNames are the names of extensions that serve a role.
var roleNames = map[Role][]string{
	RoleNoise: {"NOISE", "ERR", "ERROR", "RMS", "SIGMA"},
	RolePSF:   {"PSF"},
	RoleMask:  {"MASK"},
}

// companions are the names of extensions that go with an image and are none.
var companions = []string{
	"NOISE", "ERR", "ERROR", "RMS", "SIGMA", "VAR", "VARIANCE", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "IVAR", "WHT", "WEIGHT", // noise
	"DQ", "MASK", "FLAGS", "PSF", "EXP", "EXPTIME", "TIME", "SAMP", "CTX", "CON", "AREA", "BKG", "D2IMARR", "WCSDVARR",
	"MODEL", "RESIDUAL", "SOURCE", "LENS_LIGHT", // what lenskit writes
}

// fits tells whether an HDU of this name serves the role.
func (r Role) fits(name string) bool {
	name = strings.ToUpper(name)
	if r == RoleImage {
		return !slices.Contains(companions, name)
	}
	return slices.Contains(roleNames[r], name)
}

// pick finds the image that ext names: the number of its HDU (0 is the primary), its EXTNAME in any letter case, or EXTNAME
// and EXTVER as NAME,2. Without ext it is the only image of the file; of several the only one whose EXTNAME serves the
// role, which the notice tells. Anything else is an error that lists the images.
func (r Role) pick(path, ext string, hdus []HDU) (h *HDU, notice string, err error) {
	if ext != "" {
		h, err = namedHDU(path, ext, hdus)
		return h, "", err
	}
	var all, some []*HDU
	for i := range hdus {
		if hdus[i].IsImage() && hdus[i].Size() > 0 {
			all = append(all, &hdus[i])
			if r.fits(hdus[i].Name()) {
				some = append(some, &hdus[i])
			}
		}
	}
	switch {
	case len(all) == 0:
		last := &hdus[len(hdus)-1]
		return nil, "", term.BadInput("%s: holds no image: found %s in HDU %d", path, last.Describe(), last.Index)
	case len(all) == 1:
		return all[0], "", nil
	case len(some) == 1:
		return some[0], fmt.Sprintf("%s holds %d images: %s is taken", path, len(all), some[0].label()), nil
	}
	example := all[0]
	if len(some) > 0 {
		example = some[0]
	}
	return nil, "", term.BadInput("%s: holds %d images, expected a choice: found %s; %s[%s] takes %s", path, len(all), listHDUs(all), path, example.choice(all), example.label())
}

// chooseOne is the hint to an extension that is none: the file's first image as an example.
func chooseOne(path string, hdus []HDU, err error) error {
	images := slices.DeleteFunc(pointers(hdus), func(h *HDU) bool { return !h.IsImage() || h.Size() == 0 })
	if len(images) == 0 {
		return err
	}
	return term.WithHint(err, "%s[%s] takes %s, %s", path, images[0].choice(images), images[0].label(), ShapeText(images[0].Shape()))
}

// namedHDU finds the image that ext names.
func namedHDU(path, ext string, hdus []HDU) (*HDU, error) {
	var found []*HDU
	if n, err := strconv.Atoi(ext); err == nil {
		if n < 0 || n >= len(hdus) {
			return nil, chooseOne(path, hdus, term.BadInput("%s[%s]: no such HDU: found %d, numbered from 0", path, ext, len(hdus)))
		}
		found = append(found, &hdus[n])
	} else {
		name, version := ext, int64(0)
		if i := strings.LastIndexByte(ext, ','); i >= 0 {
			if v, err := strconv.ParseInt(strings.TrimSpace(ext[i+1:]), 10, 64); err == nil {
				name, version = strings.TrimSpace(ext[:i]), v
			}
		}
		var names []string
		for i := range hdus {
			h := &hdus[i]
			if n := h.Name(); n != "" && !slices.Contains(names, n) {
				names = append(names, n)
			}
			if strings.EqualFold(h.Name(), ext) || name != ext && strings.EqualFold(h.Name(), name) && h.version() == version {
				found = append(found, h)
			}
		}
		if len(found) == 0 {
			near := term.DidYouMean(name, names)
			for i := range names {
				names[i] = term.Shown(names[i])
			}
			if name != ext && slices.ContainsFunc(hdus, func(h HDU) bool { return strings.EqualFold(h.Name(), name) }) {
				return nil, chooseOne(path, hdus, term.BadInput("%s[%s]: no such extension: found %s", path, ext, listHDUs(pointers(hdus))))
			}
			return nil, chooseOne(path, hdus, term.BadInput("%s[%s]: no such extension: found %s%s", path, ext, cmp.Or(strings.Join(names, ", "), "none with a name"), near))
		}
	}
	if len(found) > 1 {
		images := slices.DeleteFunc(slices.Clone(found), func(h *HDU) bool { return !h.IsImage() || h.Size() == 0 })
		if len(images) > 1 {
			return nil, term.BadInput("%s[%s]: names %d images, expected one: found %s; %s[%s] takes %s", path, ext, len(images), listHDUs(images), path, images[0].choice(images), images[0].label())
		}
		found = append(images, found...)
	}
	if h := found[0]; !h.IsImage() || h.Size() == 0 {
		return nil, chooseOne(path, hdus, term.BadInput("%s[%s]: is not an image: found %s", path, ext, h.Describe()))
	}
	return found[0], nil
}

func pointers(hdus []HDU) (out []*HDU) {
	for i := range hdus {
		out = append(out, &hdus[i])
	}
	return out
}

// version is the EXTVER, 1 where there is none.
func (h *HDU) version() int64 {
	if v, ok, err := h.Header.integer("EXTVER"); ok && err == nil {
		return v
	}
	return 1
}

// label is an HDU's number with its name, if it has one.
func (h *HDU) label() string {
	if n := h.Name(); n != "" {
		return fmt.Sprintf("HDU %d, %s", h.Index, term.Shown(n))
	}
	return fmt.Sprintf("HDU %d, without a name", h.Index)
}

// choice is what chooses an HDU among others: its name, with its version where others have the same, or its number where
// these do not tell.
func (h *HDU) choice(among []*HDU) string {
	named, versioned := 0, 0
	for _, o := range among {
		if strings.EqualFold(o.Name(), h.Name()) {
			named++
			if o.version() == h.version() {
				versioned++
			}
		}
	}
	n := h.Name()
	_, err := strconv.Atoi(n)
	switch {
	case n == "" || err == nil || n != term.Shown(n) || strings.ContainsAny(n, "[],") || versioned > 1:
		return strconv.Itoa(h.Index)
	case named > 1:
		return fmt.Sprintf("%s,%d", n, h.version())
	default:
		return n
	}
}

// listHDUs writes number, name, version and size of HDUs.
func listHDUs(hdus []*HDU) string {
	const most = 40
	var s []string
	for i, h := range hdus {
		if i == most {
			s = append(s, fmt.Sprintf("and %d more", len(hdus)-most))
			break
		}
		what := h.Describe()
		if h.IsImage() && h.Size() > 0 {
			what = ShapeText(h.Shape())
		}
		name := ""
		if n := h.Name(); n != "" {
			name = fmt.Sprintf("%s,%d ", term.Shown(n), h.version())
		}
		s = append(s, fmt.Sprintf("%d %s(%s)", h.Index, name, what))
	}
	return strings.Join(s, ", ")
}
