// Package rundir keeps what a run leaves on disk: names of files, writes that are whole or not at all, checksums,
// checkpoints, and whose a folder is. What another run left is moved aside, never mixed.
package rundir
