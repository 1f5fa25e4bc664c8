package survey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"lenskit/internal/disk"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// PlanOptions says what Plan plans.
type PlanOptions struct {
	Inputs     []string       // one CSV list, or configs and images, or patterns of such
	Output     string         // folder of the survey
	Noise, PSF string         // of images that come without a list: a number (sigma of a pixel; of the PSF, in arcsec) or a FITS path
	PixelScale float64        // arcsec, of these; 0: as their headers say
	Search     search.Options // complete: search.Options{}.Defaults() is
	Device     string         // cpu, cuda or reference
	Scheduler  string         // slurm, pbs, lsf or sge
	PerTask    int            // lenses that one array task fits, 1 or more
	CPUs       int            // of a task, 1 or more
	Time       string         // that a task may take, H:MM
	Memory     int            // MB of a task
	AtOnce     int            // tasks that may run at one time; 0: no limit
	Program    string         // path of the lenskit to be run
}

// Planned is what Plan wrote.
type Planned struct {
	Lenses   int    `json:"lenses"`
	Tasks    int    `json:"tasks"`
	Manifest string `json:"manifest"`
	Script   string `json:"script"`
	Submit   string `json:"submit"` // the command that hands the script to the batch system
	Moved    string `json:"-"`      // the notice of what was moved aside; "": nothing
}

// Plan writes the manifest of a survey and a job script. It starts nothing.
func Plan(opt PlanOptions) (*Planned, error) {
	if opt.Output == "" {
		return nil, term.BadInput("survey plan: --output is missing, expected the folder of the survey")
	}
	job, ok := jobScripts[opt.Scheduler]
	if !ok {
		return nil, term.BadInput("--scheduler: found %q, expected %s", opt.Scheduler, strings.Join(Schedulers(), ", "))
	}
	if err := opt.checkJob(); err != nil {
		return nil, err
	}
	if err := (&surveyPlan{PerTask: opt.PerTask, Search: opt.Search, Device: opt.Device}).check(term.AsFlag); err != nil {
		return nil, err
	}
	lenses, from, err := opt.lenses()
	if err != nil {
		return nil, err
	}
	s := &Survey{dir: opt.Output, Lenses: lenses}
	s.Plan = surveyPlan{Lenses: len(lenses), PerTask: opt.PerTask, Search: opt.Search.Defaults(), Device: opt.Device, Created: "lenskit " + term.Version()}
	for i := range s.Lenses {
		l := &s.Lenses[i]
		path := l.input()
		if !filepath.IsAbs(path) {
			path = filepath.Join(from, path)
		}
		file, _ := fits.SplitExtension(path)
		info, err := os.Stat(file)
		if err == nil {
			err = disk.Regular(info)
		}
		if err != nil {
			return nil, term.BadInput("%s: %s: %s", opt.place(l), l.input(), term.Reason(err))
		}
		if l.Config != "" && problem.IsFITS(path) {
			return nil, term.BadInput("%s: config: %s is a FITS file, expected a config (image takes FITS files)", opt.place(l), l.Config)
		}
		if info.Size() == 0 || l.Config != "" && saysNothing(path) {
			return nil, term.BadInput("%s: %s: is empty, expected a config or an image", opt.place(l), l.input())
		}
		for _, p := range []*string{&l.Config, &l.Image, &l.Noise, &l.PSF} {
			*p = movedPath(*p, from, opt.Output)
		}
	}
	if err := rundir.SurveyFolder.CheckFor(opt.Output); err != nil {
		return nil, err
	}
	old, err := Open(opt.Output)
	if err == nil && !samePrefix(old.Lenses, s.Lenses) {
		return nil, term.WithHint(term.BadInput("%s: holds a survey of other lenses", opt.Output), "lenses may be added at the end of a survey; for others use another folder")
	}
	text, err := opt.script(&s.Plan, job)
	if err != nil {
		return nil, err
	}
	undo, err := rundir.Open(opt.Output)
	if err != nil {
		return nil, err
	}
	defer undo()
	if err := os.MkdirAll(filepath.Join(opt.Output, folderLogs), 0o755); err != nil {
		return nil, term.BadInput("%s: %s", opt.Output, term.Reason(err))
	}
	texts := map[string]string{rundir.FileManifest: s.manifest(), job.file: text}
	moved, err := s.makeRoom(texts)
	if err != nil {
		return nil, err
	}
	for name, text := range texts {
		s.Plan.Files[name] = disk.SumOf([]byte(text))
		if err := rundir.WriteAtomic(filepath.Join(opt.Output, name), func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			return nil, err
		}
	}
	script := filepath.Join(opt.Output, job.file)
	if err := os.Chmod(script, 0o755); err != nil {
		return nil, term.BadInput("%s: %s", script, term.Reason(err))
	}
	if err := rundir.WriteJSON(filepath.Join(opt.Output, rundir.FileSurvey), &s.Plan); err != nil {
		return nil, err
	}
	return &Planned{Lenses: len(s.Lenses), Tasks: s.Plan.tasks(), Manifest: filepath.Join(opt.Output, rundir.FileManifest), Script: script,
		Submit: job.submit + " " + shellPath(script), Moved: moved}, nil
}

