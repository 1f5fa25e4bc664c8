package term

import (
	"runtime/debug"
)

// stamp is the version that the build has set: make takes it from the repository's tags and commit.
var stamp string

// Version tells what this program was built from: the stamp of make, the module's version, or the commit.
func Version() string {
	if stamp != "" {
		return stamp
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-dirty"
		}
	}
	if commit == "" {
		return "(devel)"
	}
	return commit + changed
}
