#!/usr/bin/env python3
"""The shortest way back: restores an undamaged lifeboat repository without lifeboat. Read it from top to bottom.

Written from docs/format.md alone ("the page"). It never writes into the repository, and uses no bytes before their id
was computed again. It knows only local folders (copy a remote repository first) and version 1, and stops at the first
thing that is not as the page says. lifeboat_reader.py goes on from here: damage, shares, forgotten snapshots.
"""

import argparse
import os
import re
import stat
import struct
import sys
import time
from collections import namedtuple
from functools import lru_cache
from types import SimpleNamespace

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdDecompressor, ZstdError

BLOCK_BYTES_MAX, RECORD_BYTES_MAX, INDEX_BYTES_MAX = 16 << 20, 64 << 20, 512 << 20

class Damaged(Exception): "Bytes that the page does not allow, or that fail a check."
class TooNew(Exception): "Bytes written by a later version of the format."
class Refused(Exception): "The user has to change something: the secret, the arguments, the target."

def check(condition, why):
    if not condition:
        raise Damaged(why)

def warn(text):
    print(text, file=sys.stderr)

def shown(name):
    """File names are bytes and may hold anything; what cannot be printed is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

# --------------------------------------------------------------------------------------------- numbers
def KH(key, data):
    return blake3(data, key=key).digest()

def DK(context, data, length=32):
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

    def varint(self, bits=64):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            check(value < 1 << bits, "number is too long")
            if byte < 128:
                check(byte or not shift, "number is not in its shortest form")
                return value
            shift += 7

    def signed(self, bits=64):
        value = self.varint(bits)
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def bytes(self):
        return self.take(self.varint())

    def list(self, read=bytes):
        return [read(self) for _ in range(self.varint())]

    def end(self):
        check(self.at == len(self.data), "bytes are left over")

def read_record(data, known):
    """The fields of a record, by tag."""
    cursor, fields, before = Cursor(data), {}, 0
    while cursor.at < len(data):
        tag = cursor.varint()
        check(tag > before, "record tags do not ascend")
        if tag < 64 and tag not in known:
            raise TooNew(f"unknown field {tag}")
        fields[tag], before = cursor.bytes(), tag
    return fields

# --------------------------------------------------------------------------------------------- sealing
def open_aead(suite, key, sealed, aad):
    ciphers = {1: AESGCM, 2: ChaCha20Poly1305}
    if suite not in ciphers:
        raise TooNew(f"suite {suite}")
    try:
        return ciphers[suite](key).decrypt(bytes(12), sealed, aad)
    except InvalidTag:
        raise Damaged("does not open with this key") from None

def open_sealed(suite, key, sealed, aad):
    check(len(sealed) >= 40, "sealed part is too short")
    return open_aead(suite, KH(key, b"lifeboat message" + bytes([suite]) + sealed[:24]), sealed[24:], aad)

def decompress(body, bytes_max):
    check(len(body) >= 5, "ends too early")
    (codec, raw_length), payload = struct.unpack("<BI", body[:5]), body[5:]
    check(raw_length <= bytes_max, "raw length is beyond the limit")
    if codec > 1:
        raise TooNew(f"codec {codec}")
    if codec == 1:
        try:  # one byte more than promised shows a frame that is too long, and no bomb inflates
            payload = ZstdDecompressor().stream_reader(payload).read(raw_length + 1)
        except ZstdError as why:
            raise Damaged(f"does not decompress: {why}") from None
    check(len(payload) == raw_length, "decoded length is wrong")
    return payload

# ------------------------------------------------------------------------------------------------ keys
KEY_NAMES = "data ids,chunking,data,tree ids,boundaries,tree,index,snapshots,gc,config,trust,salt".split(",")
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

def decode_text_key(text):
    """The key in the lines of a key file, or of a file with a recovery key."""
    text = " ".join(line.strip() for line in text.splitlines() if not line.startswith("#"))
    plain = re.sub(r"[\s-]", "", text.strip().removeprefix("lifeboat-key-1")).upper()
    plain = plain.translate(str.maketrans("OIL", "011"))
    if len(plain) != 56 or any(c not in ALPHABET for c in plain):
        raise Refused("the key text does not have 56 letters and digits")
    number = int(plain.translate(str.maketrans(ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")), 32)
    raw = number.to_bytes(35, "big")
    if blake3(raw[:32]).digest()[:3] != raw[32:]:
        raise Refused("the key text has a typing error: its checksum is wrong")
    return raw[:32]

Secret = namedtuple("Secret", "kind value")  # what the user has: a password (1), a key file (2), a recovery key (3)

def stretch(secret, salt, cost):
    if secret.kind != 1:
        return secret.value
    memory, passes, lanes = cost
    check(1 <= lanes <= 16 and 1 <= passes <= 12, "password cost is beyond the limits")
    check(8 * lanes <= memory <= 1024 * 1024, "password memory is beyond the limits")  # KiB
    return hash_secret_raw(secret.value, salt, passes, memory, lanes, 32, Type.ID, 0x13)

def open_slot(plain, secret, slot_id, repository_id, family_id):
    """The keys in a slot by number, or None when the slot is not for this secret."""
    fields = read_record(plain, range(1, 9))
    check(fields.get(1) == slot_id, "slot has another id than its name")
    kind = Cursor(fields[2]).varint()
    if kind not in (1, 2, 3):
        raise TooNew("kind of slot")
    if kind != secret.kind:
        return None
    cost, (salt, commitment, wrapped, public) = Cursor(fields.get(3, bytes(3))), (fields[tag] for tag in (4, 5, 6, 7))
    material = stretch(secret, salt, [cost.varint() for _ in range(3)])
    wrapping = DK("slot wrapping", material + salt + slot_id + repository_id, 64)
    if wrapping[32:] != commitment:
        return None
    opened = open_aead(1, wrapping[:32], wrapped, b"LBKS1" + repository_id + slot_id + bytes([kind]) + public)
    keys = open_bundles(fields[8], opened[:32], public, repository_id, family_id)
    own = DK("fingerprint", b"".join(keys[n] for n in range(4, 13)))
    check(own == opened[32:], "keys have another fingerprint than the slot's: somebody exchanged them")
    return keys

def open_bundles(field, private, public, repository_id, family_id):
    """Keys by number, from the bundle that gives most."""
    cursor, bundles = Cursor(field), {}
    for _ in range(cursor.varint()):
        capability = cursor.u8()
        bundles[capability] = cursor.take(32), cursor.take(32), cursor.bytes()
    cursor.end()
    capability = min(bundles, default=0)
    if capability not in (1, 2):
        raise TooNew("capability of a key slot")
    ephemeral, commitment, sealed = bundles[capability]
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(ephemeral))
    key = DK("slot bundle", shared + ephemeral + public + repository_id, 64)
    check(key[32:] == commitment, "bundle is damaged")
    return read_bundle(capability, open_aead(1, key[:32], sealed, b"LBKB1" + bytes([capability]) + family_id))

def read_bundle(capability, bundle):
    cursor = Cursor(bundle)
    if capability == 2:  # to maintain: keys one by one, without those for contents
        return dict(cursor.list(lambda _: (cursor.u8(), cursor.take(32))))
    if cursor.varint() != 1 or cursor.varint() != 1:
        raise TooNew("more than one epoch of keys")
    secret = cursor.take(32)
    return {n: DK(name, secret) for n, name in enumerate(KEY_NAMES, 1)}

# --------------------------------------------------------------------------------------- small objects
def small_object_plain(data, kind, scope):
    """The plain part of a small object whose covered bytes are given: all but parity and footers."""
    check(len(data) >= 32 and data[:4] == b"LBOB", "is not a small object")
    if data[4] != 1 or data[7]:
        raise TooNew(f"version {data[4]}")
    plain, sealed = struct.unpack("<II", data[8:16])
    check(32 + plain + sealed == len(data), "lengths in the header are wrong")
    check(data[5] == kind, "is an object of another kind than its name says")
    check(scope is None or data[16:32] == scope, "belongs to another repository")
    return data[32 : 32 + plain]

def sealed_body(data, kind, scope, key, bytes_max=RECORD_BYTES_MAX):
    head = 32 + len(small_object_plain(data, kind, scope))
    return decompress(open_sealed(data[6], key, data[head:], b"LBO1" + data[:head]), bytes_max)

# ---------------------------------------------------------------------------------------------- index
Block = namedtuple("Block", "pack tree offset stored suite key_reference")  # where it lies

def read_block_table(cursor, pack, tree, hash_length):
    """The blocks of one pack, each with its number of blobs."""
    for _ in range(cursor.varint()):  # the key table; version 1 writes none
        cursor.u8(), cursor.bytes()
    table, offset = [], 64
    for _ in range(cursor.varint()):
        stored, _raw_length = cursor.varint(), cursor.varint()
        block = Block(pack, tree, offset, stored, cursor.u8(), cursor.varint())
        table.append((block, cursor.varint()))
        cursor.take(hash_length)
        offset += stored
    return table

class Index:
    """From the first 8 bytes of an id to all places. Who reads a blob there compares the whole id."""
    def __init__(self):
        self.places = {False: {}, True: {}}  # of contents and of tree nodes: {head: [(block, rank)]}
        self.packs = set()

    def add(self, head, block, rank):
        self.places[block.tree].setdefault(head, []).append((block, rank))

    def add_segment(self, body):
        cursor, packs, ranks = Cursor(body), [], []
        cursor.take(48)
        for _ in range(cursor.varint()):
            pack, tree, _class, _length = cursor.take(32), cursor.u8() == 1, cursor.u8(), cursor.varint()
            packs.append((pack, tree))
            for block, blobs in read_block_table(cursor, pack, tree, 0):
                ranks += [(block, rank) for rank in range(blobs)]
        count, head, heads = cursor.varint(), 0, []
        check(count == len(ranks), "number of blobs is wrong")
        for _ in range(count):
            head += cursor.varint()
            check(head < 1 << 64, "head is too large")
            heads.append(head.to_bytes(8, "big"))
        cursor.take(8 * count)  # ids from byte 8 on: decoding decides
        planes = [cursor.take(count) for _ in range(4)]
        cursor.end()
        for head, *position in zip(heads, *planes):
            position = int.from_bytes(bytes(position), "little")
            check(position < count, "position is too large")
            self.add(head, *ranks[position])
        self.packs.update(packs)

# ------------------------------------------------------------------------------------------ repository
class Repository:
    def __init__(self, folder, secret):
        self.folder, self.index = folder, Index()
        self.block = lru_cache(maxsize=16)(self.read_block)
        self.open(secret)
        self.read_segments()

    def open(self, secret):
        self.unlock(self.small("config"), secret)

    def read_segments(self):
        for name in self.names("index"):
            body = sealed_body(self.small("index/" + name), 5, self.repository_id, self.keys[7], INDEX_BYTES_MAX)
            self.index.add_segment(body)

    def names(self, folder, pattern=".*"):
        path = os.path.join(self.folder, folder)
        return sorted(n for n in (os.listdir(path) if os.path.isdir(path) else []) if re.fullmatch(pattern, n))

    def small(self, name):
        """The covered bytes of a small object. What follows them, parity and footers, is for mending."""
        with open(os.path.join(self.folder, name), "rb") as file:
            head = file.read(16).ljust(16)
            return head + file.read(16 + sum(struct.unpack("<II", head[8:])))

    def unlock(self, config, secret):
        plain = small_object_plain(config, 1, None)
        self.repository_id, self.family_id = config[16:32], plain[:16]
        if any(plain[16:24]):
            raise TooNew("the repository requires features this reader does not know")
        self.keys = self.try_slots(secret)
        if 3 not in self.keys:
            raise Refused("this key maintains the repository; it cannot read what is backed up")
        sealed_body(config, 1, None, self.keys[10])

    def try_slots(self, secret):
        for name in self.names("keys", "[0-9a-f]{16}"):
            plain = small_object_plain(self.small("keys/" + name), 2, self.repository_id)
            keys = open_slot(plain, secret, bytes.fromhex(name), self.repository_id, self.family_id)
            if keys:
                return keys
        raise Refused("no key slot opens with this secret")

    def pack_name(self, pack, tree):
        return f"{'trees' if tree else 'packs'}/{pack.hex()[0]}/{pack.hex()}"

    def read_block(self, block):
        """The blobs of a block, by rank."""
        with open(os.path.join(self.folder, self.pack_name(block.pack, block.tree)), "rb") as file:
            file.seek(block.offset)
            return self.open_block(block, file.read(block.stored))

    def open_block(self, block, sealed):
        if block.key_reference:
            raise TooNew("key reference")
        key = self.keys[6 if block.tree else 3]
        aad = b"LBB1" + self.family_id + bytes([block.tree, block.suite])
        cursor = Cursor(decompress(open_sealed(block.suite, key, sealed, aad), BLOCK_BYTES_MAX + 4 * 65536))
        blobs = [cursor.take(length) for length in cursor.list(Cursor.varint)]
        cursor.end()
        return blobs

    def blob(self, blob_id, tree):
        """The bytes with this id. Two ids can have the same head: only the whole id decides."""
        for block, rank in self.index.places[tree].get(blob_id[:8], []):
            blob = self.block(block)[rank]
            if KH(self.keys[4 if tree else 1], blob)[:24] == blob_id:
                return blob
        raise Damaged(f"{'tree node' if tree else 'content'} {blob_id.hex()}: is in no pack")

    def snapshots(self):
        """Snapshots, oldest first, without those that were forgotten."""
        tombs = {name[5:] for name in self.names("gc", "tomb-.*")}
        names = [name for name in self.names("snapshots", "[0-9a-f]{32}") if name not in tombs]
        found = [self.open_snapshot(name, self.small("snapshots/" + name)) for name in names]
        return sorted(found, key=lambda snapshot: snapshot.time)

    def open_snapshot(self, name, data):
        snapshot = Snapshot(read_record(sealed_body(data, 3, self.family_id, self.keys[8]), range(1, 21)))
        check(snapshot.id.hex() == name, "record has another id than its name")
        return snapshot

    def walk(self, node_id, level):
        """All paths below a node of the tree, in order."""
        for found in self.read_node(node_id, level):
            yield from [found] if level == 0 else self.walk(found, level - 1)

    def read_node(self, node_id, level):
        """The paths in a leaf, or the ids of the children of another node."""
        node = self.blob(node_id, tree=True)
        return read_index_node(node, level) if level else read_leaf(node, self)

class Snapshot:
    def __init__(self, fields):
        self.fields, self.id, self.root = fields, fields[1], fields[5]
        check(len(self.id) == 16 and len(self.root) == 25, "field has another length than it should")
        claimed = Cursor(fields[6])
        self.time = claimed.signed() * 1_000_000_000 + claimed.varint()  # nanoseconds since 1970
        self.sources, self.tags = (Cursor(fields.get(tag, b"\0")).list() for tag in (10, 11))

# --------------------------------------------------------------------------------------------- trees
FILE, FOLDER, LINK, PIPE, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE, FAULT = range(8)
NODES = {PIPE: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
MARK_CHANGED, MARK_UNREADABLE = 1, 4

def read_class(cursor):
    kind, mode, uid, gid = cursor.u8(), cursor.varint(), cursor.varint(), cursor.varint()
    if kind > FAULT:
        raise TooNew(f"kind of file {kind}")
    cursor.bytes(), cursor.bytes()  # names of user and group
    cursor.varint(), cursor.varint(), cursor.varint()  # flags, project, mount row
    form = cursor.u8()
    check(form <= 2, "form of attributes is not allowed")
    attributes = None if form == 0 else cursor.bytes() if form == 1 else ("blob", cursor.take(24))
    return {"kind": kind, "mode": mode, "uid": uid, "gid": gid, "attributes": attributes}

def read_extents(cursor):
    """Extents of a file: (length, blob id or None for a hole, repeat)."""
    for _ in range(cursor.varint()):
        start = cursor.varint(128)
        if start & 1:
            yield start >> 1, None, 1
        else:
            repeat = cursor.varint() + 1
            yield start >> 1, cursor.take(24), repeat

def read_leaf(node, repository):
    cursor = Cursor(node)
    check(cursor.u8() == 1, "is not a leaf")
    count, prefix = cursor.varint(), cursor.bytes()
    classes = [read_class(cursor) for _ in range(cursor.varint())]
    columns = [Cursor(cursor.bytes()) for _ in range(8)]
    cursor.end()
    keys, rows, forms, times, inodes, sizes, ids, extras = columns
    entries, key, mtime = [], b"", 0
    for _ in range(count):
        check((shared := keys.varint()) <= len(key), "key shares more than there is")
        key = key[:shared] + keys.bytes()
        check((row := rows.varint()) < len(classes), "class is not there")
        entry = SimpleNamespace(key=prefix + key, **classes[row], group=None, target=None, size=0, device=0)
        form = forms.u8()
        mtime += times.signed(128)
        if not form & 4:
            times.signed(128)  # ctime, for comparing only
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
    if form < 2:
        return [(size, ids.take(24), 1)] if form else []
    if form == 2:
        return list(read_extents(extras))
    return walk_extents(repository, ids.take(24), extras.u8())  # a generator: read when the file is written

def walk_extents(repository, node_id, level):
    cursor = Cursor(repository.blob(node_id, tree=True))
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

def read_index_node(node, level):
    cursor = Cursor(node)
    check(cursor.u8() == 2 and cursor.u8() == level, "tree has a wrong level")
    # Of each child: what its last key shares with the one before, the rest of the key, its id, entries and bytes below.
    columns = (cursor.varint, cursor.bytes, lambda: cursor.take(24), cursor.varint, cursor.varint)
    return cursor.list(lambda _: [read() for read in columns][2])

def read_attributes(encoded, repository):
    if encoded is None:
        return []
    cursor = Cursor(repository.blob(encoded[1], tree=True) if isinstance(encoded, tuple) else encoded)
    check(cursor.u8() == 5, "is not an attribute set")
    attributes = cursor.list(lambda _: (cursor.bytes(), cursor.bytes()))
    cursor.end()
    return attributes

# ------------------------------------------------------------------------------------------- restore
def components(key):
    """The names from the volume down. The last is empty in a fault record."""
    parts = key.split(b"\0")
    check(len(parts) >= 2 and parts[-2] == b"" and all(parts[:-2]), "key is not allowed")
    return parts[:-2] + parts[-1:]

class Restore:
    """Writes a snapshot below a new folder."""
    def __init__(self, repository, target):
        self.repository, self.target = repository, os.fsencode(target)
        self.folders, self.made, self.first_names = [], {self.target}, {}

    def run(self, snapshot):
        os.makedirs(self.target, exist_ok=True)
        if os.listdir(self.target):
            raise Refused(f"{shown(self.target)} is not empty")
        for entry in self.repository.walk(snapshot.root[:24], snapshot.root[24]):
            self.entry(entry)
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

    def entry(self, entry):
        path = self.path(components(entry.key))
        if entry.kind == FAULT:
            return warn(f"{shown(path)}: was not complete when it was backed up: {shown(entry.target)}")
        if entry.kind == FOLDER:
            self.folder(path)
            return self.folders.append((entry, path))
        self.folder(os.path.dirname(path))
        if entry.group in self.first_names:
            return os.link(self.first_names[entry.group], path, follow_symlinks=False)
        if entry.kind == FILE and entry.marks & MARK_UNREADABLE:
            return warn(f"{shown(path)}: its contents could not be read when it was backed up")
        if entry.kind == FILE:
            self.file(entry, path)
        elif entry.kind == LINK:
            os.symlink(entry.target, path)
        else:
            os.mknod(path, NODES[entry.kind] | 0o600, entry.device)
        self.metadata(entry, path)
        if entry.group:
            self.first_names[entry.group] = path

    def folder(self, path):
        """Makes a folder; never goes through a link that the snapshot itself put there."""
        if path not in self.made:
            self.folder(os.path.dirname(path))
            check(not os.path.lexists(path), "something else stands where a folder belongs")
            os.mkdir(path, 0o700)
            self.made.add(path)

    def file(self, entry, path):
        written = 0
        with open(path, "xb") as file:
            for length, blob_id, repeat in entry.contents:
                if blob_id is None:
                    file.seek(length, os.SEEK_CUR)
                else:
                    blob = self.repository.blob(blob_id, tree=False)
                    check(len(blob) == length, "content has another length than it should")
                    file.writelines([blob] * repeat)
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
def describe(snapshot):
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(snapshot.time // 1_000_000_000))
    return "  ".join([snapshot.id.hex(), when, *map(shown, snapshot.sources), *("#" + shown(t) for t in snapshot.tags)])

def choose(snapshots, wanted):
    found = snapshots[-1:] if wanted == "latest" else [s for s in snapshots if s.id.hex().startswith(wanted)]
    if len(found) != 1:
        raise Refused(f"{len(found)} snapshots have an id that begins with {wanted!r}")
    return found[0]

def read_secret(given):
    if given.password_file:
        with open(given.password_file, "rb") as file:
            return Secret(1, file.readline().rstrip(b"\r\n"))
    for kind, path in ((2, given.key_file), (3, given.recovery_key_file)):
        if path:
            with open(path, encoding="utf-8") as file:
                return Secret(kind, decode_text_key(file.read()))
    raise Refused("give --password-file, --key-file or --recovery-key-file")

def add_secrets(parser):
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file", metavar="F", help="the password is the first line of this file")
    secret.add_argument("--key-file", metavar="F")
    secret.add_argument("--recovery-key-file", metavar="F")
    return secret

def run():
    parser = argparse.ArgumentParser(description="Lists or restores the snapshots of an undamaged lifeboat repository.")
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    parser.add_argument("snapshot", metavar="SNAPSHOT", nargs="?", help="the beginning of an id, or latest")
    parser.add_argument("target", metavar="TARGET", nargs="?", help="a folder that is empty or not there")
    add_secrets(parser)
    given = parser.parse_intermixed_args()
    repository = Repository(given.repo, read_secret(given))
    snapshots = repository.snapshots()
    if given.target:
        Restore(repository, given.target).run(choose(snapshots, given.snapshot))
    else:
        print("\n".join(describe(snapshot) for snapshot in snapshots))

if __name__ == "__main__":
    try:
        run()
    except (Refused, Damaged, TooNew, OSError) as why:
        sys.exit(f"error: {why}")
