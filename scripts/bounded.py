"""Runs a command within limits of time and memory, and tells what it used and said. See scripts/faults."""
import os
import re
import resource
import signal
import subprocess
import tempfile
import time

MIB = 1 << 20
PAGE_LIMIT = 512 * MIB  # memory beyond the size of the files
CPU_LIMIT = 20.0


def slack():
    """How many times longer than on an idle machine something may take: as many as the processes that wait for each processor,
    but no more than four times."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Result:
    """How a command ended: rc is the exit code, negative for a signal; killed names the limit that it went beyond."""

    def __init__(self):
        self.rc, self.killed, self.obeyed = None, "", None
        self.out = self.err = ""
        self.err_size = 0
        self.rss = self.cpu = self.wall = 0.0

    def __str__(self):
        s = f"exit code {self.rc}" + (f", {self.killed}" if self.killed else "")
        first = (self.err.strip().splitlines() or [""])[0]
        return s + (f", {first[:160]!r}" if first else "")


def obey():
    """Seconds from a signal to the end."""
    return 2.0 * slack()


def _peak(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            m = re.search(r"VmHWM:\s+(\d+)", f.read())
        return int(m.group(1)) * 1024 if m else 0
    except OSError:
        return 0


def _cpu(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            v = f.read().rsplit(")", 1)[1].split()
        return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def forget_peak():
    """Sets the peak of this process to what it holds now, as a child's peak begins with it."""
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass


def run(args, cwd, wall=60, rss=None, cpu=None, sig=None, after=None, when=None, env=None, stdout=None, stderr=None, stdin=None, pre=None):
    """Runs args to their end. sig is sent after so many seconds, or as soon as when() is true; rss (bytes) and cpu (seconds)
    are limits that kill, as wall is."""
    r = Result()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        forget_peak()
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        start = time.time()
        p = subprocess.Popen(args, cwd=cwd, stdout=stdout or out, stderr=stderr or err, stdin=stdin or subprocess.DEVNULL,
                             env=dict(os.environ, **(env or {})), start_new_session=True, preexec_fn=pre)
        sent, peak, usage = None, 0, None
        limit, wall = obey(), wall * slack()
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            now = time.time()
            peak = max(peak, _peak(p.pid))
            if sig and sent is None and ((after is not None and now - start >= after) or (when and when())):
                os.kill(p.pid, sig)
                sent = time.time()
            reason = ""
            if now - start > wall:
                reason = f"not done after {wall:.0f} s"
            elif rss and peak > rss:
                reason = f"took more than {rss // MIB} MiB"
            elif cpu and _cpu(p.pid) > cpu:
                reason = f"used more than {cpu:g} s of the processor"
            elif sent and now - sent > limit + 1:
                reason = "signal not obeyed"
            if reason and not r.killed:
                r.killed = reason
                try:
                    os.killpg(p.pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.002 if sig and sent is None else 0.01)
        p.returncode = status
        end = time.time()
        r.rc = os.waitstatus_to_exitcode(status)
        r.wall, r.cpu = end - start, usage.ru_utime + usage.ru_stime
        r.rss = usage.ru_maxrss * 1024
        if r.rss <= own + 16 * MIB:
            r.rss = max(peak, 0)
        if sent:
            r.obeyed = end - sent
        for f, name in ((out, "out"), (err, "err")):
            size = f.seek(0, 2)
            f.seek(0)
            setattr(r, name, f.read(4 * MIB).decode("utf-8", "replace"))
            if name == "err":
                r.err_size = size
    return r


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def complaints(r, size=0, codes=(0, 2, 3, 4), wordy=False):
    """What must hold of any run and does not: a documented exit code, one line on stderr and at most a hint, no stack of Go's,
    no control characters, bounded memory and time. wordy allows notices on stderr."""
    bad = []
    if r.killed:
        bad.append(r.killed)
    elif r.rc not in codes:
        bad.append(f"exit code {r.rc}")
    if re.search(r"goroutine \d|\.go:\d+", r.err) or "fatal error:" in r.err:
        bad.append("a stack of Go's")
    if "internal error" in r.err:
        bad.append("internal error")
    lines = r.err.strip("\n").splitlines()
    if r.err_size > 4000 or any(len(x.encode()) > 2000 for x in lines):
        bad.append(f"{r.err_size} bytes on stderr")
    errors = [x for x in lines if x.startswith("lenskit: ")]
    if len(errors) > 1 and r.rc != 0 and not wordy:
        bad.append(f"{len(errors)} error lines")
    if r.rc == 2 and not r.killed and (not errors or len(lines) > 2):
        bad.append("no single error line")
    if CONTROL.search(r.err) or CONTROL.search(r.out):
        bad.append("control characters")
    if r.rss > size + PAGE_LIMIT:
        bad.append(f"{r.rss // MIB} MiB for {size // 1024} KiB of files")
    if r.cpu > CPU_LIMIT:
        bad.append(f"{r.cpu:.0f} s of the processor")
    return bad
