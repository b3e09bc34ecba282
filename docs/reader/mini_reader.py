#!/usr/bin/env python3
"""The smallest program that restores an undamaged lifeboat repository, in one file to be read from top to bottom.

    mini_reader.py REPO --password-file F | --key-file F | --recovery-key-file F   list
    mini_reader.py REPO ...                                                        restore SNAPSHOT TARGET [PATH]

Written from docs/format.md alone. REPO is a local folder, and nothing is written into it. Every hash, length and id is
compared before bytes are used, and what does not fit ends the program: `lifeboat_reader.py` beside it also repairs, takes
shares of a recovery key, and goes on past damage.
"""

import argparse
import io
import os
import re
import stat
import struct
import sys

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdDecompressor, ZstdError

MIB = 1024 * 1024


class Stop(Exception):
    """Why there is no going on."""


def check(condition, why):
    if not condition:
        raise Stop(why)


def shown(name):
    """Untrusted bytes as text that steers no terminal."""
    return repr(os.fsdecode(name))[1:-1]


# ---------------------------------------------------------------------------- numbers, records, hashes


def keyed(key, data, length=32):
    return blake3(data, key=key).digest(length=length)


def derived(context, data, length=32):
    return blake3(data, derive_key_context="lifeboat 2026 v1 " + context).digest(length=length)


class Cursor:
    """Takes values from the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        check(length <= len(self.data) - self.at, "ends too early")
        self.at += length
        return self.data[self.at - length : self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            check(shift < 133, "number is too long")
            if byte < 128:
                return value
            shift += 7

    def signed(self):
        value = self.varint()
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def bytes(self):
        return self.take(self.varint())

    def list(self):
        return [self.bytes() for _ in range(self.varint())]

    def end(self):
        check(self.at == len(self.data), "bytes are left over")


def record(data, known):
    """The fields of a record by tag. Unknown ones below 64 change what the record means."""
    cursor, fields = Cursor(data), {}
    while cursor.at < len(data):
        tag = cursor.varint()
        check(tag >= 64 or tag in known, f"field {tag} is of a newer version")
        fields[tag] = cursor.bytes()
    return fields


def number(fields, tag):
    return Cursor(fields[tag]).varint() if tag in fields else 0


# --------------------------------------------------------------------------------- sealed and compressed


def open_aead(suite, key, sealed, aad):
    check(suite in (1, 2), f"suite {suite} is of a newer version")
    try:
        return (AESGCM if suite == 1 else ChaCha20Poly1305)(key).decrypt(bytes(12), sealed, aad)
    except InvalidTag:
        raise Stop("does not open with this key") from None


def open_sealed(suite, key, sealed, aad):
    """A part with a salt of its own in front, from which its key is made."""
    message_key = keyed(key, b"lifeboat message" + bytes([suite]) + sealed[:24])
    return open_aead(suite, message_key, sealed[24:], aad)


def decompress(body, bytes_max):
    cursor = Cursor(body)
    codec, length = cursor.u8(), int.from_bytes(cursor.take(4), "little")
    check(codec <= 1, f"codec {codec} is of a newer version")
    check(length <= bytes_max, "length is beyond the limit")
    plain = body[5:]
    if codec == 1:
        try:
            plain = ZstdDecompressor().stream_reader(io.BytesIO(plain)).read(length + 1)
        except ZstdError as why:
            raise Stop(f"does not decompress: {why}") from None
    check(len(plain) == length, "decoded length is wrong")
    return plain


# ---------------------------------------------------------------------------------- objects and footers


def covered_bytes(raw):
    """What the footer at the end of an object covers, and where the directory of a pack begins in it."""
    check(len(raw) >= 160, "is shorter than its footers")
    magic, version, covered, directory, _shard, parity, digest, own = struct.unpack("<4sB3xQQII32s16s", raw[-80:])
    check(magic == b"LBFT" and version == 1, "has no footer of this version")
    check(own == blake3(raw[-80:-16]).digest()[:16], "its footer is damaged")
    check(covered + parity + 160 == len(raw), "its length is wrong")
    check(blake3(raw[:covered]).digest() == digest, "its hash is wrong")
    return raw[:covered], directory


def small_object(data, kind, scope):
    """The plain part of a small object, and where the sealed part begins."""
    check(data[:4] == b"LBOB" and data[5] == kind, "is no object of the kind that its name says")
    check(data[4] == 1 and not data[7], "is of a newer version")
    plain, sealed = struct.unpack("<II", data[8:16])
    check(32 + plain + sealed == len(data), "lengths in its header are wrong")
    check(scope is None or data[16:32] == scope, "belongs to another repository")
    return data[32 : 32 + plain], 32 + plain


def sealed_body(data, kind, scope, key, bytes_max=64 * MIB):
    _, at = small_object(data, kind, scope)
    return decompress(open_sealed(data[6], key, data[at:], b"LBO1" + data[:at]), bytes_max)


# ------------------------------------------------------------------------------------------------- keys

# By number, from 1 on.
KEYS = "data ids,chunking,data,tree ids,boundaries,tree,index,snapshots,gc,config,trust,salt".split(",")
DATA_IDS, DATA, TREE_IDS, TREE, INDEX, SNAPSHOTS, CONFIG = 1, 3, 4, 6, 7, 8, 10
PASSWORD, KEY_FILE, RECOVERY_KEY = 1, 2, 3
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def text_key(text):
    """The 32 bytes of a key file or a recovery key: base32 with three bytes of checksum."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    plain = re.sub(r"[\s-]", "", " ".join(lines).strip().removeprefix("lifeboat-key-1")).upper()
    plain = plain.translate(str.maketrans("OIL", "011"))
    check(len(plain) == 56 and all(c in ALPHABET for c in plain), "the key has not 56 letters and digits")
    value = 0
    for character in plain:
        value = value << 5 | ALPHABET.index(character)
    raw = value.to_bytes(35, "big")
    check(blake3(raw[:32]).digest()[:3] == raw[32:], "the key has a typing error: its checksum is wrong")
    return raw[:32]


