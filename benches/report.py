"""Turns raw results into markdown: a table of medians for each corpus, and the targets met or missed.

Promises: a ratio is always to the best encrypting peer of that cell, whichever tool it is; lifeboat is
compared with the way to unlock that this peer uses; a cell of at most 50 ms counts as met.
It measures nothing.
"""

import statistics

LIFEBOAT, LIFEBOAT_KEY = "lifeboat", "lifeboat:key"
MET_ANYWAY_S = 0.05
# A measurement is called disturbed when others used more than this share of one processor meanwhile.
DISTURBED_SHARE = 0.25
MIB_KIB = 1024

OPERATIONS = [
    ("backup1", "first backup"),
    ("backup2", "unchanged run"),
    ("backup3", "changed run"),
    ("snapshots", "snapshots"),
    ("ls", "ls"),
    ("check", "check --read-data"),
    ("restore_one", "one folder back"),
    ("restore", "full restore"),
    ("restore_nosync", "full restore, no sync"),
]
# Tools that unlock with a key file, so that lifeboat is compared unlocked the same way.
KEY_FILE_PEERS = {"bupstash"}

# Highest allowed ratio to the best peer (wall time and sizes) and peak memory in MiB; no entry: not judged.
TARGETS = {
    "src": {
        "backup1": 0.40,
        "backup2": 0.50,
        "backup3": 0.40,
        "restore_nosync": 0.75,
        "check": 0.50,
        "restore_one": 1.0,
        "ls": 1.0,
        "snapshots": 1.0,
        "size1": 1.06,
        "size3": 0.85,
        "memory": 120,
    },
    "many": {
        "backup1": 0.30,
        "backup2": 0.40,
        "backup3": 0.40,
        "restore_nosync": 0.75,
        "check": 0.60,
        "restore_one": 1.0,
        "ls": 1.0,
        "snapshots": 1.0,
        "size1": 1.02,
        "size3": 0.80,
        "memory": 120,
    },
    "mix": {
        "backup1": 0.40,
        "backup2": 0.60,
        "backup3": 0.40,
        "restore_nosync": 0.75,
        "check": 0.60,
        "restore_one": 1.0,
        "ls": 1.0,
        "snapshots": 1.0,
        "size1": 1.0,
        "size3": 1.0,
        "memory": 150,
    },
    "db": {
        "backup1": 0.70,
        "backup2": 1.0,
        "backup3": 0.60,
        "restore_nosync": 0.75,
        "check": 0.80,
        "restore_one": 1.0,
        "ls": 1.0,
        "snapshots": 1.0,
        "size1": 1.02,
        "size3": 0.80,
        "memory": 120,
    },
}


def median(samples, key):
    values = [sample[key] for sample in samples if key in sample]
    return statistics.median(values) if values else None


def is_peer(name):
    return name not in (LIFEBOAT, LIFEBOAT_KEY)


def peers_operation(operation):
    """Peers have one restore: both of lifeboat's are compared with it."""
    return "restore" if operation == "restore_nosync" else operation


def best_peer(cells, operation, key):
    """Returns (value, tool) of the best peer for a cell, or None when no peer was measured."""
    found = [
        (median(samples, key), tool)
        for tool, samples in cells.get(peers_operation(operation), {}).items()
        if is_peer(tool)
    ]
    found = [pair for pair in found if pair[0] is not None]
    return min(found) if found else None


def markdown(results):
    """Returns the whole report."""
    machine = results["machine"]
    lines = [
        f"Machine: {machine['processors']} x {machine['processor']}, {machine['memory_mib']} MiB,"
        f" {machine['system']}, {machine['date']}.",
        "",
    ]
    lines += [
        "Versions: " + "; ".join(f"{tool}: {version}" for tool, version in results["versions"].items()) + "."
    ]
    if results["missing"]:
        lines += [
            "Missing: " + "; ".join(f"{name} ({why})" for name, why in results["missing"].items()) + "."
        ]
    for corpus, entry in results["corpora"].items():
        lines += ["", *corpus_table(corpus, entry), "", *verdicts(corpus, entry)]
    return "\n".join(lines)


