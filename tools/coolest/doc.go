// Package coolest writes and reads COOLEST, the standard of strong lensing models (Galan et al. 2023). Importing it lets
// config.Load take a template in place of a config.
package coolest
