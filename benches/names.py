#!/usr/bin/env python3
"""How long `lifeboat find` takes over many files in many snapshots, as a whole command.

    benches/names.py --lifeboat target/release/lifeboat --files 1000000 --snapshots 50 FOLDER

Makes FILES empty files below FOLDER, backs them up, gives one in a thousand another name and backs up again, until there
are as many snapshots as wanted. Then searches, each search in a process of its own, unlocked by key file.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

SEARCHES = ["report-0654321*", "*654321*", "nothing-like-this", "re*77?.txt", "*7", "**/d0042/*123*"]


def command(args, environment, words):
    begun = time.monotonic()
    done = subprocess.run([os.path.abspath(args.lifeboat), *words], env=environment, capture_output=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{words}: {done.stderr.decode()}")
    return time.monotonic() - begun, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lifeboat", required=True)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--snapshots", type=int, default=10)
    parser.add_argument("folder")
    args = parser.parse_args()
    source, boat = os.path.join(args.folder, "src"), os.path.join(args.folder, "repository")
    os.makedirs(source)
    environment = {"HOME": args.folder, "PATH": "/usr/bin:/bin", "LIFEBOAT_REPOSITORY": boat}
    dice = random.Random(1)
    endings = ["txt", "jpg", "jpeg", "rs", "pdf", "md", "tar.gz"]
    folders = max(1, args.files // 500)
    paths = []
    for n in range(args.files):
        if n < folders:
            os.mkdir(f"{source}/d{n:04}")
        paths.append(f"{source}/d{n % folders:04}/report-{n:07}.{endings[n % 7]}")
        os.close(os.open(paths[-1], os.O_CREAT))
    command(args, environment, ["init"])
    times = []
    for snapshot in range(args.snapshots):
        times.append(command(args, environment, ["backup", source])[0])
        for n in dice.sample(range(args.files), max(1, args.files // 1000)):
            renamed = f"{paths[n].rsplit('.', 1)[0]}.{snapshot}.{endings[n % 7]}"
            os.rename(paths[n], renamed)
            paths[n] = renamed
    print(f"{args.files} files, {args.snapshots} snapshots: first run {times[0]:.1f} s, median of the others {statistics.median(times[1:]):.2f} s")
    first = command(args, environment, ["find", SEARCHES[0]])[0]
    print(f"the first search of all: {first:.2f} s")
    for search in SEARCHES:
        taken, found = [], b""
        for _ in range(7):
            took, found = command(args, environment, ["find", search])
            taken.append(took)
        lines = found.count(b"\n")
        print(f"find {search!r}: median {1000 * statistics.median(taken):.0f} ms, most {1000 * max(taken):.0f} ms, {lines} lines", flush=True)
    shutil.rmtree(args.folder)


main()
