#!/usr/bin/env python3
"""Builds the trees that the benchmarks back up, and changes them between two backups.

Promises: the same seed on the same machine gives the same corpus; a change is made in place, on the same
tree, and `undo` puts the old contents back, so that any number of rounds can be run on one build.
Contents of `mix`, and so of `vm`, and the words in `many` and `db` come from the files of the machine it
runs on: sizes differ a little from machine to machine, which is why results are only compared within one.
It does not know the tools that are measured (compare.py does).
"""

import argparse
import glob
import gzip
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile

SEED = 20260801
MIB = 1 << 20
NAMES = ["src", "many", "mix", "db", "vm"]

# Text for `many` and `db` is cut from a pool of at least this size, so that two pieces rarely repeat.
POOL_BYTES_MIN = 48 * MIB
POOL_BYTES_MAX = 64 * MIB
POOL_FILE_BYTES_MAX = 512 << 10


class Unavailable(Exception):
    """A corpus cannot be built on this machine: the text says what is missing."""


def log(text):
    print(text, file=sys.stderr, flush=True)


def tree_path(out, name):
    """Returns the folder to back up for a corpus."""
    return os.path.join(out, name)


def rng_for(name, purpose):
    return random.Random(f"{SEED}/{name}/{purpose}")


def sysroot():
    """Returns the folder of the Rust tool chain, or None."""
    try:
        return subprocess.run(
            ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def sorted_files(root):
    """Yields (path, lstat) of every regular file and link below root, in byte order, not crossing links."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            try:
                yield path, os.lstat(path)
            except OSError:
                continue


# ---------------------------------------------------------------- text pool


def read_text(path):
    """Returns the bytes of a text file, unpacked when gzipped, or None when it is no text."""
    try:
        opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
        with opened as file:
            data = file.read(POOL_FILE_BYTES_MAX)
    except (OSError, EOFError):
        return None
    if len(data) < 500 or b"\0" in data[:4096]:
        return None
    try:
        data[:4096].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        if error.start < 4090:
            return None
    return data


def text_pool(out):
    """Returns real text of this machine: documentation first, then headers, scripts and kernel sources."""
    roots = ["/usr/share/doc", "/usr/share/man", "/usr/share/perl", "/usr/include", "/usr/lib/python3"]
    roots += sorted(glob.glob("/usr/lib/python3.*")) + [
        os.path.join(tree_path(out, "src"), "linux-source-6.1", "Documentation")
    ]
    pool, size, seen = [], 0, set()
    per_root_max = POOL_BYTES_MAX // 3
    for root in roots:
        of_root = 0
        for path, info in sorted_files(root):
            if not stat.S_ISREG(info.st_mode) or size >= POOL_BYTES_MAX or of_root >= per_root_max:
                continue
            data = read_text(path)
            if data is None or hash(data) in seen:
                continue
            seen.add(hash(data))
            pool.append(data)
            size += len(data)
            of_root += len(data)
    if size < POOL_BYTES_MIN:
        raise Unavailable(
            f"only {size // MIB} MiB of text on this machine, {POOL_BYTES_MIN // MIB} needed: build src first"
        )
    return b"".join(pool)


def cut(pool, rng, size):
    start = rng.randrange(len(pool) - size)
    return pool[start : start + size]


# ---------------------------------------------------------------- builders


def build_src(out, work):
    """Unpacks the kernel source that Debian packages as linux-source-6.1."""
    debs = sorted(glob.glob(os.path.join(out, "linux-source-6.1_*.deb")))
    if not debs:
        try:
            subprocess.run(
                ["apt-get", "download", "linux-source-6.1"], cwd=out, check=True, stdout=subprocess.DEVNULL
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"package linux-source-6.1 cannot be downloaded: {error}") from error
        debs = sorted(glob.glob(os.path.join(out, "linux-source-6.1_*.deb")))
    with tempfile.TemporaryDirectory(dir=out) as unpacked:
        subprocess.run(["dpkg", "-x", debs[-1], unpacked], check=True)
        archive = glob.glob(os.path.join(unpacked, "usr/src/linux-source-6.1.tar.*"))[0]
        subprocess.run(["tar", "-xf", archive, "-C", work], check=True)


def small_size(rng):
    """Returns a file size of 0 to 4096 bytes with a mean of about 645."""
    return 0 if rng.random() < 0.01 else min(4096, int(rng.expovariate(1 / 653)))


def build_many(out, work):
    """Writes 500,000 files of 0 to 4 KiB into 25,000 folders, 20 in each."""
    pool, rng = text_pool_cached(out), rng_for("many", "build")
    for top in range(50):
        for folder in range(500):
            path = os.path.join(work, f"d{top:02}", f"{folder:03}-{rng.randrange(1 << 20):05x}")
            os.makedirs(path)
            for file in range(20):
                data = cut(pool, rng, small_size(rng))
                with open(
                    os.path.join(path, f"{file:02}-{rng.randrange(1 << 28):07x}.txt"), "wb", buffering=0
                ) as handle:
                    handle.write(data)


def copy_budget(root, target, bytes_max, files_max, name_filter=None):
    """Copies files of a folder, spread over all of it, until a budget is used up; returns bytes copied."""
    files = [
        (p, s)
        for p, s in sorted_files(root)
        if stat.S_ISREG(s.st_mode) and (name_filter is None or name_filter(p))
    ]
    total = sum(s.st_size for _, s in files)
    step = max(1.0, total / bytes_max, len(files) / files_max)
    # Whole folders are taken or left, so that neighbours stay neighbours as in a real tree.
    taken, used, rng = {}, 0, rng_for("mix", root)
    for path, info in files:
        folder = os.path.dirname(path)
        if taken.setdefault(folder, rng.random() < 1.05 / step) and used + info.st_size <= bytes_max:
            place = os.path.join(target, os.path.relpath(path, root))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            try:
                shutil.copy2(path, place)
            except OSError:
                continue
            used += info.st_size
    return used


def build_mix(out, work):
    """Copies documentation, libraries, headers and a tool chain; adds 450 MB of random bytes."""
    parts = [
        ("/usr/share", "share", 500, 26000),
        ("/usr/lib", "lib", 660, 14000),
        ("/usr/include", "include", 110, 12000),
    ]
    parts += [("/usr/bin", "bin", 120, 800)]
    root = sysroot()
    if root:
        parts += [
            (os.path.join(root, "lib"), "toolchain/lib", 520, 3000),
            (os.path.join(root, "share"), "toolchain/share", 150, 9000),
        ]
    for place, name, megabytes, files in parts:
        used = copy_budget(place, os.path.join(work, name), megabytes * 1000000, files)
        log(f"  mix/{name}: {used / 1e6:.0f} MB")
    rng = rng_for("mix", "photos")
    for number in range(150):
        folder = os.path.join(work, "photos", f"{2015 + number // 15}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"p{number:04}.jpg"), "wb") as handle:
            handle.write(rng.randbytes(rng.randrange(1000000, 5000000)))


DB_ROWS = 1060000


def db_note(pool, rng):
    """Returns text as applications store it: a little JSON around words of people."""
    text = cut(pool, rng, 90 + int(rng.expovariate(1 / 190))).decode("utf-8", "replace")
    channel, country = (
        rng.choice(("web", "phone", "branch", "partner")),
        rng.choice(("DE", "FR", "IT", "ES", "PL", "NL")),
    )
    return json.dumps(
        {"channel": channel, "country": country, "settled": rng.random() < 0.9, "body": text},
        ensure_ascii=False,
    )


def db_row(pool, rng, number):
    kind = ("order", "refund", "note", "login", "transfer")[rng.randrange(5)]
    return (
        number,
        1600000000 + number * 37 + rng.randrange(30),
        rng.randrange(40000),
        kind,
        round(rng.lognormvariate(3, 1.2), 2),
        f"{rng.getrandbits(128):032x}",
        rng.randbytes(16),
        db_note(pool, rng),
    )


def build_db(out, work):
    """Writes an SQLite file of about 535 MB: numbers, keys, text, two indexes, in two versions."""
    pool, rng = text_pool_cached(out), rng_for("db", "build")
    keep = os.path.join(out, ".db")
    os.makedirs(keep, exist_ok=True)
    first, second = (os.path.join(keep, f"v{n}.db") for n in (1, 2))
    for path in (first, second):
        if os.path.exists(path):
            os.unlink(path)
    base = sqlite3.connect(first, isolation_level=None)
    base.executescript(
        "pragma page_size=4096; pragma journal_mode=off; pragma synchronous=off;"
        "create table event(id integer primary key, at integer, account integer, kind text,"
        " amount real, token text, digest blob, note text);"
    )
    insert = "insert into event values(?,?,?,?,?,?,?,?)"
    base.execute("begin")
    base.executemany(insert, (db_row(pool, rng, n) for n in range(1, DB_ROWS + 1)))
    base.execute("create index event_account on event(account)")
    base.execute("create index event_at on event(at)")
    base.execute("commit")
    base.close()
    shutil.copyfile(first, second)
    change_db(second, pool, rng_for("db", "change"), insert)
    shutil.copyfile(first, os.path.join(work, "app.db"))


def change_db(path, pool, rng, insert):
    """Makes version 2: 3 % of rows updated (half among the newest, half in runs), 1 % new, 1 % gone."""
    base = sqlite3.connect(path, isolation_level=None)
    base.executescript("pragma journal_mode=off; pragma synchronous=off;")
    base.execute("begin")
    half = DB_ROWS * 15 // 1000
    newest = rng.sample(range(DB_ROWS * 95 // 100, DB_ROWS), half)
    runs = [
        start + i for start in (rng.randrange(1, DB_ROWS - 50) for _ in range(half // 50)) for i in range(50)
    ]
    for number in sorted(newest + runs):
        if rng.random() < 0.5:
            base.execute(
                "update event set amount=?, token=? where id=?",
                (round(rng.lognormvariate(3, 1.2), 2), f"{rng.getrandbits(128):032x}", number),
            )
        else:
            base.execute("update event set note=? where id=?", (db_note(pool, rng), number))
    for first in rng.sample(range(1, DB_ROWS - 20), DB_ROWS // 2000):
        base.execute("delete from event where id between ? and ?", (first, first + 19))
    base.executemany(insert, (db_row(pool, rng, DB_ROWS + n) for n in range(1, DB_ROWS // 100 + 1)))
    base.execute("commit")
    base.close()


def build_vm(out, work):
    """Makes a sparse 4 GiB ext4 image that holds the mix corpus, and a second version of it."""
    mix = tree_path(out, "mix")
    if not os.path.isdir(mix):
        raise Unavailable("vm is filled from mix: build mix first")
    if read_state(out, "mix") == "changed":
        raise Unavailable("mix is in its changed state: undo it first")
    keep = os.path.join(out, ".vm")
    os.makedirs(keep, exist_ok=True)
    first, second = (os.path.join(keep, f"v{n}.img") for n in (1, 2))
    with open(first, "wb") as image:
        image.truncate(4 << 30)
    uuid = "6d1f0b0a-5d52-4c5e-9a35-6b1d3f0c2a11"
    run_quiet(
        [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-U",
            uuid,
            "-E",
            f"hash_seed={uuid},root_owner=0:0",
            "-d",
            mix,
            first,
        ]
    )
    copy_sparse(first, second)
    change_vm(out, mix, second)
    copy_sparse(first, os.path.join(work, "disk.img"))


def change_vm(out, mix, image):
    """Removes 2 % of the files inside an image and writes 340 new ones, through debugfs."""
    rng, pool = rng_for("vm", "change"), text_pool_cached(out)
    files = [os.path.relpath(p, mix) for p, s in sorted_files(mix) if stat.S_ISREG(s.st_mode)]
    commands = [f'rm "/{name}"' for name in rng.sample(files, len(files) // 50)]
    with tempfile.TemporaryDirectory(dir=out) as folder:
        for number in range(340):
            source = os.path.join(folder, f"n{number}")
            with open(source, "wb") as handle:
                data = cut(pool, rng, rng.randrange(2000, 200000))
                handle.write(data if number % 4 else rng.randbytes(len(data)))
            commands.append(f'write "{source}" "/new-{number:03}.bin"')
        script = os.path.join(folder, "commands")
        with open(script, "w", encoding="utf-8", errors="surrogateescape") as handle:
            handle.write("\n".join(commands) + "\n")
        run_quiet(["debugfs", "-w", "-f", script, image])


def run_quiet(command):
    env = dict(
        os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", E2FSPROGS_FAKE_TIME="1700000000"
    )
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


# ---------------------------------------------------------------- changes between two backups

# Shares of files (edited, deleted, new) and the folder that is renamed.
CHANGES = {
    "src": (0.02, 0.005, 0.005, "linux-source-6.1/sound"),
    "many": (0.01, 0.005, 0.005, None),
    "mix": (0.01, 0.005, 0.01, "photos"),
}
IMAGES = {"db": ("app.db", ".db/v1.db", ".db/v2.db"), "vm": ("disk.img", ".vm/v1.img", ".vm/v2.img")}


def state_file(out, name):
    return os.path.join(out, f".{name}.state.json")


def read_state(out, name):
    """Returns "built", "changed", or None when the corpus is not complete."""
    try:
        with open(state_file(out, name), encoding="utf-8") as handle:
            return json.load(handle)["state"]
    except (OSError, ValueError, KeyError):
        return None


def write_state(out, name, state):
    with open(state_file(out, name), "w", encoding="utf-8") as handle:
        json.dump({"state": state, "seed": SEED}, handle)


def write_in_place(source, target):
    """Makes target equal to source by writing only the 4 KiB pages that differ; holes stay holes."""
    with open(source, "rb") as old, open(target, "r+b") as new:
        new.truncate(os.path.getsize(source))
        position = 0
        while want := old.read(MIB):
            have = new.read(len(want))
            if want != have:
                for start in range(0, len(want), 4096):
                    page = want[start : start + 4096]
                    if page != have[start : start + 4096]:
                        os.pwrite(new.fileno(), page, position + start)
            position += len(want)
            new.seek(position)


def plan_change(tree, name):
    """Returns what the change does: files edited, files deleted, places of new files."""
    edited, deleted, new, _ = CHANGES[name]
    rng = rng_for(name, "change")
    files = [
        os.path.relpath(p, tree) for p, s in sorted_files(tree) if stat.S_ISREG(s.st_mode) and s.st_nlink == 1
    ]
    chosen = rng.sample(files, int(len(files) * (edited + deleted)))
    split = int(len(files) * edited)
    near = rng.sample(files, int(len(files) * new))
    added = [
        os.path.join(os.path.dirname(n), f"new-{i:05}{os.path.splitext(n)[1]}") for i, n in enumerate(near)
    ]
    return sorted(chosen[:split]), sorted(chosen[split:]), added, rng


def edit(path, rng, pool):
    """Changes a file the way an editor does: some lines replaced, some put in, the rest moved along."""
    with open(path, "r+b") as handle:
        data = bytearray(handle.read())
        for _ in range(rng.randrange(1, 4)):
            start = rng.randrange(len(data) + 1)
            data[start : start + rng.randrange(80)] = cut(pool, rng, rng.randrange(10, 200))
        handle.seek(0)
        handle.truncate()
        handle.write(data)


def new_content(rng, pool, name):
    size = small_size(rng) if name == "many" else min(256 << 10, int(rng.lognormvariate(9, 1.2)))
    return rng.randbytes(size) if name == "mix" and rng.random() < 0.2 else cut(pool, rng, size)


def apply_change(out, name):
    """Brings a corpus from its first state into its second, keeping what `undo_change` needs."""
    if read_state(out, name) != "built":
        raise SystemExit(f"cannot change {name}: it is not in its first state (undo it, or build it again)")
    tree = tree_path(out, name)
    write_state(out, name, "changing")
    if name in IMAGES:
        place, _, second = IMAGES[name]
        write_in_place(os.path.join(out, second), os.path.join(tree, place))
    else:
        change_tree(out, tree, name)
    write_state(out, name, "changed")


def change_tree(out, tree, name):
    pool, keep = text_pool_cached(out), os.path.join(out, f".{name}.undo")
    edited, deleted, added, rng = plan_change(tree, name)
    for path in edited + deleted:
        os.makedirs(os.path.join(keep, os.path.dirname(path)), exist_ok=True)
    for path in edited:
        shutil.copy2(os.path.join(tree, path), os.path.join(keep, path))
        edit(os.path.join(tree, path), rng, pool)
    for path in deleted:
        os.rename(os.path.join(tree, path), os.path.join(keep, path))
    for path in added:
        with open(os.path.join(tree, path), "wb") as handle:
            handle.write(new_content(rng, pool, name))
    with open(os.path.join(out, f".{name}.plan.json"), "w", encoding="utf-8") as handle:
        json.dump([edited, deleted, added], handle)
    renamed = CHANGES[name][3]
    if renamed:
        os.rename(os.path.join(tree, renamed), os.path.join(tree, renamed + "-renamed"))


def undo_change(out, name):
    """Puts the contents of the first state back in place; change times stay new, as no tool can set them."""
    if read_state(out, name) == "built":
        return
    if read_state(out, name) != "changed":
        raise SystemExit(f"cannot undo {name}: its change was cut off, build it again")
    tree = tree_path(out, name)
    write_state(out, name, "changing")
    if name in IMAGES:
        place, first, _ = IMAGES[name]
        write_in_place(os.path.join(out, first), os.path.join(tree, place))
    else:
        restore_tree(out, tree, name)
    write_state(out, name, "built")


def restore_tree(out, tree, name):
    keep, renamed = os.path.join(out, f".{name}.undo"), CHANGES[name][3]
    if renamed:
        os.rename(os.path.join(tree, renamed + "-renamed"), os.path.join(tree, renamed))
    with open(os.path.join(out, f".{name}.plan.json"), encoding="utf-8") as handle:
        edited, deleted, added = json.load(handle)
    for path in edited:
        shutil.copy2(os.path.join(keep, path), os.path.join(tree, path))
    for path in deleted:
        os.rename(os.path.join(keep, path), os.path.join(tree, path))
    for path in added:
        os.unlink(os.path.join(tree, path))
    shutil.rmtree(keep)


def text_pool_cached(out):
    """Returns the pool of the first build, so that a change does not depend on later files."""
    path = os.path.join(out, ".pool")
    if not os.path.exists(path):
        pool = text_pool(out)
        with open(path, "wb") as handle:
            handle.write(pool)
    with open(path, "rb") as handle:
        return handle.read()


BUILDERS = {"src": build_src, "many": build_many, "mix": build_mix, "db": build_db, "vm": build_vm}


def build(out, name):
    """Builds one corpus, unless it is there; a half-built one is removed first."""
    if read_state(out, name) in ("built", "changed"):
        log(f"{name}: is there")
        return True
    tree = tree_path(out, name)
    if os.path.exists(tree):
        shutil.rmtree(tree)
    os.makedirs(tree)
    log(f"{name}: building")
    try:
        BUILDERS[name](out, tree)
    except Unavailable as error:
        os.rmdir(tree)
        log(f"{name}: skipped: {error}")
        return False
    write_state(out, name, "built")
    return True


def describe(out, name):
    """Returns (files, folders, bytes) of a corpus."""
    files = folders = size = 0
    for folder, _, names in os.walk(tree_path(out, name)):
        folders += 1
        for file in names:
            files += 1
            size += os.lstat(os.path.join(folder, file)).st_size
    return files, folders, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", required=True, help="folder that holds the corpora (10 GB free; not a RAM disk)"
    )
    parser.add_argument("--only", help="comma-separated names out of " + ",".join(NAMES))
    parser.add_argument("--change", action="store_true", help="bring the corpora into their second state")
    parser.add_argument("--undo", action="store_true", help="bring the corpora back into their first state")
    args = parser.parse_args()
    out = os.path.abspath(args.out)
    os.makedirs(out, exist_ok=True)
    missing = 0
    for name in args.only.split(",") if args.only else NAMES:
        if name not in NAMES:
            parser.error(f"no corpus {name!r}: there are {', '.join(NAMES)}")
        if args.change or args.undo:
            apply_change(out, name) if args.change else undo_change(out, name)
        elif build(out, name):
            files, folders, size = describe(out, name)
            log(f"{name}: {files} files, {folders} folders, {size / 1e6:.0f} MB")
        else:
            missing += 1
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
