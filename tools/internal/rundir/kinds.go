package rundir

import (
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// folderKind is what a folder of results holds: there is one of them in a folder.
type folderKind struct {
	holds string
	marks [][]string // files: where all of a list are there, the folder is of this kind
}

// Kinds of folders.
var (
	RunFolder    = &folderKind{"a fit or its draws", [][]string{{FitJSON}, {SummaryJSON}}}
	TrainFolder  = &folderKind{"a training run", [][]string{{FileTrainState}, {FileTrainBest, FileTrainLog}}}
	BundleFolder = &folderKind{"a decoder bundle", [][]string{{FileDecoder, FileCard}}}
	SurveyFolder = &folderKind{"a survey", [][]string{{FileSurvey, FileManifest}}}
)

// Files of a bundle.
const (
	FileDecoder = "decoder.onnx"
	FileEncoder = "encoder.onnx"
	FilePrior   = "prior.json"
	FileCard    = "card.md"
)

// BundleFiles are the files of a bundle, and BundleFigures those that plot leaves in its folder.
var (
	BundleFiles   = []string{FileDecoder, FileEncoder, FilePrior, FileCard}
	bundleFigures = []string{FileVAEDraws, FileVAEWalk, FileVAEReconstructions, FileVAERotations, FileVAENumbers}
)

// CheckFor refuses a folder of another kind as the place of results of this one.
func (k *folderKind) CheckFor(dir string) error {
	for _, other := range []*folderKind{RunFolder, TrainFolder, BundleFolder, SurveyFolder} {
		if other == k {
			continue
		}
		for _, marks := range other.marks {
			if !slices.ContainsFunc(marks, func(name string) bool { return !Exists(filepath.Join(dir, name)) }) {
				return term.BadInput("%s: holds %s (%s), expected another folder for %s", dir, other.holds, strings.Join(marks, " and "), k.holds)
			}
		}
	}
	return nil
}

// BundleRoom moves aside the bundle in dir that another is to take the place of: all of it, or where it is same, of the same
// weights, what the new one has not. Names are the files of the new one.
func BundleRoom(dir string, same bool, names ...string) (notice string, err error) {
	old := slices.Clone(BundleFiles)
	if same {
		old = slices.DeleteFunc(old, func(name string) bool { return slices.Contains(names, name) })
	} else {
		old = append(old, bundleFigures...)
	}
	if !Exists(filepath.Join(dir, FileDecoder)) { // the others are someone's own, but for those that would be written over
		old = slices.DeleteFunc(old, func(name string) bool { return !slices.Contains(names, name) })
	}
	return MoveAside(dir, old, "files of another bundle")
}

// CardHas tells whether the card of the bundle in dir has a text.
func CardHas(dir, text string) bool {
	data, err := disk.Read(filepath.Join(dir, FileCard), term.MaxRecord)
	return err == nil && strings.Contains(string(data), text)
}
