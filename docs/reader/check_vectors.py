#!/usr/bin/env python3
"""Checks the reader against the test vectors at the end of docs/format.md. Silent when all is well."""

import os
import random
import re
import sys

import lifeboat_mini as mini
import lifeboat_parity as parity
from lifeboat_reader import combine_shares

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "format.md")
FAMILY_SECRET, FAMILY, REPOSITORY = bytes([2]) * 32, bytes([1]) * 16, bytes([3]) * 16


def vectors():
    with open(PAGE, encoding="utf-8") as page:
        return dict(re.findall(r"^([a-z0-9_.]+) = (.+)$", page.read(), re.MULTILINE))


TEXT = vectors()
BYTES = {name: bytes.fromhex(value) for name, value in TEXT.items() if re.fullmatch("(?:[0-9a-f]{2})+", value)}


def check_numbers():
    cursor = mini.Cursor(BYTES["wire.varints"])
    assert [cursor.varint() for _ in range(6)] == [0, 1, 127, 128, 300, 2**64 - 1]
    cursor = mini.Cursor(BYTES["wire.signed"])
    assert [cursor.signed() for _ in range(6)] == [0, -1, 1, -2, 64, -(2**63)]


def check_keys():
    keys = mini.read_bundle(1, b"\1\1" + FAMILY_SECRET)
    for n, name in enumerate(mini.KEY_NAMES, 1):
        assert keys[n] == BYTES[f"key.{n}." + name.replace(" ", "_")], name
    for vector, suite in (("seal.aes", 1), ("seal.chacha", 2)):
        assert mini.open_sealed(suite, bytes([3]) * 32, BYTES[vector], b"aad") == b"known answer"
    return keys


def check_slots(keys):
    plain = BYTES["slot.password"][32 : 32 + 0x14B]
    gained = mini.open_slot(plain, mini.Secret(1, b"tide"), bytes([7]) * 8, REPOSITORY, FAMILY)
    assert gained == keys
    assert mini.open_slot(plain, mini.Secret(1, b"Tide"), bytes([7]) * 8, REPOSITORY, FAMILY) is None
    secret = mini.decode_text_key(TEXT["textkey"])
    assert secret == bytes([11]) * 32
    assert combine_shares([TEXT["share.3"], TEXT["share.1"]]) == secret
    plain = BYTES["slot.keyfile.covered"][32:]
    gained = mini.open_slot(plain, mini.Secret(2, secret), bytes([7]) * 8, REPOSITORY, FAMILY)
    assert gained == {n: keys[n] for n in range(4, 13)}


def check_parity():
    """Any damage to up to three shards of an object, and to both footers, is undone."""
    whole = BYTES["slot.password"]
    right, problem, _ = parity.covered_bytes(whole)
    assert problem is None
    choose = random.Random(1)
    for round_number in range(300):
        damaged = bytearray(whole)
        for _ in range(1 + round_number % 3):
            damaged[choose.randrange(len(whole))] ^= choose.randrange(1, 256)
        if round_number % 5 == 0:
            damaged[-160:] = bytes(160)
        assert parity.covered_bytes(bytes(damaged))[0] == right
    assert parity.is_writers(50_000, 512, int(TEXT["parity.six.groups"]))


if __name__ == "__main__":
    check_numbers()
    check_slots(check_keys())
    check_parity()
    sys.exit(0)