// makeRoom moves aside what stands where the files of the plan go and is not as a plan wrote it: a job script that was
// edited, a list of someone's own. It takes over the sums of the plan before.
func (s *Survey) makeRoom(texts map[string]string) (notice string, err error) {
	var before surveyPlan
	var old []string
	path := filepath.Join(s.dir, rundir.FileSurvey)
	if data, err := disk.Read(path, longestPlan); err == nil && (json.Unmarshal(data, &before) != nil || !strings.HasPrefix(before.Created, "lenskit ")) {
		old, before = append(old, rundir.FileSurvey), surveyPlan{}
	}
	s.Plan.Files = rundir.Sums{}
	maps.Copy(s.Plan.Files, before.Files)
	for name, text := range texts {
		path := filepath.Join(s.dir, name)
		if !rundir.Exists(path) {
			continue
		}
		if sum, err := disk.Sum(path); err != nil {
			return "", err
		} else if sum != disk.SumOf([]byte(text)) && sum != before.Files[name] {
			old = append(old, name)
		}
	}
	return rundir.MoveAside(s.dir, old, "files that are not as lenskit wrote them")
}

// saysNothing tells whether a config has nothing but blanks and comments; one that cannot be read is for those who fit it.
func saysNothing(path string) bool {
	text, err := disk.Read(path, term.MaxConfigFile)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(rundir.WithoutBOM(text)) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !slices.Contains([]string{"---", "..."}, string(line)) {
			return false
		}
	}
	return true
}

// place is where a lens of the input was named.
func (o *PlanOptions) place(l *surveyLens) string {
	if l.line > 0 {
		return fmt.Sprintf("%s:%d", o.Inputs[0], l.line)
	}
	return "survey plan"
}

// samePrefix tells whether the lenses of a survey begin those of another: then what is done stays done under its number.
func samePrefix(begin, all []surveyLens) bool {
	if len(begin) > len(all) {
		return false
	}
	for i, a := range begin {
		b := all[i]
		a.line, b.line = 0, 0
		if a != b {
			return false
		}
	}
	return true
}