def read_secret(given):
    """What unlocks: its kind, and its bytes."""
    if given.password_file:
        with open(given.password_file, "rb") as file:
            return PASSWORD, file.readline().rstrip(b"\r\n")
    kind, path = (KEY_FILE, given.key_file) if given.key_file else (RECOVERY_KEY, given.recovery_key_file)
    check(path, "give --password-file, --key-file or --recovery-key-file")
    with open(path, encoding="utf-8") as file:
        return kind, text_key(file.read())


def stretch(secret, salt, cost):
    """A password is made expensive to try."""
    memory_kib, passes, lanes = (cost.varint() for _ in range(3))
    check(1 <= lanes <= 16 and 1 <= passes <= 12 and 8 * lanes <= memory_kib <= MIB, "its cost is beyond the limits")
    return hash_secret_raw(secret, salt, passes, memory_kib, lanes, 32, Type.ID, 0x13)


def open_slot(plain, secret, slot_id, repository_id, family_id):
    """The keys in a key slot by number; None if it is not for this secret."""
    fields, (kind, material) = record(plain, range(1, 9)), secret
    check(fields[1] == slot_id, "has another id than its name")
    if number(fields, 2) != kind:
        return None
    salt, commitment, wrapped, public = (fields[tag] for tag in (4, 5, 6, 7))
    if kind == PASSWORD:
        material = stretch(material, salt, Cursor(fields[3]))
    key = derived("slot wrapping", material + salt + slot_id + repository_id, 64)
    if key[32:] != commitment:
        return None
    opened = open_aead(1, key[:32], wrapped, b"LBKS1" + repository_id + slot_id + bytes([kind]) + public)
    private, fingerprint = opened[:32], opened[32:]
    keys = open_owner_bundle(fields[8], private, public, repository_id, family_id)
    own = derived("fingerprint", b"".join(keys[n] for n in range(4, 13)))
    check(own == fingerprint, "keys have another fingerprint than the slot's: somebody exchanged them")
    return keys


def open_owner_bundle(field, private, public, repository_id, family_id):
    cursor, owner = Cursor(field), None
    for _ in range(cursor.varint()):
        capability, ephemeral, commitment, sealed = cursor.u8(), cursor.take(32), cursor.take(32), cursor.bytes()
        if capability == 1:
            owner = ephemeral, commitment, sealed
    check(owner, "this key maintains the repository; it cannot read what is backed up")
    ephemeral, commitment, sealed = owner
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(ephemeral))
    key = derived("slot bundle", shared + ephemeral + public + repository_id, 64)
    check(key[32:] == commitment, "bundle is damaged")
    bundle = Cursor(open_aead(1, key[:32], sealed, b"LBKB1" + bytes([1]) + family_id))
    check((bundle.varint(), bundle.varint()) == (1, 1), "more than one epoch of keys: a newer version")
    secret = bundle.take(32)
    return {n: derived(name, secret) for n, name in enumerate(KEYS, 1)}


# ------------------------------------------------------------------------------------------- repository


