// Command lenskit fits strong gravitational lenses.
package main

import (
	"os"

	"lenskit/tools"
)

func main() { os.Exit(tools.Main(os.Args)) }