// lenses lists what is to be fitted and the folder that its paths are relative to.
func (o *PlanOptions) lenses() (lenses []surveyLens, from string, err error) {
	if len(o.Inputs) == 0 {
		return nil, "", term.BadInput("survey plan: found no list, expected LIST.csv, or configs or images")
	}
	bare := o.Noise != "" || o.PSF != "" || o.PixelScale != 0
	if len(o.Inputs) == 1 && strings.EqualFold(filepath.Ext(o.Inputs[0]), ".csv") {
		if bare {
			return nil, "", term.BadInput("%s: --noise, --psf and --pixel-scale describe images without a list, found a list, which has columns for these", o.Inputs[0])
		}
		lenses, err = readLensList(o.Inputs[0])
		return lenses, filepath.Dir(o.Inputs[0]), err
	}
	for _, in := range o.Inputs {
		paths := []string{in}
		path, _ := fits.SplitExtension(in)
		if _, err := os.Stat(path); err != nil {
			if paths, err = filepath.Glob(in); err != nil {
				return nil, "", term.BadInput("%s: is not a pattern of file names: %v", in, err)
			}
			if len(paths) == 0 {
				return nil, "", term.BadInput("%s: no such file, and no file that fits it as a pattern", in)
			}
			slices.Sort(paths)
		}
		for _, p := range paths {
			l := surveyLens{Config: p}
			if problem.IsFITS(p) {
				l = surveyLens{Image: p, Noise: o.Noise, PSF: o.PSF, PixelScale: o.PixelScale}
			} else if bare {
				return nil, "", term.BadInput("%s: --noise, --psf and --pixel-scale describe images, found a config that says these itself", p)
			}
			lenses = append(lenses, l)
		}
	}
	return lenses, ".", nameLenses("survey plan", lenses)
}

// jobScript is how a batch system is told of an array.
type jobScript struct {
	file, submit string
	path         directivePath
	head         func(o *PlanOptions, array, limit string, log func(task string) string) []string
}

// Schedulers lists the batch systems that a script can be written for.
func Schedulers() []string { return []string{"slurm", "pbs", "lsf", "sge"} }

// jobScripts are the batch systems. Each is told to send a signal some time before the end of its limit, where it can, so
// that a fit saves itself.
var jobScripts = map[string]jobScript{
	"slurm": {"survey.sbatch", "sbatch", slurmPath, func(o *PlanOptions, array, limit string, log func(string) string) []string {
		return []string{"#SBATCH --job-name=lenskit", "#SBATCH --array=" + array + limit, "#SBATCH --nodes=1", "#SBATCH --ntasks=1",
			fmt.Sprintf("#SBATCH --cpus-per-task=%d", o.CPUs), "#SBATCH --time=" + o.Time + ":00", fmt.Sprintf("#SBATCH --mem=%dM", o.Memory),
			"#SBATCH --signal=B:TERM@60", "#SBATCH --output=" + log("%a")}
	}},
	"pbs": {"survey.pbs", "qsub", plainPath, func(o *PlanOptions, array, limit string, log func(string) string) []string {
		return []string{"#PBS -N lenskit", "#PBS -J " + array + limit, fmt.Sprintf("#PBS -l select=1:ncpus=%d:mem=%dmb", o.CPUs, o.Memory),
			"#PBS -l walltime=" + o.Time + ":00", "#PBS -j oe", "#PBS -o " + log("^array_index^")}
	}},
	"lsf": {"survey.lsf", "bsub <", plainPath, func(o *PlanOptions, array, limit string, log func(string) string) []string {
		return []string{fmt.Sprintf("#BSUB -J lenskit[%s]%s", array, limit), fmt.Sprintf("#BSUB -n %d", o.CPUs), `#BSUB -R "span[hosts=1]"`, "#BSUB -W " + o.Time,
			fmt.Sprintf("#BSUB -M %dMB", o.Memory), "#BSUB -wt 1 -wa TERM", "#BSUB -o " + log("%I")}
	}},
	"sge": {"survey.sge", "qsub", plainPath, func(o *PlanOptions, array, limit string, log func(string) string) []string {
		out := []string{"#$ -N lenskit", "#$ -t " + array, fmt.Sprintf("#$ -pe smp %d", o.CPUs), "#$ -l h_rt=" + o.Time + ":00",
			fmt.Sprintf("#$ -l mem_free=%dM", o.Memory), "#$ -notify", "#$ -j y", "#$ -o " + log("$TASK_ID")}
		if limit != "" {
			out = append(out, "#$ -tc "+limit[1:])
		}
		return out
	}},
}

