//go:build unix

// Command kills stops lenskit at random and tells what did not survive. See scripts/kills.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lenskit/internal/kills"
)

func main() {
	binary := flag.String("lenskit", "bin/lenskit", "the binary")
	count := flag.Int("n", 90, "stops")
	seed := flag.Uint64("seed", 1, "of the first trial; the next has one more")
	signal := flag.String("signal", "", "KILL, TERM, INT or USR1; otherwise all by turns")
	match := flag.String("run", "", "regular expression that the names of the commands must match")
	flag.Parse()
	if flag.NArg() > 0 {
		n, err := strconv.Atoi(flag.Arg(0))
		if err != nil {
			fmt.Fprintf(os.Stderr, "kills: found %q, expected a number of stops\n", flag.Arg(0))
			os.Exit(2)
		}
		*count = n
		// flags may stand behind the number, too
		if err := flag.CommandLine.Parse(flag.Args()[1:]); err != nil {
			os.Exit(2)
		}
	}
	if err := run(*binary, *count, *seed, *signal, *match); err != nil {
		fmt.Fprintln(os.Stderr, "kills:", err)
		os.Exit(1)
	}
}

func run(binary string, count int, seed uint64, signal, match string) error {
	all := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "USR1": syscall.SIGUSR1}
	signals := kills.Signals
	if signal != "" {
		s, ok := all[strings.TrimPrefix(strings.ToUpper(signal), "SIG")]
		if !ok {
			return fmt.Errorf("found signal %q, expected KILL, TERM, INT or USR1", signal)
		}
		signals = []syscall.Signal{s}
	}
	re, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	var works []kills.Work
	for _, w := range kills.Works {
		if re.MatchString(w.Name) {
			works = append(works, w)
		}
	}
	if len(works) == 0 {
		return fmt.Errorf("no command is called %q", match)
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "kills-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	start := time.Now()
	bench, err := kills.NewBench(binary, scratch)
	if err != nil {
		return err
	}
	done, survived := 0, 0
	var failed []string
	for i := uint64(0); done < count && i < uint64(4*count); i++ {
		w := works[i%uint64(len(works))]
		t, err := bench.Stop(w, seed+i, signals)
		if err != nil {
			return err
		}
		done += t.Kills()
		word := "ok  "
		if len(t.Faults) > 0 {
			word = "FAIL"
			failed = append(failed, fmt.Sprintf("-run '^%s$' -seed %d", w.Name, t.Seed))
		} else {
			survived += t.Kills()
		}
		stops := strings.Join(t.Stops, ", ")
		if stops == "" {
			stops = "over before the stop"
		}
		line := fmt.Sprintf("%s %-13s seed %d: %s; %d runs", word, w.Name, t.Seed, stops, t.Runs)
		if len(t.Faults) > 0 {
			line += ": " + strings.Join(t.Faults, "; ")
		}
		fmt.Println(strings.Join(strings.Fields(line), " "))
	}
	fmt.Printf("%d kills, %d survived, %d trials failed, %.0f s\n", done, survived, len(failed), time.Since(start).Seconds())
	for _, f := range failed {
		fmt.Println("again: scripts/kills 1", f)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d trials failed", len(failed))
	}
	return nil
}
