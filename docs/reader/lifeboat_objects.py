"""The objects of a lifeboat repository: numbers, sealing, keys, small objects, index.

Follows docs/format.md ("the page" below) section by section and is used by lifeboat_reader.py.
It promises to check lengths before it allocates, and to tell what is damaged from what is too new.
It knows nothing of folders, trees and snapshots, nor of how a damaged object is mended (lifeboat_parity.py).
"""

import io
import re
import struct
from typing import NamedTuple

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdDecompressor, ZstdError

from lifeboat_parity import Damaged, H, TooNew, check, warn

MIB = 1024 * 1024
BLOCK_BYTES_MAX = 16 * MIB
RECORD_BYTES_MAX = 64 * MIB
INDEX_BYTES_MAX = 512 * MIB


class Refused(Exception):
    """The user has to change something: the secret, the arguments, the target."""


# ------------------------------------------------------------------------------------------------ wire


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
