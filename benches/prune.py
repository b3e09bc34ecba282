#!/usr/bin/env python3
"""Measures forgetting half of the snapshots of a corpus and freeing their space, in lifeboat and its peers.

Promises: each tool backs up the same tree in the same ten states; the repositories are made once, and each
round works on a copy of them, warmed just before; tools take turns and the order rotates. Every second
snapshot is forgotten, and what only those needed goes at once (no grace period, no undo), because that is
what the peers do. What each tool leaves unused by its own default is left, and told as the size after.
After the last round each tool restores the newest snapshot of its pruned repository, which is compared
with the tree.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

import compare
import corpora
import measure
import tools

SNAPSHOTS = 10
# Of all files, between two snapshots: edited, deleted, new.
EDITED, DELETED, ADDED = 0.02, 0.005, 0.005


def change(out, tree, corpus, number):
    """Brings the tree into its next state."""
    pool, rng = corpora.text_pool_cached(out), corpora.rng_for(corpus, f"prune-{number}")
    files = [path for path, info in corpora.sorted_files(tree) if os.path.isfile(path) and info.st_size]
    chosen = rng.sample(files, int(len(files) * (EDITED + DELETED + ADDED)))
    edited, deleted = int(len(files) * EDITED), int(len(files) * DELETED)
    for path in chosen[:edited]:
        if not os.path.islink(path):
            corpora.edit(path, rng, pool)
    for path in chosen[edited : edited + deleted]:
        os.remove(path)
    for path in chosen[edited + deleted :]:
        with open(f"{path}.new-{number}", "wb") as handle:
            handle.write(corpora.new_content(rng, pool, corpus))


def run_quietly(tool, command):
    """Runs a command that is not measured and returns what it printed."""
    with open(tool.log, "ab") as errors:
        return subprocess.run(
            command, env=tool.env(), cwd=tool.cwd, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors,
        ).stdout


def prepare(args, tree, chosen):
    """Makes a repository of each tool with all snapshots."""
    made = []
    for tool_class in chosen:
        folder = os.path.join(args.work, tool_class.name.replace(":", "-"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        tool = tool_class(folder)
        tool.setup()
        made.append(tool)
    for number in range(SNAPSHOTS):
        if number:
            change(args.corpora, tree, args.corpus, number)
        for tool in made:
            run_quietly(tool, tool.backup(tree, number + 1))
        compare.log(f"state {number + 1} of {SNAPSHOTS} is saved")
    return made


def add_up(costs):
    """One figure for commands that run one after the other."""
    return {
        "wall_s": sum(cost["wall_s"] for cost in costs),
        "cpu_s": sum(cost["cpu_s"] for cost in costs),
        "rss_kib": max(cost["rss_kib"] for cost in costs),
        "other_cpu_s": sum(cost["other_cpu_s"] for cost in costs),
    }


def one_round(tool, saved):
    """Forgets and prunes in a fresh copy of the repository; the copy stays."""
    shutil.rmtree(tool.repo)
    subprocess.run(["cp", "-a", saved, tool.repo], check=True)
    before, _ = measure.tree_size(tool.repo)
    ids = tool.snapshot_ids(run_quietly(tool, tool.snapshots_json()))
    assert len(ids) == SNAPSHOTS, f"{tool.name}: {len(ids)} snapshots"
    measure.warm(tool.repo)
    commands = tool.forget_and_prune(ids[::2])
    cost = add_up([measure.run(command, tool.env(), tool.cwd, tool.log) for command in commands])
    after, _ = measure.tree_size(tool.repo)
    left = tool.snapshot_ids(run_quietly(tool, tool.snapshots_json()))
    assert len(left) == SNAPSHOTS - len(ids[::2]), f"{tool.name}: {len(left)} snapshots are left"
    return dict(cost, before_bytes=before, after_bytes=after)


def verify(tool, tree):
    """Restores the newest snapshot and compares."""
    target = os.path.join(tool.folder, "restored")
    os.makedirs(target)
    run_quietly(tool, tool.restore(target, tool.operations()[0]))
    nested = os.path.join(target, tree.lstrip("/"))
    found = compare.differences(tree, nested if os.path.isdir(nested) else target)
    shutil.rmtree(target)
    return found


def table(results):
    """Medians as markdown."""
    lines = [
        "| | wall s | CPU s | peak memory, MiB | before, MB | after, MB | others' CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        value = {key: statistics.median(cost[key] for cost in rounds) for key in rounds[0]}
        lines.append(
            f"| {name} | {value['wall_s']:.2f} | {value['cpu_s']:.2f} | {value['rss_kib'] / 1024:.0f} "
            f"| {value['before_bytes'] / 1e6:.1f} | {value['after_bytes'] / 1e6:.1f} | {value['other_cpu_s']:.2f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", default="src")
    parser.add_argument("--tools", default="lifeboat,restic,rustic")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", required=True, help="folder for a copy of the corpus and the repositories")
    parser.add_argument("--corpora", required=True, help="folder that corpora.py built")
    parser.add_argument("--keep", action="store_true", help="keep copy and repositories")
    args = parser.parse_args()
    args.work, args.corpora = os.path.abspath(args.work), os.path.abspath(args.corpora)
    chosen = [tool for tool in tools.expand(args.tools.split(",")) if tool.path() and hasattr(tool, "forget_and_prune")]
    os.makedirs(args.work, exist_ok=True)
    tree = os.path.join(args.work, "tree")
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["cp", "-a", corpora.tree_path(args.corpora, args.corpus), tree], check=True)
    made = prepare(args, tree, chosen)
    saved = {tool.name: tool.repo + ".saved" for tool in made}
    for tool in made:
        os.rename(tool.repo, saved[tool.name])
        os.mkdir(tool.repo)
    results = {tool.name: [] for tool in made}
    for number in range(args.rounds):
        turn = number % len(made)
        for tool in made[turn:] + made[:turn]:
            cost = one_round(tool, saved[tool.name])
            results[tool.name].append(cost)
            compare.log(f"round {number + 1} {tool.name:13} {cost['wall_s']:7.2f} s  cpu {cost['cpu_s']:6.2f}  {cost['rss_kib'] >> 10} MiB")
    for tool in made:
        found = verify(tool, tree)
        compare.log(f"{tool.name}: the newest snapshot " + (f"DIFFERS: {found}" if found else "is identical"))
    print(json.dumps({"machine": compare.machine(), "versions": {t.name: t.version() for t in made}, "rounds": results}))
    print(table(results))
    if not args.keep:
        shutil.rmtree(args.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
