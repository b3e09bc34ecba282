#!/usr/bin/env python3
"""Restores lifeboat repositories without lifeboat.

Written from docs/format.md alone ("the page" below), so that backups outlive the program that made them.
This file holds what the page builds from objects: blobs, snapshots, trees, and restoring them.
It promises never to write into the repository, and to check every id before bytes are used.
It knows only repositories in local folders (copy a remote one first), only version 1, and does not try to be fast.
"""

import argparse
import os
import re
import stat
import sys
from collections import OrderedDict
from datetime import datetime, timezone

from lifeboat_objects import (
    BLOCK_BYTES_MAX, INDEX_BYTES_MAX, KH, Cursor, Index, Refused, Secret, decompress, number, open_sealed, open_slot,
    read_record, sealed_body, small_object_plain,
)
from lifeboat_parity import Damaged, Footer, TooNew, check, covered_bytes, scrub, shown, warn

CACHED_BLOCKS = 16


# ------------------------------------------------------------------------------------------ repository


class Repository:
    def __init__(self, folder, secret, use_index=True):
        self.folder, self.cache = folder, OrderedDict()
        self.unlock(secret)
        self.condemned = set()
        self.read_condemned()
        self.index = Index()
        if use_index:
            self.read_segments()
        self.read_unlisted_packs()

    # -- objects

    def names(self, folder, pattern=".*"):
        path = os.path.join(self.folder, folder)
        found = os.listdir(path) if os.path.isdir(path) else []
        return sorted(name for name in found if re.fullmatch(pattern, name))

    def raw(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def copies(self, name):
        """The covered bytes of a small object, then those of its mirror, as far as they can be read."""
        for copy in (name, "mirror/" + name):
            try:
                data, problem, _ = covered_bytes(self.raw(copy))
                if problem:
                    warn(f"{copy}: {problem}")
                yield data
            except FileNotFoundError:
                if copy == name:
                    warn(f"{copy}: is missing")
            except (Damaged, TooNew) as why:
                warn(f"{copy}: {why}")

    def unlock(self, secret):
        plain = None
        for data in self.copies("config"):
            plain = small_object_plain(data, 1, None)
            self.repository_id, self.family_id = data[16:32], plain[:16]
            if any(plain[16:24]):
                raise TooNew("the repository requires features this reader does not know")
            self.keys = self.try_slots(secret)
            try:
                sealed_body(data, 1, None, self.keys[10])
                return
            except Damaged as why:
                warn(f"config: {why}")
        raise Refused(f"no readable configuration in {self.folder}: is it a repository?")

    def try_slots(self, secret):
        slot = "[0-9a-f]{16}"
        for name in sorted({*self.names("keys", slot), *self.names("mirror/keys", slot)}):
            for data in self.copies("keys/" + name):
                try:
                    plain = small_object_plain(data, 2, self.repository_id)
                    keys = open_slot(plain, secret, bytes.fromhex(name), self.repository_id, self.family_id)
                    if keys:
                        if 3 not in keys:
                            raise Refused("this key maintains the repository; it cannot read what is backed up")
                        return keys
                except (Damaged, TooNew, KeyError) as why:
                    warn(f"keys/{name}: {why}")
        raise Refused("no key slot opens with this secret")

    # -- index and blobs

    def read_condemned(self):
        for name in self.names("gc", "condemned-.*"):
            try:
                data, _, _ = covered_bytes(self.raw("gc/" + name))
                packs = read_record(sealed_body(data, 8, self.repository_id, self.keys[9]), [1]).get(1, b"")
                self.condemned.update(packs[i : i + 32] for i in range(0, len(packs), 32))
            except (Damaged, TooNew) as why:
                warn(f"gc/{name}: {why}")

    def read_segments(self):
        for name in self.names("index"):
            try:
                data, problem, _ = covered_bytes(self.raw("index/" + name))
                if problem:
                    warn(f"index/{name}: {problem}")
                body = sealed_body(data, 5, self.repository_id, self.keys[7], INDEX_BYTES_MAX)
                self.index.add_segment(body, self.keys[11])
            except (Damaged, TooNew) as why:
                warn(f"index/{name}: {why}; its packs are read instead")

    def read_unlisted_packs(self):
        for top, tree in (("packs", False), ("trees", True)):
            for digit in self.names(top):
                for name in self.names(f"{top}/{digit}", "[0-9a-f]{64}"):
                    pack = bytes.fromhex(name)
                    if (pack, tree) in self.index.packs:
                        continue
                    try:
                        self.index.add_directory(self.directory(pack, tree), pack, tree)
                    except (Damaged, TooNew) as why:
                        warn(f"{top}/{digit}/{name}: {why}")

    def pack_name(self, pack, tree):
        return f"{'trees' if tree else 'packs'}/{pack.hex()[0]}/{pack.hex()}"

    def directory(self, pack, tree):
        """The opened directory of a pack; the pack is repaired in memory when it does not open."""
        path = os.path.join(self.folder, self.pack_name(pack, tree))
        length = os.path.getsize(path)
        try:
            with open(path, "rb") as file:
                header = file.read(64)
                file.seek(max(0, length - 160))
                footer = Footer.find(file.read(160), length)
                check(64 <= footer.directory < footer.covered, "directory offset is not allowed")
                file.seek(footer.directory)
                return self.open_directory(header, file.read(footer.covered - footer.directory))
        except Damaged:
            data, _, offset = covered_bytes(self.raw(self.pack_name(pack, tree)))
            for at in [offset] if offset else range(len(data) - 4096, 63, -4096):  # lost with both footers
                try:
                    return self.open_directory(data[:64], data[at:])
                except Damaged:
                    continue
            raise

    def open_directory(self, header, sealed):
        check(len(header) == 64 and header[:4] == b"LBPK", "is not a pack")
        if header[4] != 1:
            raise TooNew(f"version {header[4]}")
        return open_sealed(header[5], self.keys[7], sealed, b"LBO1" + bytes([6]) + header)

    def block(self, block):
        """The blobs of a block, by rank."""
        place = (block.pack, block.offset)
        if place not in self.cache:
            name = self.pack_name(block.pack, block.tree)
            with open(os.path.join(self.folder, name), "rb") as file:
                file.seek(block.offset)
                sealed = file.read(block.stored)
            try:
                blobs = self.open_block(block, sealed)
            except Damaged as why:
                warn(f"{name}: block at {block.offset}: {why}; trying its parity")
                data, _, _ = covered_bytes(self.raw(name))
                blobs = self.open_block(block, data[block.offset : block.offset + block.stored])
            self.cache[place] = blobs
            if len(self.cache) > CACHED_BLOCKS:
                self.cache.popitem(last=False)
        self.cache.move_to_end(place)
        return self.cache[place]

    def open_block(self, block, sealed):
        if block.key_reference:
            raise TooNew("key reference")
        key = self.keys[6 if block.tree else 3]
        aad = b"LBB1" + self.family_id + bytes([block.tree, block.suite])
        cursor = Cursor(decompress(open_sealed(block.suite, key, sealed, aad), BLOCK_BYTES_MAX + 4 * 65536))
        lengths = [cursor.varint() for _ in range(cursor.varint())]
        blobs = [cursor.take(length) for length in lengths]
        cursor.end()
        return blobs

    def blob(self, blob_id, tree):
        """The bytes with this id, from the first of its places that still has them."""
        candidates = self.index.places[tree].get(blob_id[:8], [])
        problem = "is in no pack"
        for block, rank in sorted(candidates, key=lambda place: place[0].pack in self.condemned):
            try:
                blob = self.block(block)[rank]
            except (Damaged, TooNew, OSError, IndexError) as why:
                problem = str(why)
                continue
            if KH(self.keys[4 if tree else 1], blob)[:24] == blob_id:
                return blob
        raise Damaged(f"{'tree node' if tree else 'content'} {blob_id.hex()}: {problem}")

    # -- snapshots

    def snapshots(self, forgotten=False):
        """Snapshot records, oldest first."""
        tombs = {name[5:] for name in self.names("gc", "tomb-.*") if self.is_tomb(name)}
        names = {*self.names("snapshots", "[0-9a-f]{32}"), *self.names("mirror/snapshots", "[0-9a-f]{32}")}
        found = []
        for name in sorted(names if forgotten else names - tombs):
            for data in self.copies("snapshots/" + name):
                try:
                    body = sealed_body(data, 3, self.family_id, self.keys[8])
                    snapshot = Snapshot(read_record(body, range(1, 21)), name in tombs)
                    check(snapshot.id.hex() == name, "record has another id than its name")
                    found.append(snapshot)
                    break
                except (Damaged, TooNew, KeyError) as why:
                    warn(f"snapshots/{name}: {why}")
        return sorted(found, key=lambda snapshot: snapshot.time)

    def is_tomb(self, name):
        try:
            data, _, _ = covered_bytes(self.raw("gc/" + name))
            return read_record(sealed_body(data, 7, self.repository_id, self.keys[9]), [1, 2, 3])[1].hex() == name[5:]
        except (Damaged, TooNew, KeyError) as why:
            warn(f"gc/{name}: {why}")
            return False


class Snapshot:
    def __init__(self, fields, forgotten):
        self.id, self.root, self.forgotten = fields[1], fields[5], forgotten
        check(len(self.id) == 16 and len(self.root) == 25, "field has another length than it should")
        self.time = Cursor(fields[6]).time()
        self.host = fields.get(8, b"")
        self.sources = Cursor(fields.get(10, b"\0")).list()
        self.tags = Cursor(fields.get(11, b"\0")).list()
        self.partial = number(fields, 15) == 1
        numbers = Cursor(fields[16])
        self.counts = [numbers.varint() for _ in range(13)]


# --------------------------------------------------------------------------------------------- trees

FILE, FOLDER, LINK, PIPE, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE, FAULT = range(8)
MARK_CHANGED, MARK_UNREADABLE = 1, 4


class Entry:
    """A path of a snapshot. `contents` is a list of extents: (length, blob id or None for a hole, repeat)."""

    def __init__(self, key, row):
        self.kind, self.mode, self.uid, self.gid, self.attributes = row
        self.key = key
        self.group = self.target = None
        self.size = self.device = 0
        self.contents = []


def read_class(cursor):
    kind, mode, uid, gid = cursor.u8(), cursor.varint(), cursor.varint(), cursor.varint()
    if kind > FAULT:
        raise TooNew(f"kind of file {kind}")
    cursor.bytes(), cursor.bytes()  # names of user and group
    cursor.varint(), cursor.varint(), cursor.varint()  # flags, project, mount row
    form = cursor.u8()
    check(form <= 2, "form of attributes is not allowed")
    return kind, mode, uid, gid, None if form == 0 else cursor.bytes() if form == 1 else ("blob", cursor.take(24))


def read_extents(cursor, count):
    for _ in range(count):
        start = cursor.varint(128)
        if start & 1:
            yield start >> 1, None, 1
        else:
            repeat = cursor.varint() + 1
            yield start >> 1, cursor.take(24), repeat


def read_leaf(node, repository):
    """The entries of a leaf."""
    cursor = Cursor(node)
    check(cursor.u8() == 1, "is not a leaf")
    count, prefix = cursor.varint(), cursor.bytes()
    classes = [read_class(cursor) for _ in range(cursor.varint())]
    columns = [Cursor(cursor.bytes()) for _ in range(8)]
    cursor.end()
    keys, rows, forms, times, inodes, sizes, ids, extras = columns
    entries, key, mtime, ctime = [], b"", 0, 0
    for _ in range(count):
        shared = keys.varint()
        check(shared <= len(key), "key shares more than there is")
        key = key[:shared] + keys.bytes()
        row = rows.varint()
        check(row < len(classes), "class is not there")
        entry = Entry(prefix + key, classes[row])
        form = forms.u8()
        mtime += times.signed(128)
        ctime = mtime if form & 4 else ctime + times.signed(128)
        inodes.signed()
        entry.mtime, entry.marks = mtime, form >> 4
        if entry.kind == FILE:
            entry.size = sizes.varint()
        if form & 8:
            entry.group = extras.take(8)
        if entry.kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
            entry.device = extras.varint()
        if entry.kind in (LINK, FAULT):
            entry.target = extras.bytes()
        entry.contents = read_contents(form & 3, entry.size, ids, extras, repository)
        entries.append(entry)
    for column in columns:
        column.end()
    return entries


def read_contents(form, size, ids, extras, repository):
    if form == 0:
        return []
    if form == 1:
        return [(size, ids.take(24), 1)]
    if form == 2:
        return list(read_extents(extras, extras.varint()))
    level, root = extras.u8(), ids.take(24)
    return walk_extents(repository, root, level)  # a generator: read when the file is written


def walk_extents(repository, node_id, level):
    cursor = Cursor(repository.blob(node_id, tree=True))
    if level == 0:
        check(cursor.u8() == 3, "is not a node of extents")
        yield from read_extents(cursor, cursor.varint())
    else:
        check(cursor.u8() == 4 and cursor.u8() == level, "extent tree has a wrong level")
        for _ in range(cursor.varint()):
            child = cursor.take(24)
            cursor.varint()
            yield from walk_extents(repository, child, level - 1)
    cursor.end()


def walk(repository, node_id, level, problems):
    """All entries below a node, in order. What is damaged is named and left out."""
    try:
        node = repository.blob(node_id, tree=True)
        if level == 0:
            entries, children = read_leaf(node, repository), []
        else:
            entries, children = [], read_index_node(node, level)
    except (Damaged, TooNew) as why:
        problems.append(f"a part of the tree: {why}")
        return
    yield from entries
    for child in children:
        yield from walk(repository, child, level - 1, problems)


def read_index_node(node, level):
    cursor = Cursor(node)
    check(cursor.u8() == 2 and cursor.u8() == level, "tree has a wrong level")
    children = []
    for _ in range(cursor.varint()):
        cursor.varint(), cursor.bytes()  # the last key below the child
        children.append(cursor.take(24))
        cursor.varint(), cursor.varint()  # entries and bytes below
    cursor.end()
    return children


def read_attributes(encoded, repository):
    if encoded is None:
        return []
    cursor = Cursor(repository.blob(encoded[1], tree=True) if isinstance(encoded, tuple) else encoded)
    check(cursor.u8() == 5, "is not an attribute set")
    attributes = [(cursor.bytes(), cursor.bytes()) for _ in range(cursor.varint())]
    cursor.end()
    return attributes


# ------------------------------------------------------------------------------------------- restore


def components(key):
    """The names from the volume down. The last is empty in a fault record."""
    parts = key.split(b"\0")
    check(len(parts) >= 2 and parts[-2] == b"" and all(parts[:-2]), "key is not allowed")
    return parts[:-2] + parts[-1:]


def path_text(names):
    return b"/".join(names).replace(b"//", b"/")


class Restore:
    """Writes a snapshot below a new folder. Afterwards `problems` says what is missing."""

    def __init__(self, repository, target):
        self.repository, self.target, self.problems = repository, os.fsencode(target), []
        self.folders, self.made, self.first_names = [], set(), {}

    def run(self, snapshot, below):
        os.makedirs(self.target, exist_ok=True)
        if os.listdir(self.target):
            raise Refused(f"{shown(self.target)} is not empty")
        self.made.add(self.target)
        for entry in walk(self.repository, snapshot.root[:24], snapshot.root[24], self.problems):
            try:
                names = components(entry.key)
                if (path_text(names) + b"/").startswith(below):
                    self.entry(entry, names)
            except (Damaged, TooNew, OSError) as why:
                self.problems.append(f"{shown(entry.key.replace(bytes(1), b'/'))}: {why}")
        for entry, path in reversed(self.folders):
            self.metadata(entry, path)

    def path(self, names):
        """Where a path goes: `/` is the target itself, a stream a file in it, other volumes get a folder."""
        volume, *rest = names
        check(not any(name in (b".", b"..") or b"/" in name for name in rest), "name is not allowed")
        if volume != b"/":
            rest.insert(0, re.sub(rb"[/\\:]", b"_", volume.removeprefix(b"stream:")))
            check(rest[0] not in (b"", b".", b".."), "name is not allowed")
        return os.path.join(self.target, *rest)

    def entry(self, entry, names):
        if entry.kind == FAULT:
            warn(f"{shown(path_text(names))}: was not complete when it was backed up: {shown(entry.target)}")
            return
        path = self.path(names)
        if entry.kind == FOLDER:
            self.folder(path)
            self.folders.append((entry, path))
            return
        self.folder(os.path.dirname(path))
        if entry.group in self.first_names:
            os.link(self.first_names[entry.group], path, follow_symlinks=False)
            return
        if entry.kind == FILE and entry.marks & MARK_UNREADABLE:
            warn(f"{shown(path)}: its contents could not be read when it was backed up")
            return
        self.create(entry, path)
        self.metadata(entry, path)
        if entry.group:
            self.first_names[entry.group] = path

    def folder(self, path):
        """Makes a folder; never goes through a link that the snapshot itself put there."""
        if path in self.made:
            return
        self.folder(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            check(stat.S_ISDIR(os.lstat(path).st_mode), "something else stands where a folder belongs")
        self.made.add(path)

    def create(self, entry, path):
        kinds = {PIPE: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
        if entry.kind == FILE:
            self.file(entry, path)
        elif entry.kind == LINK:
            os.symlink(entry.target, path)
        else:
            os.mknod(path, kinds[entry.kind] | 0o600, entry.device)

    def file(self, entry, path):
        written = 0
        with open(path, "xb") as file:
            for length, blob_id, repeat in entry.contents:
                if blob_id is None:
                    file.seek(length, os.SEEK_CUR)
                else:
                    blob = self.repository.blob(blob_id, tree=False)
                    check(len(blob) == length, "content has another length than it should")
                    for _ in range(repeat):
                        file.write(blob)
                written += length * repeat
            check(written == entry.size, "contents have another length than the file")
            file.truncate(entry.size)
        if entry.marks & MARK_CHANGED:
            warn(f"{shown(path)}: changed while it was backed up")

    def metadata(self, entry, path):
        if os.geteuid() == 0:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != LINK:
            os.chmod(path, entry.mode)
        for name, value in read_attributes(entry.attributes, self.repository):
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except (OSError, AttributeError) as why:
                warn(f"{shown(path)}: attribute {shown(name)}: {why}")
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


# ---------------------------------------------------------------------------------------------- main


def moment(nanoseconds):
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def list_snapshots(snapshots):
    for snapshot in snapshots:
        words = [snapshot.id.hex(), moment(snapshot.time), shown(snapshot.host), f"{snapshot.counts[7]} bytes"]
        words += [shown(source) for source in snapshot.sources] + ["#" + shown(tag) for tag in snapshot.tags]
        words += ["(partial)"] * snapshot.partial + ["(forgotten)"] * snapshot.forgotten
        print("  ".join(words))


def choose(snapshots, wanted):
    if wanted == "latest" and snapshots:
        return snapshots[-1]
    found = [snapshot for snapshot in snapshots if snapshot.id.hex().startswith(wanted)]
    if len(found) != 1:
        raise Refused(f"{len(found)} snapshots have an id that begins with {wanted!r}")
    return found[0]


def arguments():
    parser = argparse.ArgumentParser(description="Restores lifeboat repositories without lifeboat.")
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file", metavar="F", help="the password is the first line of this file")
    secret.add_argument("--key-file", metavar="F")
    secret.add_argument("--recovery-key-file", metavar="F")
    secret.add_argument("--share-file", metavar="F", action="append", help="a share of the recovery key")
    parser.add_argument("--no-index", action="store_true", help="use the directories of the packs only")
    parser.add_argument("--forgotten", action="store_true", help="also snapshots that were forgotten")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the snapshots")
    restore = commands.add_parser("restore", help="restore a snapshot into a new folder")
    restore.add_argument("snapshot", metavar="SNAPSHOT", help="the beginning of an id, or latest")
    restore.add_argument("target", metavar="TARGET", help="a folder that is empty or not there")
    restore.add_argument("path", metavar="PATH", nargs="?", default="", help="only this folder or file")
    commands.add_parser("scrub", help="check all objects against their hashes; needs no key")
    return parser.parse_args()


def run(given):
    if given.command == "scrub":
        return 5 if scrub(given.repo) else 0
    repository = Repository(given.repo, Secret.from_arguments(given), use_index=not given.no_index)
    snapshots = repository.snapshots(given.forgotten)
    if given.command == "list":
        list_snapshots(snapshots)
        return 0
    restore = Restore(repository, given.target)
    restore.run(choose(snapshots, given.snapshot), os.fsencode(given.path.rstrip("/") + "/" if given.path else ""))
    for problem in restore.problems:
        warn(f"NOT RESTORED {problem}")
    return 5 if restore.problems else 0


if __name__ == "__main__":
    try:
        sys.exit(run(arguments()))
    except (Refused, Damaged, TooNew, OSError) as why:
        sys.exit(f"error: {why}")
