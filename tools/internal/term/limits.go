package term

// What readers take from one file, in bytes. A reader holds at most the file and some hundred megabytes beside it; what is
// larger is refused before it is read.
const (
	MaxConfigFile   = 256 << 10 // a config: some kilobytes, with the latents of a mock some dozen
	MaxCOOLESTFile  = 4 << 20   // a COOLEST template, whose images and chains are files of their own
	MaxParamsFile   = 2 << 20   // P.json, fit.json
	MaxPriorFile    = 1 << 28   // prior.json: the covariance of a few thousand latents
	MaxWeightFile   = 8 << 30   // .pt, .pth, .safetensors
	MaxPickle       = 64 << 20  // the pickles of a PyTorch file, without the values of its tensors
	MaxZipDirectory = 16 << 20  // the directory of a PyTorch file: some hundred thousand records
	MaxNPYFile      = 4<<30 + MaxNPYHeader + 12
	MaxTableFile    = 1 << 30 // a CSV file of points, draws or galaxies
	MaxTableLine    = 4 << 20 // one line of it
	MaxPoints       = 1 << 23 // points of one call of deflect
	MaxDecodedMore  = 256 << 20
)

// MaxMagnitude bounds the numbers of files, such that squares and products of a few of them stay finite.
const MaxMagnitude = 1e60

const MaxNPYHeader = 1 << 16

// MaxRecord is the size up to which the JSON records of a run are read.
const MaxRecord = 1 << 30
