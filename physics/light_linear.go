package physics

// Linear is what a light profile implements when its brightness is linear in some of its parameters: with those at zero
// it is zero, and the others fixed, it is the sum of the columns of BrightnessJac times them. A caller may then solve for
// these parameters instead of searching.
type Linear interface {
	// LinearParams are the indices, into Params, of the parameters the brightness is linear in.
	LinearParams() []int
}

// ampFirst is LinearParams of the profiles whose first parameter is their amplitude.
var ampFirst = []int{0}

func (l *sersic) LinearParams() []int     { return ampFirst }
func (l *coreSersic) LinearParams() []int { return ampFirst }
func (l *gaussian) LinearParams() []int   { return ampFirst }
func (l *mge) LinearParams() []int        { return mgeLinear }
