// Package termtest has what tests of any room of tools share and that needs no other room: configs, checks of messages,
// what a function allocates.
package termtest
