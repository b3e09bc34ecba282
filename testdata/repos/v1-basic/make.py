#!/usr/bin/env python3
"""Made this fixture, once: make.py LIFEBOAT DESTINATION. Never run it into this folder again.

Builds a small tree with everything that is awkward, backs it up three times with changes between, forgets the second
snapshot, and writes a manifest of each state. Run it as an ordinary user: what root may read is no fault.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
from urllib.parse import quote_from_bytes

SOURCE = b"/tmp/lifeboat-fixture"
PASSWORD = "lifeboat-fixture"
MTIME_NS = 1_700_000_000_123_456_789


def write(name, contents, mode=0o644, mtime_ns=MTIME_NS):
    path = os.path.join(SOURCE, name)
    with open(path, "wb") as file:
        file.write(contents)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def write_sparse(name, pieces, piece_bytes, step_bytes):
    """Every step begins with data, the rest is a hole. The last step is all hole."""
    path = os.path.join(SOURCE, name)
    with open(path, "wb") as file:
        for i in range(pieces):
            file.seek(i * step_bytes)
            file.write(bytes([i % 251 + 1, i // 251]) * (piece_bytes // 2))
        file.truncate((pieces + 1) * step_bytes)
    os.utime(path, ns=(MTIME_NS, MTIME_NS))


def compressible(length):
    """One random letter in 64 bytes is enough for the chunker to find places to cut."""
    letters = random.Random(1)
    return b"".join(bytes([letters.randrange(256)]) + b"." * 63 for _ in range(length // 64))


def first_state():
    shutil.rmtree(SOURCE, ignore_errors=True)
    os.makedirs(SOURCE + b"/folder/deep/deeper")
    os.mkdir(SOURCE + b"/no entries")
    write(b"empty", b"")
    write(b"folder/small", b"a few bytes\n")
    write(b"folder/program", b"#!/bin/sh\nexit 0\n", 0o4755)
    write(b"folder/deep/before 1970", b"old\n", 0o600, -86_400_000_000_001)
    write(b"folder/deep/deeper/after 2100", b"new\n", 0o640, 4_200_000_000_000_000_001)
    for i in range(12):
        write(b"folder/deep/deeper/file %d" % i, b"file %d\n" % i * (i + 1))
    write(b"long.log", compressible(2_200_000))
    write_sparse(b"disk.img", 12, 65_536, 262_144)
    write_sparse(b"many-extents.img", 400, 4_096, 65_536)
    odd_names()
    links_and_more()
    faults()


def odd_names():
    names = [b"\xff\xfe not utf-8", b"new\nline", b" spaces ", b"-dash", b"back\\slash", b"\xc3\xa4\xe2\x82\xac", b"n" * 255]
    os.mkdir(SOURCE + b"/odd")
    for name in names:
        write(b"odd/" + name, b"named " + name + b"\n")


def links_and_more():
    os.link(SOURCE + b"/folder/small", SOURCE + b"/hard link")
    os.link(SOURCE + b"/folder/small", SOURCE + b"/odd/third name")
    for name, target in ((b"to a file", b"folder/small"), (b"dangling", b"not/there"), (b"odd/link", b"\xff\xfe")):
        os.symlink(target, SOURCE + b"/" + name)
        os.utime(SOURCE + b"/" + name, ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)
    os.mkfifo(SOURCE + b"/pipe", 0o600)
    os.setxattr(SOURCE + b"/folder/small", b"user.note", b"attributes\0of a file")
    os.setxattr(SOURCE + b"/folder/program", b"user.long", bytes(range(256)) * 8)
    os.setxattr(SOURCE + b"/folder", b"user.empty", b"")


def faults():
    os.mkdir(SOURCE + b"/closed", 0o755)
    write(b"closed/inside", b"nobody sees this\n")
    os.chmod(SOURCE + b"/closed", 0o000)
    write(b"unreadable", b"nobody reads this\n", 0o000)


def second_state():
    write(b"folder/small", b"a few other bytes\n")
    write(b"added", b"in the second state only\n")


def third_state():
    os.remove(SOURCE + b"/added")
    shutil.rmtree(SOURCE + b"/folder/deep/deeper")
    os.rename(SOURCE + b"/long.log", SOURCE + b"/folder/longer.log")
    with open(SOURCE + b"/folder/longer.log", "r+b") as file:
        file.seek(2_100_000)
        file.write(b"changed in the middle")
    write(b"last", b"in the third state only\n")


def settle():
    """Gives what has no time of its own a fixed one, folders last."""
    for top, folders, files in os.walk(SOURCE, topdown=False):
        if b"pipe" in files:
            os.utime(top + b"/pipe", ns=(MTIME_NS, MTIME_NS))
        os.utime(top, ns=(MTIME_NS, MTIME_NS))
        for folder in folders:
            os.utime(os.path.join(top, folder), ns=(MTIME_NS, MTIME_NS))


def manifest_line(path, links):
    """kind, mode, mtime in ns, size, contents or target, link group, attributes, path."""
    status = os.lstat(path)
    kind = {0o10: "file", 0o04: "folder", 0o12: "link", 0o01: "pipe"}[status.st_mode >> 12]
    size, contents, attributes = 0, "-", []
    if kind == "file":
        size = status.st_size
        with open(path, "rb") as file:
            contents = hashlib.sha256(file.read()).hexdigest()
    if kind == "link":
        contents = quote_from_bytes(os.readlink(path))
    else:
        attributes = [f"{n}={os.getxattr(path, n).hex()}" for n in sorted(os.listxattr(path))] if kind != "pipe" else []
    group = links.setdefault(status.st_ino, len(links) + 1) if kind == "file" and status.st_nlink > 1 else "-"
    name = quote_from_bytes(os.path.relpath(path, SOURCE))
    mode = f"{status.st_mode & 0o7777:04o}"
    return "\t".join(map(str, (kind, mode, status.st_mtime_ns, size, contents, group, ",".join(attributes) or "-", name)))


def manifest():
    """One line for each path that can be restored; `unreadable` cannot, `closed` is an empty folder."""
    links, paths = {}, [SOURCE]
    for top, folders, files in os.walk(SOURCE):
        paths += [os.path.join(top, name) for name in folders + files if name != b"unreadable"]
    return "\n".join(manifest_line(path, links) for path in sorted(paths)) + "\n"


class Fixture:
    def __init__(self, lifeboat, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/password", "w", encoding="ascii") as file:
            file.write(PASSWORD + "\n")
        self.command = [lifeboat, "-r", f"{folder}/repo", "--password-file", f"{folder}/password", "--no-cache"]

    def run(self, *arguments, codes=(0,)):
        done = subprocess.run([*self.command, *arguments], check=False)
        assert done.returncode in codes, f"{arguments}: exit code {done.returncode}"

    def backup(self, name, day, *arguments):
        settle()
        with open(f"{self.folder}/{name}.tsv", "w", encoding="ascii") as file:
            file.write(manifest())
        self.run(  # 3: the faults are part of the fixture
            "backup", "--host", "fixture", "--time", f"2026-01-{day}T12:00:00Z", *arguments, os.fsdecode(SOURCE), codes=(3,)
        )


def main(lifeboat, folder):
    assert os.geteuid() != 0, "run it as an ordinary user"
    fixture = Fixture(lifeboat, folder)
    fixture.run("init", "--argon-memory", "64", "--recovery-key-file", f"{folder}/recovery-key")
    first_state()
    fixture.backup("first", "01", "--tag", "first", "--description", "the beginning")
    second_state()
    fixture.backup("second", "02", "--tag", "second")
    third_state()
    fixture.backup("third", "03", "--tag", "third,last")
    fixture.run("forget", "--tag", "second", "latest")
    os.chmod(SOURCE + b"/closed", 0o700)
    shutil.rmtree(SOURCE)


if __name__ == "__main__":
    main(*sys.argv[1:])