def corpus_table(corpus, entry):
    cells = entry["cells"]
    names = []
    for of_tool in cells.values():
        names += [tool for tool in of_tool if tool not in names]
    names.sort(key=lambda name: (is_peer(name), name))
    files, folders, size = entry["size"]
    lines = [
        f"### {corpus}: {files} files, {folders} folders, {size / 1e6:.0f} MB",
        "",
        "Median wall s (ratio to the best peer) / CPU s / peak MiB / repository MB (files);"
        " [n] samples, load by others in CPU s",
        "",
        "| operation | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for operation, title in OPERATIONS:
        if operation in cells:
            lines.append(
                f"| {title} | " + " | ".join(cell_text(cells, operation, name) for name in names) + " |"
            )
    lines += disturbance(cells)
    for operation, tool_errors in entry.get("failed", {}).items():
        lines += ["", *(f"Failed: {operation} {tool}: {error}" for tool, error in tool_errors.items())]
    for tool, kinds in entry.get("restored", {}).items():
        for kind, found in kinds.items():
            if found:
                lines += [
                    "",
                    f"Not as the source after {kind}, {tool}: "
                    + ", ".join(f"{what} {n}" for what, n in found.items()),
                ]
    return lines


def disturbance(cells):
    """Returns a warning when wall times were taken beside other load."""
    samples = [sample for of_tool in cells.values() for taken in of_tool.values() for sample in taken]
    disturbed = [s for s in samples if s["other_cpu_s"] > max(0.1, DISTURBED_SHARE * s["wall_s"])]
    if not disturbed:
        return []
    text = (
        f"Disturbed by other load: {len(disturbed)} of {len(samples)} samples; their wall times say little."
    )
    return ["", text]


def cell_text(cells, operation, name):
    samples = cells[operation].get(name)
    if not samples:
        return "-"
    wall, best = median(samples, "wall_s"), best_peer(cells, operation, "wall_s")
    is_best = best and best[1] == name and is_peer(name)
    text = f"**{wall:.2f}**" if is_best else f"{wall:.2f}"
    if best and not is_best:
        text += f" ({wall / best[0]:.2f}x)"
    text += f" / {median(samples, 'cpu_s'):.2f} / {round(max(s['rss_kib'] for s in samples) / MIB_KIB)}"
    size = median(samples, "repo_bytes")
    if size is not None:
        text += f" / {size / 1e6:.1f} ({median(samples, 'repo_files'):.0f})"
    return text + f" [{len(samples)}, {median(samples, 'other_cpu_s'):.1f}]"


def own_name(cells, operation, peer):
    """Returns which lifeboat to compare: unlocked the way the peer unlocks, where it was measured."""
    wanted = LIFEBOAT_KEY if peer in KEY_FILE_PEERS else LIFEBOAT
    there = cells.get(operation, {})
    return wanted if wanted in there else next((n for n in (LIFEBOAT, LIFEBOAT_KEY) if n in there), None)


def verdicts(corpus, entry):
    cells, targets = entry["cells"], TARGETS.get(corpus)
    if not targets or not any(not is_peer(tool) for of_tool in cells.values() for tool in of_tool):
        return []
    lines = [
        f"Targets, {corpus}:",
        "",
        "| what | lifeboat | best peer | ratio | target | |",
        "|---|---|---|---|---|---|",
    ]
    titles = dict(OPERATIONS)
    for what, target in targets.items():
        if what == "memory":
            lines.append(memory_row(cells, target))
        elif what in ("size1", "size3"):
            title = "size after the first backup" if what == "size1" else "size after all three"
            lines.append(ratio_row(title, cells, "backup" + what[-1], "repo_bytes", target))
        else:
            lines.append(ratio_row(titles[what], cells, what, "wall_s", target))
    return lines


def ratio_row(title, cells, operation, key, target):
    best = best_peer(cells, operation, key)
    name = own_name(cells, operation, best[1]) if best else None
    if name is None:
        return f"| {title} | not measured | | | {target:.2f}x | MISS |"
    own = median(cells[operation][name], key)
    ratio = own / best[0]
    short = key == "wall_s" and own <= MET_ANYWAY_S
    show = (lambda v: f"{v:.3f} s") if key == "wall_s" else (lambda v: f"{v / 1e6:.1f} MB")
    verdict = "PASS" if ratio <= target or short else "MISS"
    own_text, best_text = f"{show(own)} ({name})", f"{show(best[0])} ({best[1]})"
    return f"| {title} | {own_text} | {best_text} | {ratio:.2f}x | {target:.2f}x | {verdict} |"


def memory_row(cells, target):
    own = [
        (s["rss_kib"] / MIB_KIB, operation)
        for operation, of_tool in cells.items()
        for tool, samples in of_tool.items()
        if not is_peer(tool)
        for s in samples
    ]
    peers = [
        s["rss_kib"] / MIB_KIB
        for of_tool in cells.values()
        for tool, samples in of_tool.items()
        if is_peer(tool)
        for s in samples
    ]
    peak, where = max(own)
    top = f"{max(peers):.0f} MiB (highest)" if peers else "-"
    verdict = "PASS" if peak <= target else "MISS"
    return f"| peak memory | {peak:.0f} MiB ({where}) | {top} | | {target} MiB | {verdict} |"
