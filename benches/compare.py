#!/usr/bin/env python3
"""Measures lifeboat against its peers on the corpora of corpora.py and prints medians and ratios.

Promises: every tool meets the same state of the same tree, tools take turns within a round and the order
rotates, the page cache is warmed right before each measurement, and nothing is deleted between
measurements: restored trees go when a round is over, followed by a wait (see README.md, trap 1).
It does not judge correctness beyond comparing one restored tree of each tool with its source.
"""

import argparse
import filecmp
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import time

import corpora
import measure
import report
import tools

# The folder that "one folder back" restores; an empty name is the whole (one-file) corpus.
FOLDERS = {"src": "linux-source-6.1/fs", "many": "d07", "mix": "include", "db": "", "vm": ""}
SHORT_S = 1.0
SETTLE_S = 65


def log(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def settle(what):
    """Waits until a file system that has just deleted much is as fast as before (README.md, trap 1)."""
    subprocess.run(["sync"], check=False)
    log(f"{what}, waiting {SETTLE_S} s for the file system to settle")
    time.sleep(SETTLE_S)


class Bench:
    """The state of a whole run: what was measured, and where it is written."""

    def __init__(self, args):
        self.args = args
        self.work = os.path.abspath(args.work)
        self.corpora = os.path.abspath(args.corpora or os.path.join(self.work, "corpora"))
        self.json = os.path.abspath(args.json or os.path.join(self.work, "compare.json"))
        self.results = {
            "machine": machine(),
            "versions": {},
            "missing": dict(tools.UNAVAILABLE),
            "corpora": {},
        }
        if args.append and os.path.exists(self.json):
            with open(self.json, encoding="utf-8") as handle:
                self.results["corpora"] = json.load(handle)["corpora"]
        self.tools = []
        for tool in tools.expand(args.tools.split(",")):
            if tool.path():
                self.tools.append(tool)
                self.results["versions"][tool.name] = tool.version()
            else:
                self.results["missing"][tool.name] = "not installed"

    def save(self):
        with open(self.json + ".new", "w", encoding="utf-8") as handle:
            json.dump(self.results, handle, indent=1)
        os.replace(self.json + ".new", self.json)


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as handle:
        model = next(
            (line.split(":")[1].strip() for line in handle if line.startswith("model name")), "unknown"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_mib": memory,
        "system": f"{platform.system()} {platform.release()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


class Round:
    """One round over one corpus: each tool makes a fresh repository, backs up three times, reads all back."""

    def __init__(self, bench, corpus, number):
        self.bench, self.corpus, self.number = bench, corpus, number
        self.tree = corpora.tree_path(bench.corpora, corpus)
        self.place = os.path.join(bench.work, f"run-{os.getpid()}", f"{corpus}-{number}")
        self.cells = bench.results["corpora"][corpus]["cells"]
        self.targets = 0
        turn = number % len(bench.tools)
        order = bench.tools[turn:] + bench.tools[:turn]
        self.tools = [self.create(tool) for tool in order]

    def create(self, tool_class):
        folder = os.path.join(self.place, tool_class.name.replace(":", "-"))
        os.makedirs(folder)
        tool = tool_class(folder)
        tool.setup()
        return tool

    def note(self, tool, operation, cost):
        self.cells.setdefault(operation, {}).setdefault(tool.name, []).append(dict(cost, round=self.number))
        self.bench.save()
        log(
            f"{self.corpus} {operation:14} {tool.name:13} {cost['wall_s']:7.2f} s  cpu {cost['cpu_s']:6.2f}"
            f"  {cost['rss_kib'] >> 10:4} MiB  other {cost['other_cpu_s']:5.2f}"
            + (f"  repo {cost['repo_bytes'] / 1e6:.1f} MB" if "repo_bytes" in cost else "")
        )

    def step(self, tool, operation, command, warmed, **how):
        """Measures one command; a failing tool leaves a hole in the table instead of ending the run."""
        measure.warm(*warmed)
        try:
            return measure.run(command, tool.env(), how.pop("cwd", tool.cwd), tool.log, **how)
        except measure.Failed as error:
            log(f"{self.corpus} {operation} {tool.name}: FAILED: {error}")
            self.bench.results["corpora"][self.corpus].setdefault("failed", {}).setdefault(operation, {})[
                tool.name
            ] = str(error)
            return None

    def backup(self, operation, number):
        for tool in self.tools:
            printed = os.path.join(tool.folder, f"backup-{number}.out")
            cost = self.step(
                tool,
                operation,
                tool.backup(self.tree, number),
                [self.tree, tool.repo],
                output=printed,
                allowed=tool.backup_codes,
            )
            if cost:
                tool.after_backup(printed)
                cost["repo_bytes"], cost["repo_files"] = measure.tree_size(tool.repo)
                self.note(tool, operation, cost)

    def read(self, operation, command_of):
        for tool in self.tools:
            for _ in range(2 if self.bench.args.short_twice else 1):
                cost = self.step(tool, operation, command_of(tool), [tool.repo])
                if cost:
                    self.note(tool, operation, cost)
                if not cost or cost["wall_s"] > SHORT_S:
                    break

    def restore_each(self, repeat):
        """Restores in turn: tool after tool, and the whole again for the next repetition."""
        for again in range(repeat):
            self.make_room()
            for tool in self.tools:
                for kind in tool.operations():
                    target = self.fresh_target(tool)
                    measure.empty_cache()
                    cost = self.step(
                        tool, kind, tool.restore(target, kind), [tool.repo], cwd=tool.restore_cwd(target)
                    )
                    if cost:
                        self.note(tool, kind, cost)
                        if again == 0 and self.number == 0 and self.bench.args.verify:
                            self.verify(tool, kind, target)

    def restore_one(self):
        for tool in self.tools:
            for _ in range(2 if self.bench.args.short_twice else 1):
                target = self.fresh_target(tool)
                command = tool.restore_one(self.tree, FOLDERS[self.corpus], target)
                cost = self.step(tool, "restore_one", command, [tool.repo], cwd=tool.restore_cwd(target))
                if cost:
                    self.note(tool, "restore_one", cost)
                if not cost or cost["wall_s"] > SHORT_S:
                    break

    def make_room(self):
        """Deletes what was restored so far where the disk could not hold the next restores, and waits."""
        restores = sum(len(tool.operations()) for tool in self.tools)
        needed = restores * measure.tree_size(self.tree)[0]
        usage = shutil.disk_usage(self.place)
        if usage.free > needed * 1.2 + (2 << 30):
            return
        for tool in self.tools:
            for target in tool.targets:
                shutil.rmtree(target, ignore_errors=True)
            tool.targets.clear()
        settle("the disk is nearly full: deleted the trees that were restored")

    def fresh_target(self, tool):
        self.targets += 1
        target = os.path.join(tool.folder, f"restored-{self.targets}")
        os.makedirs(target)
        tool.targets.append(target)
        return target

    def verify(self, tool, kind, target):
        nested = os.path.join(target, self.tree.lstrip("/"))
        found = differences(self.tree, nested if os.path.isdir(nested) else target)
        self.bench.results["corpora"][self.corpus].setdefault("restored", {}).setdefault(tool.name, {})[
            kind
        ] = found
        log(f"{self.corpus} {kind} {tool.name}: " + (f"DIFFERS: {found}" if found else "identical"))

    def run(self, restores):
        self.backup("backup1", 1)
        self.backup("backup2", 2)
        corpora.apply_change(self.bench.corpora, self.corpus)
        self.backup("backup3", 3)
        self.read("snapshots", lambda tool: tool.snapshots())
        self.read("ls", lambda tool: tool.ls())
        self.read("check", lambda tool: tool.check())
        self.restore_one()
        self.restore_each(restores)
        corpora.undo_change(self.bench.corpora, self.corpus)


def differences(source, restored):
    """Returns counts of what differs between two trees: kind, length, content, permissions, times."""
    found = {}

    def count(what):
        found[what] = found.get(what, 0) + 1

    for folder, folders, files in os.walk(source):
        place = os.path.join(restored, os.path.relpath(folder, source))
        for name in folders + files:
            try:
                compare_entry(os.path.join(folder, name), os.path.join(place, name), count)
            except FileNotFoundError:
                count("missing")
        if os.path.isdir(place):
            for _ in set(os.listdir(place)) - set(folders + files):
                count("extra")
    return found


def compare_entry(one, other, count):
    a, b = os.lstat(one), os.lstat(other)
    if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
        count("kind")
        return
    if stat.S_ISLNK(a.st_mode):
        if os.readlink(one) != os.readlink(other):
            count("link")
        return
    if a.st_mode != b.st_mode:
        count("permissions")
    if not stat.S_ISDIR(a.st_mode):
        if a.st_mtime_ns != b.st_mtime_ns:
            count("time")
        if a.st_size != b.st_size or (stat.S_ISREG(a.st_mode) and not filecmp.cmp(one, other, shallow=False)):
            count("content")


def measure_corpus(bench, corpus):
    """Runs all rounds over one corpus; trees are deleted when a round is over, then the disk settles."""
    args = bench.args
    entry = {"cells": {}, "size": corpora.describe(bench.corpora, corpus)}
    bench.results["corpora"][corpus] = entry
    corpora.undo_change(bench.corpora, corpus)
    for number in range(args.rounds):
        restores = (args.restore_rounds + args.rounds - 1 - number) // args.rounds
        current = Round(bench, corpus, number)
        current.run(restores)
        bench.save()
        if not args.keep:
            shutil.rmtree(current.place)
            settle(f"deleted {current.place}")
    if not args.keep:
        os.rmdir(os.path.dirname(current.place))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", default="src,many,mix,db,vm")
    parser.add_argument(
        "--tools", default="lifeboat,restic,borg,bupstash,rustic", help="out of " + ",".join(tools.ALL)
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--restore-rounds", type=int, default=5, help="full restores of each tool over all rounds"
    )
    parser.add_argument("--work", required=True, help="folder for repositories and results (not a RAM disk)")
    parser.add_argument("--corpora", help="folder that corpora.py built (default: WORK/corpora)")
    parser.add_argument("--json", help="raw results (default: WORK/compare.json)")
    parser.add_argument(
        "--append", action="store_true", help="keep the corpora that the raw results already hold"
    )
    parser.add_argument("--keep", action="store_true", help="keep repositories and restored trees")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not compare restored trees"
    )
    parser.add_argument(
        "--once", dest="short_twice", action="store_false", help="do not repeat cells under 1 s"
    )
    parser.add_argument("--report", action="store_true", help="only print the tables of the raw results")
    return parser.parse_args()


def main():
    args = parse()
    if args.report:
        with open(args.json or os.path.join(args.work, "compare.json"), encoding="utf-8") as handle:
            print(report.markdown(json.load(handle)))
        return 0
    bench = Bench(args)
    if not bench.tools:
        raise SystemExit("none of the tools is installed: see peers.sh")
    for corpus in args.corpus.split(","):
        if corpus not in corpora.NAMES:
            raise SystemExit(f"no corpus {corpus!r}: there are {', '.join(corpora.NAMES)}")
        if corpora.read_state(bench.corpora, corpus) is None:
            log(f"{corpus}: not built, left out (see corpora.py)")
            bench.results["missing"][f"corpus {corpus}"] = "not built"
            continue
        measure_corpus(bench, corpus)
    bench.save()
    print(report.markdown(bench.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
