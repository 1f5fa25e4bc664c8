package tools

import (
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
)

// folderKind is what a folder of results holds: there is one of them in a folder.
type folderKind struct {
	holds string
	marks [][]string // files: where all of a list are there, the folder is of this kind
}

// Kinds of folders.
var (
	runFolder    = &folderKind{"a fit or its draws", [][]string{{fileFitJSON}, {fileSummary}}}
	trainFolder  = &folderKind{"a training run", [][]string{{fileTrainState}, {fileTrainBest, fileTrainLog}}}
	bundleFolder = &folderKind{"a decoder bundle", [][]string{{fileDecoder, fileCard}}}
	surveyFolder = &folderKind{"a survey", [][]string{{fileSurvey, fileManifest}}}
)

// Files of a bundle.
const (
	fileDecoder = "decoder.onnx"
	fileEncoder = "encoder.onnx"
	filePrior   = "prior.json"
	fileCard    = "card.md"
)

// bundleFiles are the files of a bundle, and bundleFigures those that plot leaves in its folder.
var (
	bundleFiles   = []string{fileDecoder, fileEncoder, filePrior, fileCard}
	bundleFigures = []string{fileVAEDraws, fileVAEWalk, fileVAEReconstructions, fileVAERotations, fileVAENumbers}
)

// checkFor refuses a folder of another kind as the place of results of this one.
func (k *folderKind) checkFor(dir string) error {
	for _, other := range []*folderKind{runFolder, trainFolder, bundleFolder, surveyFolder} {
		if other == k {
			continue
		}
		for _, marks := range other.marks {
			if !slices.ContainsFunc(marks, func(name string) bool { return !exists(filepath.Join(dir, name)) }) {
				return badInput("%s: holds %s (%s), expected another folder for %s", dir, other.holds, strings.Join(marks, " and "), k.holds)
			}
		}
	}
	return nil
}

// bundleRoom moves aside the bundle in dir that another is to take the place of: all of it, or where it is same, of the same
// weights, what the new one has not. Names are the files of the new one.
func bundleRoom(dir string, same bool, names ...string) (notice string, err error) {
	old := slices.Clone(bundleFiles)
	if same {
		old = slices.DeleteFunc(old, func(name string) bool { return slices.Contains(names, name) })
	} else {
		old = append(old, bundleFigures...)
	}
	if !exists(filepath.Join(dir, fileDecoder)) { // the others are someone's own, but for those that would be written over
		old = slices.DeleteFunc(old, func(name string) bool { return !slices.Contains(names, name) })
	}
	return moveAside(dir, old, "files of another bundle")
}

// cardHas tells whether the card of the bundle in dir has a text.
func cardHas(dir, text string) bool {
	data, err := disk.Read(filepath.Join(dir, fileCard), maxRecord)
	return err == nil && strings.Contains(string(data), text)
}