class Repository:
    def __init__(self, folder, secret):
        self.folder, self.last_block = folder, (None, None)
        self.places = {False: {}, True: {}}  # trees or not: from the first 8 bytes of an id to (block, rank)
        config, _ = covered_bytes(self.raw("config"))
        plain, _ = small_object(config, 1, None)
        self.id, self.family = config[16:32], plain[:16]
        check(not any(plain[16:24]), "the repository needs a newer version")
        self.keys = self.unlock(secret)
        sealed_body(config, 1, None, self.keys[CONFIG])
        for name in self.names("index"):
            data, _ = covered_bytes(self.raw("index/" + name))
            self.read_segment(sealed_body(data, 5, self.id, self.keys[INDEX], 512 * MIB))

    def raw(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def names(self, folder):
        return sorted(os.listdir(os.path.join(self.folder, folder)))

    def unlock(self, secret):
        for name in self.names("keys"):
            plain, _ = small_object(covered_bytes(self.raw("keys/" + name))[0], 2, self.id)
            keys = open_slot(plain, secret, bytes.fromhex(name), self.id, self.family)
            if keys:
                return keys
        raise Stop("no key slot opens with this secret")

    def read_segment(self, body):
        """Takes in an index segment: packs with their blocks, then columns of all blobs, sorted by id."""
        cursor, positions = Cursor(body), []
        cursor.take(48)
        for _ in range(cursor.varint()):
            pack, is_tree = cursor.take(32), cursor.u8() == 1
            cursor.u8(), cursor.varint()  # class and length of the pack
            for _ in range(cursor.varint()):  # the key table; version 1 writes none
                cursor.u8(), cursor.bytes()
            offset = 64
            for _ in range(cursor.varint()):
                stored, _raw, suite, key_reference = cursor.varint(), cursor.varint(), cursor.u8(), cursor.varint()
                check(key_reference == 0, "key reference of a newer version")
                block = (pack, is_tree, offset, stored, suite)
                positions += [(block, rank) for rank in range(cursor.varint())]
                offset += stored
        count, head, heads = cursor.varint(), 0, []
        for _ in range(count):
            head += cursor.varint()
            heads.append(head.to_bytes(8, "big"))
        cursor.take(8 * count)  # bytes 8 to 16 of the ids
        planes = [cursor.take(count) for _ in range(4)]
        cursor.end()
        for head, *position in zip(heads, *planes):
            block, rank = positions[int.from_bytes(bytes(position), "little")]
            self.places[block[1]].setdefault(head, []).append((block, rank))

    def block(self, block):
        """The blobs of a block, by rank."""
        if self.last_block[0] != block:
            pack, is_tree, offset, stored, suite = block
            name = f"{'trees' if is_tree else 'packs'}/{pack.hex()[0]}/{pack.hex()}"
            with open(os.path.join(self.folder, name), "rb") as file:
                file.seek(offset)
                sealed = file.read(stored)
            aad = b"LBB1" + self.family + bytes([is_tree, suite])
            opened = open_sealed(suite, self.keys[TREE if is_tree else DATA], sealed, aad)
            cursor = Cursor(decompress(opened, 17 * MIB))
            lengths = [cursor.varint() for _ in range(cursor.varint())]
            self.last_block = block, [cursor.take(length) for length in lengths]
            cursor.end()
        return self.last_block[1]

    def blob(self, blob_id, is_tree):
        key = self.keys[TREE_IDS if is_tree else DATA_IDS]
        for block, rank in self.places[is_tree].get(blob_id[:8], []):
            blobs = self.block(block)
            if rank < len(blobs) and keyed(key, blobs[rank])[:24] == blob_id:
                return blobs[rank]
        raise Stop(f"{blob_id.hex()} is in no pack")

    def snapshots(self):
        """Snapshot records by id, oldest first."""
        found = []
        for name in self.names("snapshots"):
            data, _ = covered_bytes(self.raw("snapshots/" + name))
            fields = record(sealed_body(data, 3, self.family, self.keys[SNAPSHOTS]), range(1, 21))
            check(fields[1].hex() == name, "a record has another id than its name")
            time = Cursor(fields[6])
            found.append(((time.signed(), time.varint()), name, fields))
        return {name: fields for _, name, fields in sorted(found, key=lambda one: one[:2])}


# ------------------------------------------------------------------------------------------------ trees

FILE, FOLDER, LINK, PIPE, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE, FAULT = range(8)
MARK_UNREADABLE = 4


class Entry:
    """A path of a snapshot. `contents` is a list of (length, blob id or None for a hole, how often)."""


def read_leaf(node, repository):
    cursor = Cursor(node)
    check(cursor.u8() == 1, "is not a leaf")
    count, prefix = cursor.varint(), cursor.bytes()
    classes = [read_class(cursor) for _ in range(cursor.varint())]
    keys, rows, forms, times, inodes, sizes, ids, extras = columns = [Cursor(cursor.bytes()) for _ in range(8)]
    cursor.end()
    key, mtime = b"", 0
    for _ in range(count):
        entry = Entry()
        key = key[: keys.varint()] + keys.bytes()
        entry.key = prefix + key
        entry.kind, entry.mode, entry.uid, entry.gid, entry.attributes = classes[rows.varint()]
        form = forms.u8()
        mtime += times.signed()
        entry.mtime, entry.marks = mtime, form >> 4
        if not form & 4:
            times.signed()  # the time of change
        inodes.signed()
        entry.size = sizes.varint() if entry.kind == FILE else 0
        entry.group = extras.take(8) if form & 8 else None
        entry.device = extras.varint() if entry.kind in (CHARACTER_DEVICE, BLOCK_DEVICE) else 0
        entry.target = extras.bytes() if entry.kind in (LINK, FAULT) else None
        entry.contents = read_contents(form & 3, entry.size, ids, extras, repository)
        yield entry
    for column in columns:
        column.end()


def read_class(cursor):
    """What many entries share: kind, mode, owner, and extended attributes."""
    kind, mode, uid, gid = cursor.u8(), cursor.varint(), cursor.varint(), cursor.varint()
    check(kind <= FAULT, f"kind {kind} is of a newer version")
    cursor.bytes(), cursor.bytes()  # names of user and group
    cursor.varint(), cursor.varint(), cursor.varint()  # flags, project, mount row
    form = cursor.u8()
    return kind, mode, uid, gid, (None if form == 0 else cursor.bytes() if form == 1 else ("blob", cursor.take(24)))


def read_extents(cursor):
    for _ in range(cursor.varint()):
        start = cursor.varint()
        if start & 1:
            yield start >> 1, None, 1
        else:
            repeat = cursor.varint() + 1
            yield start >> 1, cursor.take(24), repeat


def read_contents(form, size, ids, extras, repository):
    if form == 0:
        return []
    if form == 1:
        return [(size, ids.take(24), 1)]
    if form == 2:
        return list(read_extents(extras))
    level, root = extras.u8(), ids.take(24)
    return walk_extents(repository, root, level)


def walk_extents(repository, node_id, level):
    """The extents of a long file, which have a tree of their own."""
    cursor = Cursor(repository.blob(node_id, True))
    if level == 0:
        check(cursor.u8() == 3, "is not a node of extents")
        yield from read_extents(cursor)
    else:
        check(cursor.u8() == 4 and cursor.u8() == level, "extent tree has a wrong level")
        for _ in range(cursor.varint()):
            child = cursor.take(24)
            cursor.varint()
            yield from walk_extents(repository, child, level - 1)
    cursor.end()


def walk(repository, node_id, level):
    """All entries below a node, in order."""
    node = repository.blob(node_id, True)
    if level == 0:
        yield from read_leaf(node, repository)
        return
    cursor = Cursor(node)
    check(cursor.u8() == 2 and cursor.u8() == level, "tree has a wrong level")
    for _ in range(cursor.varint()):
        cursor.varint(), cursor.bytes()  # the last key below the child
        child = cursor.take(24)
        cursor.varint(), cursor.varint()  # entries and bytes below
        yield from walk(repository, child, level - 1)


def read_attributes(encoded, repository):
    if encoded is None:
        return []
    cursor = Cursor(repository.blob(encoded[1], True) if isinstance(encoded, tuple) else encoded)
    check(cursor.u8() == 5, "is not a set of attributes")
    return [(cursor.bytes(), cursor.bytes()) for _ in range(cursor.varint())]


# ---------------------------------------------------------------------------------------------- restore


def components(key):
    """The names from the volume down; the last is empty where a folder could not be read completely."""
    parts = key.split(b"\0")
    check(len(parts) >= 2 and parts[-2] == b"" and all(parts[:-2]), "key is not allowed")
    return parts[:-2] + parts[-1:]


class Restore:
    """Writes a snapshot below a new folder."""

    def __init__(self, repository, target):
        self.repository, self.target = repository, os.fsencode(target)
        self.made, self.folders, self.links = {self.target}, [], {}

    def run(self, root, below):
        os.makedirs(self.target, exist_ok=True)
        check(not os.listdir(self.target), "the target is not empty")
        for entry in walk(self.repository, root[:24], root[24]):
            names = components(entry.key)
            path = b"/".join(names).replace(b"//", b"/")
            if not (path + b"/").startswith(below):
                continue
            if entry.kind == FAULT or entry.marks & MARK_UNREADABLE:
                print(f"{shown(path)}: could not be read when it was backed up", file=sys.stderr)
                continue
            try:
                self.entry(entry, self.path(names))
            except Stop as why:
                raise Stop(f"{shown(path)}: {why}") from None
        for entry, path in reversed(self.folders):
            self.metadata(entry, path)

    def path(self, names):
        """The volume `/` is the target itself, a stream a file in it, any other a folder in it."""
        volume, *rest = names
        if volume != b"/":
            rest.insert(0, re.sub(rb"[/\\:]", b"_", volume.removeprefix(b"stream:")))
        check(not any(name in (b"", b".", b"..") or b"/" in name for name in rest), "name is not allowed")
        return os.path.join(self.target, *rest)

    def folder(self, path):
        """Makes a folder; never goes through a link that the snapshot itself put there."""
        if path not in self.made:
            self.folder(os.path.dirname(path))
            os.mkdir(path, 0o700)
            self.made.add(path)

    def entry(self, entry, path):
        if entry.kind == FOLDER:
            self.folder(path)
            self.folders.append((entry, path))
            return
        self.folder(os.path.dirname(path))
        if entry.group in self.links:
            os.link(self.links[entry.group], path, follow_symlinks=False)
            return
        if entry.kind == FILE:
            self.file(entry, path)
        elif entry.kind == LINK:
            os.symlink(entry.target, path)
        else:
            kinds = {PIPE: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER_DEVICE: stat.S_IFCHR}
            os.mknod(path, kinds.get(entry.kind, stat.S_IFBLK) | 0o600, entry.device)
        self.metadata(entry, path)
        if entry.group:
            self.links[entry.group] = path

    def file(self, entry, path):
        with open(path, "xb") as file:
            for length, blob_id, repeat in entry.contents:
                if blob_id is None:
                    file.seek(length, os.SEEK_CUR)
                    continue
                blob = self.repository.blob(blob_id, False)
                check(len(blob) == length, "content has another length than it should")
                for _ in range(repeat):
                    file.write(blob)
            check(file.tell() == entry.size, "contents have another length than the file")
            file.truncate(entry.size)

    def metadata(self, entry, path):
        if os.geteuid() == 0:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != LINK:
            os.chmod(path, entry.mode)
        for name, value in read_attributes(entry.attributes, self.repository):
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as why:
                print(f"{shown(path)}: attribute {shown(name)}: {why}", file=sys.stderr)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


# ------------------------------------------------------------------------------------------------- main


def arguments():
    parser = argparse.ArgumentParser(description="Restores an undamaged lifeboat repository without lifeboat.")
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    secret = parser.add_mutually_exclusive_group(required=True)
    for option in ("--password-file", "--key-file", "--recovery-key-file"):
        secret.add_argument(option, metavar="F")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the snapshots")
    restore = commands.add_parser("restore", help="restore a snapshot into a new folder")
    restore.add_argument("snapshot", metavar="SNAPSHOT", help="the beginning of an id, or latest")
    restore.add_argument("target", metavar="TARGET", help="a folder that is empty or not there")
    restore.add_argument("path", metavar="PATH", nargs="?", default="", help="only this folder or file")
    return parser.parse_args()


def run(given):
    repository = Repository(given.repo, read_secret(given))
    snapshots = repository.snapshots()
    if given.command == "list":
        for name, fields in snapshots.items():
            tags = [f"#{shown(tag)}" for tag in Cursor(fields.get(11, b"\0")).list()]
            sources = [shown(source) for source in Cursor(fields.get(10, b"\0")).list()]
            is_forgotten = os.path.exists(os.path.join(given.repo, f"gc/tomb-{name}"))
            print(name, *sources, *tags, *["(forgotten)"] * is_forgotten, sep="  ")
        return
    found = [name for name in snapshots if name.startswith(given.snapshot)]
    if given.snapshot == "latest":
        found = list(snapshots)[-1:]
    check(len(found) == 1, f"{len(found)} snapshots have an id that begins with {given.snapshot!r}")
    below = os.fsencode(given.path.rstrip("/") + "/") if given.path else b""
    Restore(repository, given.target).run(snapshots[found[0]][5], below)


if __name__ == "__main__":
    try:
        run(arguments())
    except (Stop, OSError, KeyError, IndexError) as why:
        sys.exit(f"error: {why}")
