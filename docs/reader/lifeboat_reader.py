#!/usr/bin/env python3
"""Restores lifeboat repositories without lifeboat, damaged ones too: all that lifeboat_mini.py leaves out.

Written from docs/format.md alone ("the page" below). The mini-reader reads what is as it should be; this file adds what
the page has for worse days: parity and mirrors, packs that no index segment lists, other copies of a blob, shares of the
recovery key, snapshots that were forgotten. What is damaged is named, and the rest restored.
"""

import argparse
import os
import sys

from lifeboat_mini import (
    ALPHABET, DK, INDEX_BYTES_MAX, KH, Cursor, Damaged, Refused, Repository, Restore, Secret, TooNew, add_secrets,
    check, choose, components, describe, open_sealed, open_slot, read_block_table, read_record, read_secret,
    sealed_body, shown, small_object_plain, warn,
)
from lifeboat_parity import Footer, covered_bytes, scrub

# ---------------------------------------------------------------------------------------------- shares


def decode_share(text):
    """The bytes of a share: each line of 24 characters holds 12, and a check that knows its place."""
    lines = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    plain = "".join(lines.upper().split()).replace("-", "").translate(str.maketrans("OIL", "011"))
    if not plain or len(plain) % 24 or any(c not in ALPHABET for c in plain):
        raise Refused("a share is made of lines of 24 letters and digits")
    share = b""
    for i in range(0, len(plain), 24):
        value = 0
        for character in plain[i : i + 24]:
            value = value << 5 | ALPHABET.index(character)
        raw = value.to_bytes(15, "big")
        if DK("share line", bytes([i // 24]) + raw[:12])[:3] != raw[12:]:
            raise Refused(f"line {i // 24 + 1} of the share is mistyped")
        share += raw[:12]
    check(share[0] == 1, "share of another version")
    return share


def combine_shares(texts):
    """The secret of enough shares: the value at 0 of the polynomials through them, byte by byte."""
    exponential, logarithm = [0] * 510, [0] * 256
    power = 1
    for i in range(255):
        exponential[i] = exponential[i + 255] = power
        logarithm[power] = i
        power = power << 1 ^ (0x11D if power & 0x80 else 0)
    shares = [decode_share(text) for text in texts]
    needed, shares = shares[0][9], {share[11]: share for share in shares}
    check(len(shares) >= needed, f"{needed} shares are needed")
    check(len({share[1:11] for share in shares.values()}) == 1, "these shares are of different sets")
    points = dict(list(shares.items())[:needed])
    secret = bytearray(32)
    for x, share in points.items():
        weight = sum(logarithm[y] - logarithm[x ^ y] for y in points if y != x) % 255
        for i, value in enumerate(share[12:44]):
            secret[i] ^= exponential[logarithm[value] + weight] if value else 0
    first = next(iter(points.values()))
    right = DK("shared key check", first[1:11] + bytes(secret))[:16] == first[44:60]
    check(right, "at least one of the shares is wrong")
    return bytes(secret)


# ------------------------------------------------------------------------------------------ repository


class MendedRepository(Repository):
    """A repository of which any object may be damaged or missing."""

    def __init__(self, folder, secret, use_index=True):
        self.use_index, self.condemned, self.problems = use_index, set(), []
        super().__init__(folder, secret)
        self.read_condemned()
        self.read_unlisted_packs()

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

    def open(self, secret):
        for config in self.copies("config"):
            try:
                return self.unlock(config, secret)
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
                        return keys
                except (Damaged, TooNew, KeyError) as why:
                    warn(f"keys/{name}: {why}")
        raise Refused("no key slot opens with this secret")

    def read_condemned(self):
        for name in self.names("gc", "condemned-.*"):
            try:
                data, _, _ = covered_bytes(self.raw("gc/" + name))
                packs = read_record(sealed_body(data, 8, self.repository_id, self.keys[9]), [1]).get(1, b"")
                self.condemned.update(packs[i : i + 32] for i in range(0, len(packs), 32))
            except (Damaged, TooNew) as why:
                warn(f"gc/{name}: {why}")

    def read_segments(self):
        for name in self.names("index") if self.use_index else []:
            try:
                data, problem, _ = covered_bytes(self.raw("index/" + name))
                if problem:
                    warn(f"index/{name}: {problem}")
                body = sealed_body(data, 5, self.repository_id, self.keys[7], INDEX_BYTES_MAX)
                if KH(self.keys[11], body[32:]) != body[:32]:
                    warn(f"index/{name}: has wrong trust bytes; reading from it all the same")
                self.index.add_segment(body)
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
                        self.add_directory(self.directory(pack, tree), pack, tree)
                    except (Damaged, TooNew) as why:
                        warn(f"{top}/{digit}/{name}: {why}")

    def add_directory(self, directory, pack, tree):
        cursor = Cursor(directory)
        cursor.take(32)
        for block, blobs in read_block_table(cursor, pack, tree, 16):
            for rank in range(blobs):
                self.index.add(cursor.take(24 if tree else 8)[:8], block, rank)
        self.index.packs.add((pack, tree))

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

    def read_block(self, block):
        try:
            return super().read_block(block)
        except Damaged as why:
            name = self.pack_name(block.pack, block.tree)
            warn(f"{name}: block at {block.offset}: {why}; trying its parity")
            data, _, _ = covered_bytes(self.raw(name))
            return self.open_block(block, data[block.offset : block.offset + block.stored])

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

    def snapshots(self, forgotten=False):
        """Snapshot records, oldest first."""
        tombs = {name[5:] for name in self.names("gc", "tomb-.*") if self.is_tomb(name)}
        names = {*self.names("snapshots", "[0-9a-f]{32}"), *self.names("mirror/snapshots", "[0-9a-f]{32}")}
        found = []
        for name in sorted(names if forgotten else names - tombs):
            for data in self.copies("snapshots/" + name):
                try:
                    snapshot = self.open_snapshot(name, data)
                    snapshot.forgotten = name in tombs
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

    def read_node(self, node_id, level):
        """What is damaged is named and left out."""
        try:
            return super().read_node(node_id, level)
        except (Damaged, TooNew) as why:
            self.problems.append(f"a part of the tree: {why}")
            return []


# ------------------------------------------------------------------------------------------- restore


class MendingRestore(Restore):
    """Restores what can be. Afterwards `problems` of the repository says what is missing."""

    def __init__(self, repository, target, path):
        super().__init__(repository, target)
        self.only = os.fsencode(path.rstrip("/") + "/") if path else b""

    def entry(self, entry):
        try:
            names = components(entry.key)
            if (b"/".join(names).replace(b"//", b"/") + b"/").startswith(self.only):
                super().entry(entry)
        except (Damaged, TooNew, OSError) as why:
            self.repository.problems.append(f"{shown(entry.key.replace(bytes(1), b'/'))}: {why}")


# ---------------------------------------------------------------------------------------------- main


def describe_fully(snapshot):
    numbers = Cursor(snapshot.fields[16])
    size = [numbers.varint() for _ in range(13)][7]
    partial = snapshot.fields.get(15) == b"\1"
    words = [describe(snapshot), shown(snapshot.fields.get(8, b"")), f"{size} bytes"]
    return "  ".join(words + ["(partial)"] * partial + ["(forgotten)"] * snapshot.forgotten)


def read_any_secret(given):
    if not given.share_file:
        return read_secret(given)
    texts = []
    for path in given.share_file:
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return Secret(3, combine_shares(texts))


def arguments():
    parser = argparse.ArgumentParser(description="Restores lifeboat repositories without lifeboat.")
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    secret = add_secrets(parser)
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
    repository = MendedRepository(given.repo, read_any_secret(given), use_index=not given.no_index)
    snapshots = repository.snapshots(given.forgotten)
    if given.command == "list":
        for snapshot in snapshots:
            print(describe_fully(snapshot))
        return 0
    MendingRestore(repository, given.target, given.path).run(choose(snapshots, given.snapshot))
    for problem in repository.problems:
        warn(f"NOT RESTORED {problem}")
    return 5 if repository.problems else 0


if __name__ == "__main__":
    try:
        sys.exit(run(arguments()))
    except (Refused, Damaged, TooNew, OSError) as why:
        sys.exit(f"error: {why}")
