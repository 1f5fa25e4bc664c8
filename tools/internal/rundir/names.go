package rundir

import (
	"context"
	"fmt"
	"path/filepath"

	"lenskit/tools/internal/term"
)

const (
	FolderCOOLEST    = "coolest" // in that of the run, where no other is asked for
	FileCOOLEST      = "coolest.json"
	FileCOOLESTChain = "coolest_chain.csv"
)

// StateSaved is the error of a run that was told to stop and has written its checkpoint.
func StateSaved(ctx context.Context, path string, nothing bool) error {
	if nothing {
		return term.Interrupted("%v: nothing was computed yet, as %s records: run the same command again", context.Cause(ctx), path)
	}
	return term.Interrupted("%v: state saved in %s: run the same command again to go on", context.Cause(ctx), path)
}

const (
	FileVAEReconstructions = "vae_reconstructions.png"
	FileVAERotations       = "vae_rotations.png"
	FileVAEDraws           = "vae_draws.png"
	FileVAEWalk            = "vae_walk.png"
	FileVAENumbers         = "vae.json"
)

const (
	FitJSON        = "fit.json"
	FitFITS        = "fit.fits"
	FitPNG         = "fit.png"
	GridsPNG       = "grids.png"
	ConfigYAML     = "config.yaml"
	CheckpointName = "checkpoint"
)

const (
	SummaryJSON = "summary.json"
	SamplesFITS = "samples.fits"
	CornerPNG   = "corner.png"
	TracePNG    = "trace.png"
	MomentsPNG  = "moments.png"
)

// ChainFile is the file of a chain, counted from 0.
func ChainFile(dir string, chain, chains int) string {
	if chains == 1 {
		return filepath.Join(dir, "samples.csv")
	}
	return filepath.Join(dir, fmt.Sprintf("samples_%d.csv", chain+1))
}

const (
	FileSurvey   = "survey.json"
	FileManifest = "manifest.csv"
)

const (
	FileTrainState = "checkpoint.safetensors" // weights, moments and progress: what a resume needs
	FileTrainBest  = "best.safetensors"       // the weights with the best validation ELBO
	FileTrainLog   = "training.csv"
)
