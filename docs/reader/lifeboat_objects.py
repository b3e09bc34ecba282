"""The objects of a lifeboat repository: numbers, parity, sealing, keys, small objects, index; and scrub.

Follows docs/format.md ("the page" below) section by section and is used by lifeboat_reader.py.
It promises to check lengths before it allocates, and to tell what is damaged from what is too new.
It knows nothing of folders, trees and snapshots. scrub() needs no key.
"""

import io
import os
import re
import struct
import sys
from typing import NamedTuple

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdDecompressor, ZstdError


MIB = 1024 * 1024
BLOCK_BYTES_MAX = 16 * MIB
RECORD_BYTES_MAX = 64 * MIB
INDEX_BYTES_MAX = 512 * MIB


class Damaged(Exception):
    """Bytes that the page does not allow, or that fail a check."""


class TooNew(Exception):
    """Bytes written by a later version of the format."""


class Refused(Exception):
    """The user has to change something: the secret, the arguments, the target."""


def check(condition, why):
    if not condition:
        raise Damaged(why)


def shown(name):
    """File names are bytes and may hold anything; what cannot be printed is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warn(text):
    print(text, file=sys.stderr)


# ------------------------------------------------------------------------------------------------ wire


def H(data):
    return blake3(data).digest()


def KH(key, data, length=32):
    return blake3(data, key=key).digest(length=length)


def DK(context, data, length=32):
    return blake3(data, derive_key_context=context).digest(length=length)


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

    def u32(self):
        return int.from_bytes(self.take(4), "little")

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

    def bytes(self, length_max=RECORD_BYTES_MAX):
        length = self.varint()
        check(length <= length_max, "length is beyond the limit")
        return self.take(length)

    def list(self):
        return [self.bytes() for _ in range(self.varint())]

    def time(self):
        """Nanoseconds since 1970."""
        seconds = self.signed()
        return seconds * 1_000_000_000 + self.varint()

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


def number(fields, tag):
    return Cursor(fields[tag]).varint() if tag in fields else 0


# ---------------------------------------------------------------------------------------------- parity

GF_POWER = [1]  # GF_POWER[i] = 2^i over the polynomial 0x11d
for _ in range(254):
    GF_POWER.append(GF_POWER[-1] << 1 ^ (0x11D if GF_POWER[-1] & 128 else 0))
GF_LOG = {value: power for power, value in enumerate(GF_POWER)}


def gf_multiply(a, b):
    return GF_POWER[(GF_LOG[a] + GF_LOG[b]) % 255] if a and b else 0


def gf_scale(shard, factor):
    return shard.translate(bytes(gf_multiply(factor, value) for value in range(256)))


def xor(a, b):
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def gf_solve(rows):
    """Solves a small linear system. A row is (coefficients, right side as bytes)."""
    rows = [(list(coefficients), right) for coefficients, right in rows]
    for column in range(len(rows)):
        pivot = next(r for r in range(column, len(rows)) if rows[r][0][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = GF_POWER[-GF_LOG[rows[column][0][column]] % 255]
        coefficients = [gf_multiply(inverse, c) for c in rows[column][0]]
        rows[column] = (coefficients, gf_scale(rows[column][1], inverse))
        for r, (others, right) in enumerate(rows):
            if r != column and others[column]:
                factor = others[column]
                others = [o ^ gf_multiply(factor, c) for o, c in zip(others, coefficients)]
                rows[r] = (others, xor(right, gf_scale(rows[column][1], factor)))
    return [right for _, right in rows]


def shard_count(covered, shard):
    return max(1, -(-covered // shard))


def section_length(n, groups, shard):
    return 16 * (n + 3 * groups) + 3 * groups * shard


def group_count(covered, shard, section):
    """The number of groups that a section of this length has."""
    n = shard_count(covered, shard)
    groups, rest = divmod(section - 16 * n, 3 * shard + 48)
    check(rest == 0 and 1 <= groups <= n and -(-n // groups) <= 255, "parity has another length than it should")
    return groups


class Shards:
    """An object cut into data and parity shards, each of which is intact or not."""

    def __init__(self, raw, covered, shard, groups):
        self.covered, self.shard, self.groups = covered, shard, groups
        self.n = shard_count(covered, shard)
        table = 8 * (self.n + 3 * self.groups)
        section = raw[covered : covered + section_length(self.n, groups, shard)]
        self.tables = section[:table], section[len(section) - table :]
        self.data = [raw[i * shard : min((i + 1) * shard, covered)] for i in range(self.n)]
        self.parity = [section[table + i * shard : table + (i + 1) * shard] for i in range(3 * self.groups)]

    def intact(self, place, shard):
        digest = H(shard)[:8]
        return any(table[8 * place : 8 * place + 8] == digest for table in self.tables)

    def section_is_right(self):
        every = self.data + self.parity
        return self.tables[0] == self.tables[1] == b"".join(H(shard)[:8] for shard in every)

    def repair(self):
        """The covered bytes, with every shard computed again that can be; and whether all shards are right."""
        complete = True
        for group in range(self.groups):
            members = list(range(group, self.n, self.groups))
            lost = [j for j, i in enumerate(members) if not self.intact(i, self.data[i])]
            places = [p * self.groups + group for p in range(3)]
            rows = [p for p, place in enumerate(places) if self.intact(self.n + place, self.parity[place])]
            if len(rows) < len(lost):
                complete = False
            elif lost:
                self.repair_group(group, members, lost, rows[: len(lost)])
        return b"".join(self.data), complete

    def repair_group(self, group, members, lost, rows):
        def factor(p, j):
            return GF_POWER[p * (len(members) - 1 - j) % 255]

        system = []
        for p in rows:
            right = self.parity[p * self.groups + group]
            for j, i in enumerate(members):
                if j not in lost:
                    right = xor(right, gf_scale(self.data[i].ljust(self.shard, b"\0"), factor(p, j)))
            system.append(([factor(p, j) for j in lost], right))
        for j, solved in zip(lost, gf_solve(system)):
            i = members[j]
            self.data[i] = solved[: min(self.shard, self.covered - i * self.shard)]


def writer_shard(covered, shard):
    while -(-covered // shard) > 1920:
        shard *= 2
    return shard


def survives(covered, shard, groups, percent):
    """Whether a data pack with so many groups survives damage of so many percent in one piece."""
    n = shard_count(covered, shard)
    burst = -(-(covered + section_length(n, groups, shard) + 160) * percent // 100)
    touched = -(-(burst - 1) // shard) + 1
    return 2 * groups + (n - 1) % groups + 1 > touched


def is_writers(covered, shard, groups):
    """Whether a writer makes such a cut: of a small object, or of a data pack for some rate."""
    n = shard_count(covered, shard)
    if shard == writer_shard(covered, 64) and groups == -(-n // 30):
        return True
    fewest = -(-n // 255)
    return shard == writer_shard(covered, 512) and any(
        (groups == n or survives(covered, shard, groups, percent))
        and not any(survives(covered, shard, fewer, percent) for fewer in range(fewest, groups))
        for percent in range(1, 21)
    )


class Footer:
    """Where the parts of an object lie. Finds damage; proves nothing against an enemy."""

    def __init__(self, raw):
        magic, version, zeros, self.covered, self.directory, self.shard, self.parity, self.hash, own = struct.unpack(
            "<4sB3sQQII32s16s", raw
        )
        check(magic == b"LBFT" and own == H(raw[:64])[:16], "footer is damaged")
        if version != 1 or zeros != bytes(3):
            raise TooNew(f"version {version}")

    @staticmethod
    def find(tail, length):
        """The footer at the end of an object of this length."""
        check(len(tail) == 160, "shorter than two footers")
        try:
            footer = Footer(tail[80:])
        except Damaged:
            footer = Footer(tail[:80])
        check(footer.covered + footer.parity + 160 == length, "length differs from the footer's")
        shard = footer.shard
        if footer.parity:
            check(shard >= 64 and shard & (shard - 1) == 0, "shard length is not allowed")
            footer.groups = group_count(footer.covered, shard, footer.parity)
        return footer


def lost_footer_candidates(length):
    """Covered and shard lengths and groups that a writer could have used for an object of this length."""
    for shard in (64 << i for i in range(26)):
        for n in range(1, 1921):
            # What n data shards leave is parity: one number of groups can be right, or none.
            left = length - 160 - 16 * n - n * shard
            fewest, most = -(-left // (3 * shard + 48)), (left + shard - 1) // (3 * shard + 48)
            for groups in range(max(1, fewest), min(n, most) + 1):
                covered = length - 160 - section_length(n, groups, shard)
                if covered > 0 and shard_count(covered, shard) == n and is_writers(covered, shard, groups):
                    yield covered, shard, groups


def covered_bytes(raw):
    """Returns [0, C) of an object, repaired in memory if need be; what was wrong, or None; directory offset."""
    try:
        footer = Footer.find(raw[-160:], len(raw))
    except Damaged as why:
        for covered, shard, groups in lost_footer_candidates(len(raw)):
            data, complete = Shards(raw, covered, shard, groups).repair()
            if complete:
                return data, f"{why}; the rest agrees with its parity", None
        raise
    data = raw[: footer.covered]
    if H(data) == footer.hash:
        return data, None, footer.directory
    check(footer.parity, "hash is wrong, and there is no parity")
    data, _ = Shards(raw, footer.covered, footer.shard, footer.groups).repair()
    check(H(data) == footer.hash, "hash is wrong, and more is damaged than parity can repair")
    return data, "hash is wrong; repaired by parity", footer.directory


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
    salt = sealed[:24]
    message_key = KH(key, b"lifeboat message" + bytes([suite]) + salt)
    return open_aead(suite, message_key, sealed[24:], aad)


def decompress(body, bytes_max):
    cursor = Cursor(body)
    codec, raw_length = cursor.u8(), cursor.u32()
    check(raw_length <= bytes_max, "raw length is beyond the limit")
    payload = body[5:]
    if codec > 1:
        raise TooNew(f"codec {codec}")
    if codec == 1:
        try:  # one byte more than promised shows a frame that is too long, and no bomb inflates
            payload = ZstdDecompressor().stream_reader(io.BytesIO(payload)).read(raw_length + 1)
        except ZstdError as why:
            raise Damaged(f"does not decompress: {why}") from None
    check(len(payload) == raw_length, "decoded length is wrong")
    return payload


# ------------------------------------------------------------------------------------------------ keys

KEY_NAMES = "data ids,chunking,data,tree ids,boundaries,tree,index,snapshots,gc,config,trust,salt".split(",")
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def decode_text_key(text):
    plain = re.sub(r"[\s-]", "", text).upper().translate(str.maketrans("OIL", "011"))
    if len(plain) != 56 or any(c not in ALPHABET for c in plain):
        raise Refused("the key text does not have 56 letters and digits")
    value = 0
    for character in plain:
        value = value << 5 | ALPHABET.index(character)
    raw = value.to_bytes(35, "big")
    if H(raw[:32])[:3] != raw[32:]:
        raise Refused("the key text has a typing error: its checksum is wrong")
    return raw[:32]


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
        if DK("lifeboat 2026 v1 share line", bytes([i // 24]) + raw[:12])[:3] != raw[12:]:
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
    right = DK("lifeboat 2026 v1 shared key check", first[1:11] + bytes(secret))[:16] == first[44:60]
    check(right, "at least one of the shares is wrong")
    return bytes(secret)


class Secret:
    """What the user has: a password (kind 1), a key file (2) or a recovery key (3)."""

    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    @staticmethod
    def from_arguments(arguments):
        if arguments.password_file:
            with open(arguments.password_file, "rb") as file:
                return Secret(1, file.readline().rstrip(b"\r\n"))
        for kind, path in ((2, arguments.key_file), (3, arguments.recovery_key_file)):
            if path:
                with open(path, encoding="utf-8") as file:
                    return Secret(kind, decode_text_key(strip_key_file(file)))
        if arguments.share_file:
            texts = []
            for path in arguments.share_file:
                with open(path, encoding="utf-8") as file:
                    texts.append(file.read())
            return Secret(3, combine_shares(texts))
        raise Refused("give --password-file, --key-file, --recovery-key-file or --share-file")

    def material(self, salt, cost):
        if self.kind != 1:
            return self.value
        memory, passes, lanes = cost
        check(1 <= lanes <= 16 and 1 <= passes <= 12, "password cost is beyond the limits")
        check(8 * lanes <= memory <= 1024 * 1024, "password memory is beyond the limits")  # KiB
        return hash_secret_raw(self.value, salt, passes, memory, lanes, 32, Type.ID, 0x13)


def strip_key_file(lines):
    """The text key in the lines of a key file, or of a file with a recovery key."""
    text = " ".join(line.strip() for line in lines if not line.startswith("#"))
    return text.strip().removeprefix("lifeboat-key-1")


def open_slot(plain, secret, slot_id, repository_id, family_id):
    """The keys in a slot by number, or None when the slot is not for this secret."""
    fields = read_record(plain, range(1, 9))
    check(fields.get(1) == slot_id, "slot has another id than its name")
    if number(fields, 2) not in (1, 2, 3):
        raise TooNew("kind of slot")
    if number(fields, 2) != secret.kind:
        return None
    salt, commitment, wrapped, public = (fields[tag] for tag in (4, 5, 6, 7))
    cost = Cursor(fields.get(3, bytes(3)))
    material = secret.material(salt, (cost.varint(), cost.varint(), cost.varint()))
    wrapping = DK("lifeboat 2026 v1 slot wrapping", material + salt + slot_id + repository_id, 64)
    if wrapping[32:] != commitment:
        return None
    opened = open_aead(1, wrapping[:32], wrapped, b"LBKS1" + repository_id + slot_id + bytes([secret.kind]) + public)
    private, fingerprint = opened[:32], opened[32:]
    keys = open_bundles(fields[8], private, public, repository_id, family_id)
    own = DK("lifeboat 2026 v1 fingerprint", b"".join(keys[n] for n in range(4, 13)))
    check(own == fingerprint, "keys have another fingerprint than the slot's: somebody exchanged them")
    return keys


def open_bundles(field, private, public, repository_id, family_id):
    """Keys by number, from the bundle that gives most."""
    cursor, bundles = Cursor(field), {}
    for _ in range(cursor.varint()):
        capability, ephemeral, commitment = cursor.u8(), cursor.take(32), cursor.take(32)
        bundles[capability] = ephemeral, commitment, cursor.bytes()
    cursor.end()
    known = [capability for capability in bundles if capability in (1, 2)]
    if not known:
        raise TooNew("capability of a key slot")
    capability = min(known)
    ephemeral, commitment, sealed = bundles[capability]
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(ephemeral))
    key = DK("lifeboat 2026 v1 slot bundle", shared + ephemeral + public + repository_id, 64)
    check(key[32:] == commitment, "bundle is damaged")
    return read_bundle(capability, open_aead(1, key[:32], sealed, b"LBKB1" + bytes([capability]) + family_id))


def read_bundle(capability, bundle):
    cursor = Cursor(bundle)
    count = cursor.varint()
    if capability == 2:
        numbered = [(cursor.u8(), cursor.take(32)) for _ in range(count)]
        return dict(numbered)
    if count != 1 or cursor.varint() != 1:
        raise TooNew("more than one epoch of keys")
    secret = cursor.take(32)
    return {n: DK("lifeboat 2026 v1 " + name, secret) for n, name in enumerate(KEY_NAMES, 1)}


# --------------------------------------------------------------------------------------- small objects


def sealed_body(data, kind, scope, key, bytes_max=RECORD_BYTES_MAX):
    """The body of a small object whose covered bytes are given."""
    plain = small_object_plain(data, kind, scope)
    sealed = data[32 + len(plain) :]
    return decompress(open_sealed(data[6], key, sealed, b"LBO1" + data[: 32 + len(plain)]), bytes_max)


def small_object_plain(data, kind, scope):
    check(len(data) >= 32 and data[:4] == b"LBOB", "is not a small object")
    if data[4] != 1 or data[7]:
        raise TooNew(f"version {data[4]}")
    plain, sealed = struct.unpack("<II", data[8:16])
    check(32 + plain + sealed == len(data), "lengths in the header are wrong")
    check(data[5] == kind, "is an object of another kind than its name says")
    check(scope is None or data[16:32] == scope, "belongs to another repository")
    return data[32 : 32 + plain]


# ---------------------------------------------------------------------------------------------- index


class Block(NamedTuple):
    """Where a block lies."""

    pack: bytes
    tree: bool
    offset: int
    stored: int
    suite: int
    key_reference: int


def read_block_table(cursor, pack, tree, hash_length):
    """The blocks of one pack, each with its number of blobs."""
    for _ in range(cursor.varint()):  # the key table; version 1 writes none
        cursor.u8(), cursor.bytes()
    table, offset = [], 64
    for _ in range(cursor.varint()):
        stored, _raw_length = cursor.varint(), cursor.varint()
        block = Block(pack, tree, offset, stored, suite=cursor.u8(), key_reference=cursor.varint())
        table.append((block, cursor.varint()))
        cursor.take(hash_length)
        offset += stored
    return table


class Index:
    """From the first 8 bytes of an id to all places. Who reads a blob there compares the whole id."""

    def __init__(self):
        self.places = {False: {}, True: {}}  # by kind: {head: [(block, rank)]}
        self.packs = set()

    def add(self, head, block, rank):
        self.places[block.tree].setdefault(head, []).append((block, rank))

    def add_segment(self, body, trust_key):
        if KH(trust_key, body[32:]) != body[:32]:
            warn("an index segment has wrong trust bytes; reading from it all the same")
        cursor, ranks, packs = Cursor(body), [], []
        cursor.take(48)
        for _ in range(cursor.varint()):
            pack, tree, _class, _length = cursor.take(32), cursor.u8() == 1, cursor.u8(), cursor.varint()
            packs.append((pack, tree))
            for block, blobs in read_block_table(cursor, pack, tree, 0):
                ranks += [(block, rank) for rank in range(blobs)]
        count, head = cursor.varint(), 0
        check(count == len(ranks), "number of blobs is wrong")
        heads = []
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

    def add_directory(self, directory, pack, tree):
        cursor = Cursor(directory)
        cursor.take(32)
        for block, blobs in read_block_table(cursor, pack, tree, 16):
            for rank in range(blobs):
                self.add(cursor.take(24 if tree else 8)[:8], block, rank)
        self.packs.add((pack, tree))


# --------------------------------------------------------------------------------------------- scrub

SCRUBBED = re.compile(
    r"(?:mirror/)?(?:config|keys/[0-9a-f]{16}|snapshots/[0-9a-f]{32})"
    r"|pending/[0-9a-f]{32}\.[0-9a-f]{8}|gc/tomb-[0-9a-f]{32}"
    r"|(?:index/|gc/condemned-)[0-9a-f]{16}-(?P<start>[0-9a-f]{32})"
    r"|(?:packs|trees)/[0-9a-f]/(?P<pack>[0-9a-f]{64})"
)
NOT_SCRUBBED = re.compile(r"maint/reserve|maint/(?:probe|test)-.*|tmp/.*")


def scrub(folder):
    """Checks every object against its own hash and name, without keys. Returns the number of damaged ones."""
    good = damaged = 0
    for top, _, files in sorted(os.walk(folder)):
        for path in (os.path.join(top, file) for file in sorted(files)):
            name = os.path.relpath(path, folder).replace(os.sep, "/")
            match = SCRUBBED.fullmatch(name)
            if match:
                problem = scrub_object(path, match)
                good, damaged = good + (not problem), damaged + bool(problem)
                if problem:
                    print(f"DAMAGED {name}: {problem}")
            elif not NOT_SCRUBBED.fullmatch(name):
                print(f"foreign {name}")
    print(f"{good} objects are as they were written, {damaged} are damaged")
    return damaged


def scrub_object(path, match):
    """What is wrong with an object, or None."""
    with open(path, "rb") as file:
        raw = file.read()
    whole, start, pack = H(raw).hex(), match["start"], match["pack"]
    try:
        _, problem, _ = covered_bytes(raw)
        if problem:
            return problem
        if raw[-160:-80] != raw[-80:]:
            return "the two footers differ; the contents are right"
        footer = Footer.find(raw[-160:], len(raw))
        if footer.parity and not Shards(raw, footer.covered, footer.shard, footer.groups).section_is_right():
            return "the parity is damaged; the contents are right"
        if pack not in (None, whole) or start not in (None, whole[:32]):
            return "its hash is not in its name"
    except Damaged as why:
        return str(why)
    except TooNew as why:
        print(f"too new {path}: {why}")
    return None
