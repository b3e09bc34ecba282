"""One small class per backup tool: how to make a repository, and the command line of each operation.

Promises: every tool has its own folder for repository, cache and logs, no settings of the user are read,
and secrets are passed through the environment or a file, never as an argument. A class does not measure.
Each tool runs at its default level; where a default leaves out work that the others do, it is said here.
"""

import json
import os
import shutil
import subprocess

PASSWORD = "correct horse battery staple"


def inside(tree, folder):
    """Returns the path of a folder of the tree; an empty name is the tree itself."""
    return os.path.join(tree, folder) if folder else tree


class Tool:
    """A tool with a fresh repository in a folder of its own."""

    name = ""
    program = ""
    unlock = "password"
    # Exit codes of a backup that stored everything asked for.
    backup_codes = (0,)

    def __init__(self, folder):
        self.folder = folder
        self.repo = os.path.join(folder, "repo")
        self.log = os.path.join(folder, "errors.log")
        self.home = os.path.join(folder, "home")
        self.cwd = folder
        # Trees restored so far.
        self.targets = []
        os.makedirs(self.home)

    @classmethod
    def path(cls):
        return shutil.which(cls.program)

    @classmethod
    def version(cls):
        done = subprocess.run(
            [cls.path(), *cls.version_arguments()], capture_output=True, text=True, check=False
        )
        return (done.stdout or done.stderr).strip().split("\n")[0]

    @classmethod
    def version_arguments(cls):
        return ["--version"]

    def env(self):
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        return dict(kept, HOME=self.home, XDG_CACHE_HOME=os.path.join(self.home, ".cache"), **self.secrets())

    def secrets(self):
        return {}

    def setup(self):
        """Creates the repository; not measured."""
        for command in self.init():
            subprocess.run(
                command,
                env=self.env(),
                cwd=self.cwd,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def after_backup(self, output):
        """Learns from what a backup printed to the file `output`, where later commands need it."""

    def restore_cwd(self, _target):
        return self.cwd

    def operations(self):
        """Returns the names of restore operations: most tools have one."""
        return ["restore"]


class Restic(Tool):
    name = program = "restic"

    @classmethod
    def version_arguments(cls):
        return ["version"]

    def secrets(self):
        return {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": self.repo}

    def init(self):
        return [[self.path(), "init"]]

    def backup(self, tree, _number):
        return [self.path(), "backup", "-q", tree]

    def snapshots(self):
        return [self.path(), "snapshots"]

    def ls(self):
        return [self.path(), "ls", "latest"]

    def check(self):
        return [self.path(), "check", "--read-data"]

    def restore(self, target, _kind):
        return [self.path(), "restore", "-q", "latest", "--target", target]

    def restore_one(self, tree, folder, target):
        return [self.path(), "restore", "-q", f"latest:{inside(tree, folder)}", "--target", target]

    def snapshots_json(self):
        return [self.path(), "snapshots", "--json"]

    def snapshot_ids(self, printed):
        return [snapshot["id"] for snapshot in sorted(json.loads(printed), key=lambda one: one["time"])]

    def forget_and_prune(self, ids):
        return [[self.path(), "forget", "-q", "--prune", *ids]]


class Rustic(Tool):
    name = program = "rustic"

    def secrets(self):
        return {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_REPOSITORY": self.repo, "RUSTIC_NO_PROGRESS": "true"}

    def init(self):
        return [[self.path(), "init"]]

    def backup(self, tree, _number):
        return [self.path(), "backup", tree]

    def snapshots(self):
        return [self.path(), "snapshots"]

    def ls(self):
        return [self.path(), "ls", "latest"]

    def check(self):
        return [self.path(), "check", "--read-data"]

    def restore(self, target, _kind):
        return [self.path(), "restore", "latest", target]

    def restore_one(self, tree, folder, target):
        return [self.path(), "restore", f"latest:{inside(tree, folder)}", target]

    def snapshots_json(self):
        return [self.path(), "snapshots", "--json"]

    def snapshot_ids(self, printed):
        groups = json.loads(printed)
        found = [snapshot for group in groups for snapshot in group["snapshots"]]
        return [snapshot["id"] for snapshot in sorted(found, key=lambda one: one["time"])]

    def forget_and_prune(self, ids):
        return [[self.path(), "forget", "--prune", "--instant-delete", *ids]]


class Borg(Tool):
    """Borg 1.4 at its default, lz4. `check` reads, decrypts and decompresses every chunk."""

    name = program = "borg"
    backup_codes = (0,)
    last = 0

    def secrets(self):
        return {"BORG_PASSPHRASE": PASSWORD, "BORG_REPO": self.repo, "BORG_BASE_DIR": self.home}

    def init(self):
        return [[self.path(), "init", "-e", "repokey-blake2"]]

    def backup(self, tree, number):
        self.last = number
        return [self.path(), "create", f"::b{number}", tree]

    def snapshots(self):
        return [self.path(), "list"]

    def ls(self):
        return [self.path(), "list", f"::b{self.last}"]

    def check(self):
        return [self.path(), "check", "--verify-data"]

    def restore(self, _target, _kind):
        return [self.path(), "extract", f"::b{self.last}"]

    def restore_one(self, tree, folder, _target):
        return [self.path(), "extract", f"::b{self.last}", inside(tree, folder).lstrip("/")]

    def restore_cwd(self, target):
        return target


class BorgZstd(Borg):
    name = "borg:z3"

    def backup(self, tree, number):
        self.last = number
        return [self.path(), "create", "-C", "zstd,3", f"::b{number}", tree]


class Bupstash(Tool):
    """Bupstash has no verification: `check` gets everything of the newest item and throws it away."""

    name = program = "bupstash"
    unlock = "key file"
    item = ""

    def secrets(self):
        return {
            "BUPSTASH_REPOSITORY": self.repo,
            "BUPSTASH_KEY": os.path.join(self.home, "key"),
            "BUPSTASH_SEND_LOG": os.path.join(self.home, "send-log"),
            "BUPSTASH_QUERY_CACHE": os.path.join(self.home, "query-cache"),
        }

    def init(self):
        return [[self.path(), "init"], [self.path(), "new-key", "-o", os.path.join(self.home, "key")]]

    def backup(self, tree, number):
        return [self.path(), "put", "--no-progress", f"name=b{number}", tree]

    def after_backup(self, output):
        with open(output, encoding="ascii") as handle:
            self.item = handle.read().split()[-1]

    def snapshots(self):
        return [self.path(), "list", "--no-progress"]

    def ls(self):
        return [self.path(), "list-contents", "--no-progress", f"id={self.item}"]

    def check(self):
        return [self.path(), "get", "--no-progress", f"id={self.item}"]

    def restore(self, target, _kind):
        return [self.path(), "restore", "--no-progress", "--into", target, f"id={self.item}"]

    def restore_one(self, _tree, folder, target):
        pick = ["--pick", folder] if folder else []
        return [self.path(), "restore", "--no-progress", *pick, "--into", target, f"id={self.item}"]


class Lifeboat(Tool):
    """Lifeboat unlocked by a password. LIFEBOAT_BIN names a program that is not on the PATH."""

    name = program = "lifeboat"

    @classmethod
    def path(cls):
        return shutil.which(os.environ.get("LIFEBOAT_BIN", cls.program))

    def secrets(self):
        return {"LIFEBOAT_PASSWORD": PASSWORD}

    def common(self, verb, *rest):
        return [self.path(), verb, "-r", self.repo, *rest]

    def init(self):
        return [self.common("init", "--recovery-key-file", os.path.join(self.home, "recovery"))]

    def backup(self, tree, _number):
        return self.common("backup", tree)

    def snapshots(self):
        return self.common("snapshots")

    def ls(self):
        return self.common("ls", "latest")

    def check(self):
        return self.common("check", "--read-data")

    def operations(self):
        return ["restore", "restore_nosync"]

    def restore(self, target, kind):
        return self.common(
            "restore", "latest", "--target", target, *(["--no-sync"] if kind == "restore_nosync" else [])
        )

    def restore_one(self, tree, folder, target):
        return self.common("restore", f"latest:{inside(tree, folder)}", "--target", target, "--no-sync")

    def snapshots_json(self):
        return self.common("snapshots", "--json")

    def snapshot_ids(self, printed):
        # Oldest first, as they are listed.
        return [snapshot["id"] for snapshot in json.loads(printed)]

    def forget_and_prune(self, ids):
        return [
            self.common("forget", *ids),
            self.common("prune", "--undo-window", "0", "--grace", "0"),
        ]


class LifeboatKey(Lifeboat):
    name = "lifeboat:key"
    unlock = "key file"

    def secrets(self):
        return {}

    def common(self, verb, *rest):
        return [self.path(), verb, "-r", self.repo, "--key-file", os.path.join(self.home, "key"), *rest]


ALL = {tool.name: tool for tool in (Lifeboat, LifeboatKey, Restic, Borg, BorgZstd, Bupstash, Rustic)}

# Peers that are on no registry, with the reason that the report gives.
UNAVAILABLE = {"vykar": "on no package registry"}


def expand(names):
    """Returns tool classes by name; `lifeboat` stands for both ways to unlock it."""
    chosen = []
    for name in names:
        if name in UNAVAILABLE:
            continue
        if name not in ALL:
            raise SystemExit(f"no tool {name!r}: there are {', '.join(ALL)}")
        chosen += [Lifeboat, LifeboatKey] if name == "lifeboat" else [ALL[name]]
    return chosen
