#!/usr/bin/env python3
"""How fast a PostgreSQL database goes into a repository, and what a second dump adds.

    benches/postgres.py --lifeboat target/release/lifeboat --scale 130 --rounds 3 FOLDER

Makes a server of its own below FOLDER (as the user nobody where it runs as root), fills it with pgbench, and takes
turns: `pg_dump -Fc` into a file, and a run of lifeboat into a new repository on the same disk. CPU seconds are those of
the program with its children and of the server's processes together. Then it changes rows and looks at what a second
run adds. A scale of 1 is about 15 MB in the database.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time

NOBODY = 65534


def binaries():
    found = sorted(os.listdir("/usr/lib/postgresql"), key=int)
    return f"/usr/lib/postgresql/{found[-1]}/bin"


class Server:
    def __init__(self, folder):
        self.bin = binaries()
        self.data = os.path.join(folder, "data")
        self.run = os.path.join(folder, "run")
        os.makedirs(self.data, mode=0o700)
        os.makedirs(self.run)
        self.as_nobody = os.geteuid() == 0
        if self.as_nobody:
            os.chmod(folder, 0o755)
            for path in (self.data, self.run):
                os.chown(path, NOBODY, NOBODY)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.as_nobody else {}
        subprocess.run([f"{self.bin}/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N"], check=True,
                       stdout=subprocess.DEVNULL, cwd="/", **drop)
        settings = ["fsync=off", "full_page_writes=off", "max_wal_size=256MB", "shared_buffers=256MB", "autovacuum=off",
                    f"unix_socket_directories={self.run}", "listen_addresses=", f"port={self.port}", "logging_collector=off"]
        options = [word for setting in settings for word in ("-c", setting)]
        self.process = subprocess.Popen([f"{self.bin}/postgres", "-D", self.data, *options], cwd="/",
                                        stderr=subprocess.DEVNULL, **drop)
        for _ in range(100):
            if subprocess.run([f"{self.bin}/pg_isready", "-q"], env=self.environment()).returncode == 0:
                return
            time.sleep(0.2)
        sys.exit("the server does not start")

    def environment(self):
        return {**os.environ, "PGHOST": self.run, "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def sql(self, statement):
        done = subprocess.run(["psql", "-XAtqc", statement], env=self.environment(), check=True, capture_output=True)
        return done.stdout.decode().strip()

    def cpu(self):
        """Of the server and all its processes, also those that ended."""
        tick = os.sysconf("SC_CLK_TCK")
        total = 0
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(name) == self.process.pid:
                total += sum(int(field) for field in fields[11:15])
            elif int(fields[1]) == self.process.pid:
                total += sum(int(field) for field in fields[11:13])
        return total / tick

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measured(server, command, environment, output=None):
    """Wall seconds, CPU seconds of the program with its children, and of the server."""
    before, server_before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), server.cpu(), time.monotonic()
    done = subprocess.run(command, env=environment, stdout=output or subprocess.PIPE, stderr=subprocess.PIPE)
    wall = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"{command}: {done.stderr.decode()}")
    time.sleep(0.3)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, client, server.cpu() - server_before, done.stdout


def size(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


class Lifeboat:
    def __init__(self, program, folder, server):
        self.program, self.folder = os.path.abspath(program), os.path.join(folder, "boat")
        os.makedirs(self.folder)
        self.repository = os.path.join(self.folder, "repository")
        self.environment = {"HOME": self.folder, "PATH": f"{server.bin}:/usr/bin:/bin", "LIFEBOAT_CONFIG": f"{self.folder}/lifeboat.toml"}
        with open(f"{self.folder}/lifeboat.toml", "w") as file:
            file.write(f'''[repositories.main]
url = "{self.repository}"
[sources.db]
type = "postgres"
url = "postgresql://postgres@/postgres?host={server.run}&port={server.port}"
[jobs.daily]
sources = ["db"]
to = ["main"]
''')

    def new(self):
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(f"{self.folder}/.config", ignore_errors=True)
        shutil.rmtree(f"{self.folder}/.cache", ignore_errors=True)
        shutil.rmtree(f"{self.folder}/.local", ignore_errors=True)
        subprocess.run([self.program, "init", "-r", "main"], env=self.environment, check=True, capture_output=True)

    def run(self, server):
        return measured(server, [self.program, "backup", "-s", "db", "--json"], self.environment)

    def growth(self, server, what):
        before = size(self.repository)
        wall, client, of_server, out = self.run(server)
        grown = size(self.repository) - before
        summary = json.loads(out.strip().splitlines()[-1])
        print(f"{what}: the repository grew by {grown / 1e6:.1f} MB ({100 * grown / self.first:.1f} % of {self.first / 1e6:.1f} MB), "
              f"wall {wall:.1f} s, CPU {client:.1f} + {of_server:.1f} s, new data {summary.get('data_added', 0) / 1e6:.1f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lifeboat", required=True)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", action="store_true", help="fill the rows with 84 letters each that do not repeat; pgbench leaves them blank")
    parser.add_argument("folder")
    args = parser.parse_args()
    os.makedirs(args.folder)
    server = Server(os.path.abspath(args.folder))
    try:
        run(server, args)
    finally:
        server.stop()
        shutil.rmtree(args.folder)


def run(server, args):
    subprocess.run([f"{server.bin}/pgbench", "-i", "-q", "-s", str(args.scale)], env=server.environment(), check=True, capture_output=True)
    rows = 100_000 * args.scale
    if args.text:
        server.sql("update pgbench_accounts set filler = md5(aid::text) || md5((aid * 7)::text) || left(md5((aid * 13)::text), 20)")
        server.sql("vacuum full pgbench_accounts")
    print(f"database: {int(server.sql('select pg_database_size(current_database())')) / 1e6:.0f} MB, {rows} rows in pgbench_accounts", flush=True)
    boat = Lifeboat(args.lifeboat, args.folder, server)
    dump = os.path.join(args.folder, "dump")
    ratios = []
    for _ in range(args.rounds):
        with open(dump, "wb") as file:
            wall, client, of_server, _ = measured(server, [f"{server.bin}/pg_dump", "-Fc"], server.environment(), file)
        boat.new()
        before = size(boat.repository)
        boat_wall, boat_client, boat_server, _ = boat.run(server)
        boat.first = size(boat.repository) - before
        ratios.append((boat_wall / wall, (boat_client + boat_server) / (client + of_server)))
        print(f"pg_dump -Fc: wall {wall:.1f} s, CPU {client:.1f} + {of_server:.1f} s, {os.path.getsize(dump) / 1e6:.1f} MB; "
              f"lifeboat: wall {boat_wall:.1f} s, CPU {boat_client:.1f} + {boat_server:.1f} s, {boat.first / 1e6:.1f} MB", flush=True)
    os.remove(dump)
    print(f"lifeboat / pg_dump, medians: wall {statistics.median(r[0] for r in ratios):.2f}, CPU {statistics.median(r[1] for r in ratios):.2f}")
    boat.growth(server, "nothing changed")
    one = rows // 100
    server.sql(f"update pgbench_accounts set abalance = abalance + 17 where aid between {rows // 3} and {rows // 3 + one - 1}")
    server.sql(f"insert into pgbench_accounts select g, 1, 0, '' from generate_series({rows + 1}, {rows + one}) g")
    boat.growth(server, "1 % of the rows changed in one key range, and 1 % new rows")
    server.sql("update pgbench_accounts set abalance = abalance + 23 where random() < 0.01")
    boat.growth(server, "1 % of the rows at random")


main()
