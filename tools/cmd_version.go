package tools

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/run"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "tell the version of lenskit and of what it runs on",
		UsageText:   "lenskit version [--json]",
		Description: "The same that fit.json keeps under versions.\n\nExample: lenskit version --json",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			v := run.Versions()
			if c.Bool("json") {
				return rundir.EncodeJSON(c.App.Writer, v)
			}
			_, err := fmt.Fprintf(c.App.Writer, "lenskit %s, %s, %s\n", v["lenskit"], v["go"], v["platform"])
			return err
		},
	}
}
