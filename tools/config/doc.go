// Package config is the YAML that describes a lens: data, profiles, priors, likelihood, cosmology; and the decoder bundles
// that it names.
//
// Load checks all that can be said without the files that a config names, and every refusal names file, line and key. A config
// is written with what was left out filled in, and reads back as the same.
//
//	cfg, err := config.Load("lens.yaml")
//
// Each mapping of the config is a table of its keys, by which it is read, written and explained: Reference lists them all, as
// docs/config.md does.
//
// Formats other than YAML register themselves, as that of lenskit/tools/coolest does when it is imported.
package config
