"""Real servers under load: the layers that work are named, the pattern that is there is found, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import Server

from pytest_blcperf.capture.probe import perf_refusal

REFUSAL = perf_refusal(1000)

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(REFUSAL is not None, reason=f"perf_event_open is refused: {REFUSAL and REFUSAL.message}"),
]

NOT_HERE = {"spinlock", "allocator-pressure", "garbage-collection", "syscall-storm", "page-faults"}
JSON_QUERY = """select benchmark(400000000, json_extract('{"a": [1, 2, 3], "b": {"c": 5}}', '$.b.c'))"""
REGEX_QUERY = "select count(*) from generate_series(1, 20000000) g where ('row ' || g) ~ '^r.*[0-9]+[13579]$'"


def record(folder: Path, *arguments: str) -> dict[str, Any]:
    """The analysis of one window."""
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--json", "--duration", "2s", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def patterns(data: dict[str, Any]) -> set[str]:
    return {one["name"] for one in data["findings"] if one["certainty"] == "found"}


def shares(data: dict[str, Any], table: str) -> dict[str, float]:
    return {part["name"]: part["share"] for part in data["tables"][table]}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Server]:
    reason = servers.missing_mariadb()
    if reason:
        pytest.skip(reason)
    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    reason = servers.missing_postgres()
    if reason:
        pytest.skip(reason)
    with servers.postgresql() as server:
        yield server


def test_mariadb_under_transactions(mariadb: Server, tmp_path: Path) -> None:
    with servers.running(mariadb.transactions):
        data = record(tmp_path, "--pid", str(mariadb.pid), "--preset", "mariadb")
    assert not patterns(data) & NOT_HERE
    assert shares(data, "database")["database layers"] > 0.2
    assert {"executor", "other server code", "network"} <= set(shares(data, "class"))
    assert data["health"]["truncated_stacks"] < 0.1 * data["samples"]
    assert data["counters"]["context-switches"] > 1000


def test_mariadb_parsing_json(mariadb: Server, tmp_path: Path) -> None:
    with servers.running([*mariadb.query, JSON_QUERY]):
        data = record(tmp_path, "--pid", str(mariadb.pid), "--preset", "mariadb")
    assert "json-or-regex" in patterns(data)
    assert not patterns(data) & NOT_HERE


def test_postgresql_under_transactions(postgresql: Server, tmp_path: Path) -> None:
    with servers.running(postgresql.transactions):
        data = record(tmp_path, "--pid", str(postgresql.pid), "--preset", "postgresql")
    assert not patterns(data) & NOT_HERE
    assert shares(data, "database")["database layers"] > 0.2
    assert {"parser", "optimiser", "executor", "storage engine"} <= set(shares(data, "class"))
    assert len(shares(data, "process")) >= 4


def test_postgresql_matching_regular_expressions(postgresql: Server, tmp_path: Path) -> None:
    with servers.running([*postgresql.query, REGEX_QUERY]):
        data = record(tmp_path, "--pid", str(postgresql.pid), "--preset", "postgresql")
    assert "json-or-regex" in patterns(data)
    assert not patterns(data) & (NOT_HERE - {"garbage-collection"})


def test_a_python_web_server_that_parses_json(tmp_path: Path) -> None:
    with subprocess.Popen(servers.web_server(0), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                with urllib.request.urlopen(address, timeout=30) as answer:
                    answer.read()

        client = threading.Thread(target=load)
        client.start()
        try:
            data = record(tmp_path, "--pid", str(server.pid))
        finally:
            done.set()
            client.join()
            server.kill()
    assert "json-or-regex" in patterns(data)
    assert not patterns(data) & {"spinlock", "lock-contention", "syscall-storm", "page-faults", "allocator-pressure"}
