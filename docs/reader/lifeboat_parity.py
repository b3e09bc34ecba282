"""Whether the bytes of an object are those that were written: footers, hashes and parity; and scrub.

Follows docs/format.md ("the page" below). Nothing here needs a key. It promises to tell what is damaged from what is too new,
and to give back only bytes that agree with their hash. A repository without damage needs the footers alone.
"""

import os
import re
import struct

from blake3 import blake3

from lifeboat_mini import Damaged, TooNew, check


def H(data):
    return blake3(data).digest()


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
