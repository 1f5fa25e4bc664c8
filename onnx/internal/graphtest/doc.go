// Package graphtest has graphs for tests, and how two of them differ.
package graphtest
