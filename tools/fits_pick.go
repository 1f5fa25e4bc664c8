package tools

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// fitsRole is what an image is wanted for, which tells it from others of its file by their names.
type fitsRole int

const (
	roleImage fitsRole = iota // the image itself
	roleNoise                 // standard deviations
	rolePSF
	roleMask
	roleOther
)

// roleNames are the names of extensions that serve a role.
var roleNames = map[fitsRole][]string{
	roleNoise: {"NOISE", "ERR", "ERROR", "RMS", "SIGMA"},
	rolePSF:   {"PSF"},
	roleMask:  {"MASK"},
}

// companions are the names of extensions that go with an image and are none.
var companions = []string{
	"NOISE", "ERR", "ERROR", "RMS", "SIGMA", "VAR", "VARIANCE", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "IVAR", "WHT", "WEIGHT", // noise
	"DQ", "MASK", "FLAGS", "PSF", "EXP", "EXPTIME", "TIME", "SAMP", "CTX", "CON", "AREA", "BKG", "D2IMARR", "WCSDVARR",
	"MODEL", "RESIDUAL", "SOURCE", "LENS_LIGHT", // what lenskit writes
}

// fits tells whether an HDU of this name serves the role.
func (r fitsRole) fits(name string) bool {
	name = strings.ToUpper(name)
	if r == roleImage {
		return !slices.Contains(companions, name)
	}
	return slices.Contains(roleNames[r], name)
}

// pick finds the image that ext names: the number of its HDU (0 is the primary), its EXTNAME in any letter case, or EXTNAME
// and EXTVER as NAME,2. Without ext it is the only image of the file; of several the only one whose EXTNAME serves the
// role, which the notice tells. Anything else is an error that lists the images.
func (r fitsRole) pick(path, ext string, hdus []fitsHDU) (h *fitsHDU, notice string, err error) {
	if ext != "" {
		h, err = namedHDU(path, ext, hdus)
		return h, "", err
	}
	var all, some []*fitsHDU
	for i := range hdus {
		if hdus[i].isImage() && hdus[i].size() > 0 {
			all = append(all, &hdus[i])
			if r.fits(hdus[i].name()) {
				some = append(some, &hdus[i])
			}
		}
	}
	switch {
	case len(all) == 0:
		last := &hdus[len(hdus)-1]
		return nil, "", badInput("%s: holds no image: found %s in HDU %d", path, last.describe(), last.index)
	case len(all) == 1:
		return all[0], "", nil
	case len(some) == 1:
		return some[0], fmt.Sprintf("%s holds %d images: %s is taken", path, len(all), some[0].label()), nil
	}
	example := all[0]
	if len(some) > 0 {
		example = some[0]
	}
	return nil, "", badInput("%s: holds %d images, expected a choice: found %s; %s[%s] takes %s", path, len(all), listHDUs(all), path, example.choice(all), example.label())
}

// chooseOne is the hint to an extension that is none: the file's first image as an example.
func chooseOne(path string, hdus []fitsHDU, err error) error {
	images := slices.DeleteFunc(pointers(hdus), func(h *fitsHDU) bool { return !h.isImage() || h.size() == 0 })
	if len(images) == 0 {
		return err
	}
	return withHint(err, "%s[%s] takes %s, %s", path, images[0].choice(images), images[0].label(), shapeText(images[0].shape()))
}

// namedHDU finds the image that ext names.
func namedHDU(path, ext string, hdus []fitsHDU) (*fitsHDU, error) {
	var found []*fitsHDU
	if n, err := strconv.Atoi(ext); err == nil {
		if n < 0 || n >= len(hdus) {
			return nil, chooseOne(path, hdus, badInput("%s[%s]: no such HDU: found %d, numbered from 0", path, ext, len(hdus)))
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
			if n := h.name(); n != "" && !slices.Contains(names, n) {
				names = append(names, n)
			}
			if strings.EqualFold(h.name(), ext) || name != ext && strings.EqualFold(h.name(), name) && h.version() == version {
				found = append(found, h)
			}
		}
		if len(found) == 0 {
			near := didYouMean(name, names)
			for i := range names {
				names[i] = shown(names[i])
			}
			if name != ext && slices.ContainsFunc(hdus, func(h fitsHDU) bool { return strings.EqualFold(h.name(), name) }) {
				return nil, chooseOne(path, hdus, badInput("%s[%s]: no such extension: found %s", path, ext, listHDUs(pointers(hdus))))
			}
			return nil, chooseOne(path, hdus, badInput("%s[%s]: no such extension: found %s%s", path, ext, cmp.Or(strings.Join(names, ", "), "none with a name"), near))
		}
	}
	if len(found) > 1 {
		images := slices.DeleteFunc(slices.Clone(found), func(h *fitsHDU) bool { return !h.isImage() || h.size() == 0 })
		if len(images) > 1 {
			return nil, badInput("%s[%s]: names %d images, expected one: found %s; %s[%s] takes %s", path, ext, len(images), listHDUs(images), path, images[0].choice(images), images[0].label())
		}
		found = append(images, found...)
	}
	if h := found[0]; !h.isImage() || h.size() == 0 {
		return nil, chooseOne(path, hdus, badInput("%s[%s]: is not an image: found %s", path, ext, h.describe()))
	}
	return found[0], nil
}

func pointers(hdus []fitsHDU) (out []*fitsHDU) {
	for i := range hdus {
		out = append(out, &hdus[i])
	}
	return out
}

// version is the EXTVER, 1 where there is none.
func (h *fitsHDU) version() int64 {
	if v, ok, err := h.header.integer("EXTVER"); ok && err == nil {
		return v
	}
	return 1
}

// label is an HDU's number with its name, if it has one.
func (h *fitsHDU) label() string {
	if n := h.name(); n != "" {
		return fmt.Sprintf("HDU %d, %s", h.index, shown(n))
	}
	return fmt.Sprintf("HDU %d, without a name", h.index)
}

// choice is what chooses an HDU among others: its name, with its version where others have the same, or its number where
// these do not tell.
func (h *fitsHDU) choice(among []*fitsHDU) string {
	named, versioned := 0, 0
	for _, o := range among {
		if strings.EqualFold(o.name(), h.name()) {
			named++
			if o.version() == h.version() {
				versioned++
			}
		}
	}
	n := h.name()
	_, err := strconv.Atoi(n)
	switch {
	case n == "" || err == nil || n != shown(n) || strings.ContainsAny(n, "[],") || versioned > 1:
		return strconv.Itoa(h.index)
	case named > 1:
		return fmt.Sprintf("%s,%d", n, h.version())
	default:
		return n
	}
}

// listHDUs writes number, name, version and size of HDUs.
func listHDUs(hdus []*fitsHDU) string {
	const most = 40
	var s []string
	for i, h := range hdus {
		if i == most {
			s = append(s, fmt.Sprintf("and %d more", len(hdus)-most))
			break
		}
		what := h.describe()
		if h.isImage() && h.size() > 0 {
			what = shapeText(h.shape())
		}
		name := ""
		if n := h.name(); n != "" {
			name = fmt.Sprintf("%s,%d ", shown(n), h.version())
		}
		s = append(s, fmt.Sprintf("%d %s(%s)", h.index, name, what))
	}
	return strings.Join(s, ", ")
}
