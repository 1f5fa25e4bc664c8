package tools

// What readers take from one file, in bytes. A reader holds at most the file and some hundred megabytes beside it; what is
// larger is refused before it is read.
const (
	maxConfigFile   = 256 << 10 // a config: some kilobytes, with the latents of a mock some dozen
	maxCOOLESTFile  = 4 << 20   // a COOLEST template, whose images and chains are files of their own
	maxParamsFile   = 2 << 20   // P.json, fit.json
	maxPriorFile    = 1 << 28   // prior.json: the covariance of a few thousand latents
	maxWeightFile   = 8 << 30   // .pt, .pth, .safetensors
	maxPickle       = 64 << 20  // the pickles of a PyTorch file, without the values of its tensors
	maxZipDirectory = 16 << 20  // the directory of a PyTorch file: some hundred thousand records
	maxNPYFile      = 4<<30 + maxNPYHeader + 12
	maxTableFile    = 1 << 30 // a CSV file of points, draws or galaxies
	maxTableLine    = 4 << 20 // one line of it
	maxPoints       = 1 << 23 // points of one call of deflect
	maxDecodedMore  = 256 << 20
)

// maxMagnitude bounds the numbers of files, such that squares and products of a few of them stay finite.
const maxMagnitude = 1e60