// script is the job script.
func (o *PlanOptions) script(p *surveyPlan, job jobScript) (string, error) {
	dir, err := filepath.Abs(o.Output)
	if err != nil {
		return "", term.BadInput("%s: %v", o.Output, err)
	}
	said := ""
	for _, c := range dir {
		text := job.path(c)
		if said += text; text == "" {
			return "", term.BadInput("%s: its path has the character %q, which cannot be said in a job script for %s, expected another folder", dir, c, o.Scheduler)
		}
	}
	program := o.Program
	if program == "" {
		program = "lenskit"
	}
	if strings.ContainsFunc(program, unicode.IsControl) {
		return "", term.BadInput("%q: has a control character in its path, expected lenskit where job scripts can name it", program)
	}
	array, limit := fmt.Sprintf("1-%d", p.tasks()), ""
	if o.AtOnce > 0 {
		limit = fmt.Sprintf("%%%d", o.AtOnce)
	}
	log := func(task string) string { return filepath.Join(said, folderLogs, task+".log") }
	head := strings.Join(job.head(o, array, limit, log), "\n")
	return fmt.Sprintf(`#!/bin/bash
%s

# %s in %s. A fit that reaches the time limit saves itself and exits with 75: hand the script in again, and it
# goes on; lenses that are done end at once.
#   %s %s
#   lenskit survey status %s
exec %s survey run %s
`, head, Count(p.Lenses, "lens", "lenses"), Count(p.tasks(), "task", "tasks"), job.submit, shellWord(filepath.Join(dir, job.file)), shellWord(dir), shellPath(program), shellWord(dir)), nil
}

// directivePath is how a character of a path is written in the lines that a batch system reads, "" for one that cannot be.
type directivePath func(c rune) string

// plainPath takes the characters to which no batch system gives a meaning: PBS and SGE know hosts and variables in paths, and
// all of them split, quote or expand in ways of their own.
func plainPath(c rune) string {
	if unicode.IsLetter(c) || unicode.IsMark(c) || unicode.IsDigit(c) || strings.ContainsRune("_-./+=@", c) {
		return string(c)
	}
	return ""
}

// slurmPath puts a backslash before what sbatch gives a meaning to. A backslash in the name of a file has one of its own.
func slurmPath(c rune) string {
	switch {
	case !unicode.IsPrint(c) || c == unicode.ReplacementChar || c == '\\':
		return ""
	case c == '%':
		return "%%"
	case strings.ContainsRune(" \"'#", c):
		return "\\" + string(c)
	}
	return string(c)
}

// shellPath quotes a path for a shell, so that no command takes it for an option.
func shellPath(path string) string {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return shellWord(path)
}

// shellWord quotes a word for a shell where it has to be.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=@,:") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// jobTime is a time limit in hours and minutes.
var jobTime = regexp.MustCompile(`^[0-9]{1,5}:[0-5][0-9]$`)

// checkJob holds the resources of a job against what batch systems take.
func (o *PlanOptions) checkJob() error {
	switch {
	case !jobTime.MatchString(o.Time) || strings.Trim(o.Time, "0:") == "":
		return term.BadInput("--time: found %q, expected hours and minutes such as 2:00", o.Time)
	case o.CPUs < 1 || o.CPUs > 4096:
		return term.BadInput("--cpus: found %d, expected 1 to 4096", o.CPUs)
	case o.Memory < 1:
		return term.BadInput("--memory: found %d, expected megabytes above 0", o.Memory)
	case o.AtOnce < 0:
		return term.BadInput("--at-once: found %d, expected 0 or more", o.AtOnce)
	}
	return nil
}

// Count writes a number with its noun.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
