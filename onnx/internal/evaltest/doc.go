// Package evaltest runs graphs of tests in the evaluator.
package evaltest
