"""Runs one command and measures it: wall time, processor time, peak memory, load by others.

Promises: wall time is taken with a process descriptor, not by polling; memory is the high-water mark that
the kernel keeps for the process itself (VmHWM), summed over its helpers, because the figure of `wait4`
starts at the size of the parent that forked it. It does not know what the command does.
"""

import os
import select
import subprocess
import time

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measured command did not exit with an allowed code."""


def children(pid):
    """Returns a process and everything it started that is alive."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children", encoding="ascii") as handle:
                    found += [int(child) for child in handle.read().split()]
        except (OSError, ValueError):
            continue
    return found


def high_water_kib(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as handle:
            for line in handle:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def busy_seconds():
    """Returns processor seconds used by everything on the machine since it started."""
    with open("/proc/stat", encoding="ascii") as handle:
        user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in handle.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


def watch(process):
    """Waits for a process while sampling memory; returns peak KiB by process id."""
    peak, pause_ms = {}, 1
    handle = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while True:
            for pid in children(process.pid):
                peak[pid] = max(peak.get(pid, 0), high_water_kib(pid))
            if poll.poll(pause_ms):
                return peak
            pause_ms = min(20, pause_ms + 1)
    finally:
        os.close(handle)


def run(command, env, cwd, log, allowed=(0,), output=None):
    """Runs a command to its end and returns what it cost.

    Standard output goes to `output` (a path) or nowhere, errors are appended to the file `log`.
    Popen returns after the exec, so no sample is taken of the parent's own memory.
    """
    with open(log, "ab") as errors, open(output or os.devnull, "wb") as out:
        errors.write(f"\n$ {' '.join(command)}\n".encode())
        errors.flush()
        busy, start = busy_seconds(), time.monotonic()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        peak = watch(process)
        wall = time.monotonic() - start
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        busy = busy_seconds() - busy
    if process.returncode not in allowed:
        raise Failed(f"{' '.join(command)}: exit code {process.returncode}, see {log}")
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "wall_s": wall,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "cpu_s": cpu,
        "rss_kib": sum(peak.values()),
        "other_cpu_s": max(0.0, busy - cpu),
        "exit": process.returncode,
    }


def empty_cache():
    """Forgets what files the memory holds, as root: memory that is full of files of earlier steps must be emptied
    page by page while the next step writes."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as handle:
            handle.write("1")
    except OSError:
        pass


def warm(*folders):
    """Reads folders, so that the page cache holds them, and lets earlier writes reach the disk."""
    os.sync()
    for folder in folders:
        if os.path.exists(folder):
            subprocess.run(
                f"find '{folder}' -type f -print0 | xargs -0 -r -n 2000 -P 2 cat >/dev/null 2>&1",
                shell=True,
                check=False,
            )


def tree_size(folder):
    """Returns (bytes, files) below a folder, as file lengths."""
    size = files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            size += os.lstat(os.path.join(place, name)).st_size
            files += 1
    return size, files
