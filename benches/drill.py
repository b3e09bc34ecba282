#!/usr/bin/env python3
"""What a drill costs beside a restore of everything: CPU seconds, time, and bytes read.

Makes many tiny files, backs them up once, and takes turns between a restore of everything, which is not synced, and drills over
one part in a hundred, each with all that it does: it restores, hashes again, compares attributes and live files, and keeps the
evidence. Files of a few dozen bytes are the worst case: a drill is then all bookkeeping.

    benches/drill.py --program target/release/lifeboat --work /mnt/scratch --files 1000000
"""
import argparse, os, random, resource, shutil, statistics, subprocess, sys, time
from pathlib import Path


def make(folder: Path, files: int) -> None:
    dice = random.Random(7)
    for n in range(files):
        if n % 1000 == 0:
            part = folder / f"{n // 100_000:02}" / f"{n // 1000 % 100:02}"
            part.mkdir(parents=True)
        (part / f"file{n:07}").write_bytes(dice.randbytes(dice.randrange(10, 60)))


def run(command: list) -> dict:
    """Runs a command; its own and its threads' CPU seconds, its time, and what its read calls gave it."""
    start = time.monotonic()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    wall = time.monotonic() - start
    io = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: {status}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "read": int(io["rchar"]), "mib": used.ru_maxrss / 1024}


def shown(name: str, runs: list) -> dict:
    middle = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
    print(f"{name}: {middle['wall']:.2f} s, {middle['cpu']:.2f} CPU s, {middle['read'] / 1e6:.2f} MB read, "
          f"{middle['mib']:.0f} MiB; of {len(runs)}", flush=True)
    return middle


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", required=True)
    options.add_argument("--work", required=True, type=Path)
    options.add_argument("--files", type=int, default=1_000_000)
    options.add_argument("--target", type=Path, help="where is restored to, where that is another file system")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--drills", type=int, default=3, help="drills in each round")
    given = options.parse_args()
    work = given.work / "drill"
    work.mkdir(parents=True)
    os.environ.update(HOME=str(work / "home"), LIFEBOAT_PASSWORD="drill")
    (work / "home").mkdir()
    make(work / "src", given.files)
    program, repo = given.program, work / "repo"
    target = (given.target or given.work) / "drill-target"
    back = target / "back"
    key = ["--key-file", work / "key"]
    run([program, "init", "-r", repo, "--recovery-key-file", work / "recovery"])
    run([program, "key", "add", "-r", repo, "--file", work / "key"])
    del os.environ["LIFEBOAT_PASSWORD"]
    shown("backup", [run([program, "backup", "-q", "-r", repo, *key, work / "src"])])
    whole, part = [], []
    for _ in range(given.rounds):
        whole.append(run([program, "restore", "-q", "-r", repo, *key, "latest", "--no-sync", "--target", back]))
        shutil.rmtree(back)
        for _ in range(given.drills):
            part.append(run([program, "drill", "run", "-r", repo, *key, "--sample", "1%", "--age", "newest",
                             "--scratch", target / "scratch"]))
    whole, part = shown("restore of everything", whole), shown("drill over 1 %", part)
    for name in ("cpu", "wall", "read"):
        print(f"{name}: {100 * part[name] / whole[name]:.2f} % of a restore of everything")
    shutil.rmtree(target)
    shutil.rmtree(work)


main()
