//go:build unix

// Command hostile runs lenskit on hostile files and tells what did not hold. See scripts/hostile.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"

	"lenskit/internal/hostile"
)

func main() {
	binary := flag.String("lenskit", "bin/lenskit", "the binary")
	root := flag.String("root", "", "lenskit's sources, whose test catalogues are taken, too")
	seed := flag.Uint64("seed", 1, "of the changes")
	times := flag.Int("times", 4, "changes of each kind")
	match := flag.String("run", "", "regular expression that the names of the cases must match")
	jobs := flag.Int("jobs", 1, "cases at one time")
	keep := flag.String("keep", "", "folder for the files of the failures")
	list := flag.Bool("list", false, "list the cases and run none")
	flag.Parse()
	if err := run(*binary, *root, *seed, *times, *match, *jobs, *keep, *list); err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

func run(binary, root string, seed uint64, times int, match string, jobs int, keep string, list bool) error {
	re, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "hostile-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	seeds := filepath.Join(scratch, "seeds")
	if err := os.Mkdir(seeds, 0o755); err != nil {
		return err
	}
	start := time.Now()
	cases, err := hostile.Corpus(binary, seeds, root, seed, times)
	if err != nil {
		return err
	}
	fmt.Printf("%d cases of seed %d, made in %.1f s\n", len(cases), seed, time.Since(start).Seconds())
	var mu sync.Mutex
	var group sync.WaitGroup
	queue := make(chan int)
	failed, done := map[string]int{}, map[string]int{}
	var worst error
	for range max(1, min(jobs, runtime.NumCPU())) {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range queue {
				k := &cases[i]
				var stop time.Duration
				// every twelfth is stopped at a moment of its own
				if i%12 == 11 {
					stop = time.Duration(20+i*37%700) * time.Millisecond
				}
				o, err := k.Run(binary, seeds, scratch, stop)
				mu.Lock()
				switch {
				case err != nil:
					worst = err
				default:
					done[k.Kind]++
					if len(o.Faults) > 0 {
						failed[k.Kind]++
						fmt.Printf("FAIL %s (%s): %s\n     lenskit %s\n", k.Name, k.Note, strings.Join(o.Faults, "; "), strings.Join(k.Args, " "))
						if keep != "" {
							name := regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(k.Name, "_")
							if err := o.Keep(seeds, filepath.Join(keep, name)); err != nil {
								worst = err
							}
						}
					}
				}
				mu.Unlock()
			}
		}()
	}
	for i := range cases {
		if !re.MatchString(cases[i].Name) {
			continue
		}
		if list {
			fmt.Println(cases[i].Name, "|", cases[i].Note)
			continue
		}
		queue <- i
	}
	close(queue)
	group.Wait()
	if worst != nil {
		return worst
	}
	var kinds []string
	for k := range done {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	total, bad := 0, 0
	for _, k := range kinds {
		fmt.Printf("%-12s %4d run, %3d failed\n", k, done[k], failed[k])
		total, bad = total+done[k], bad+failed[k]
	}
	fmt.Printf("%d run, %d failed, %.0f s\n", total, bad, time.Since(start).Seconds())
	if bad > 0 {
		return fmt.Errorf("%d of %d cases failed", bad, total)
	}
	return nil
}
