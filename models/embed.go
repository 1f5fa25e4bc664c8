// Package models holds the decoder bundles that lenskit ships. A bundle is a folder: decoder.onnx, optionally
// encoder.onnx, prior.json (mean and covariance of the latents) and card.md, which says what it is and where it is from.
package models

import "embed"

// Shipped is the bundle that a config without a model uses.
const Shipped = "cosmos"

// Files holds that bundle as it lies in this folder, so that the command works from any folder.
//
//go:embed cosmos
var Files embed.FS
