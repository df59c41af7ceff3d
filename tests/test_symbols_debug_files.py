"""Separate debug files by build-id and by debuglink, and from debuginfod servers on the loopback."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import WAITING, compiled, needed

from pytest_blcperf.symbols import debug_files, debuginfod
from pytest_blcperf.symbols.debug_files import debug_file, debug_link
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols

BUILD_ID = "abcdef0123456789abcdef0123456789abcdef01"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug_files, "DEBUG_ROOT", tmp_path / "usr/lib/debug")
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("DEBUGINFOD_URLS", "")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stripped program; beside it `whole.debug`, with a link to it in the program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    whole = compiled(folder, "whole", WAITING, "-g", f"-Wl,--build-id=0x{BUILD_ID}")
    objcopy = needed("objcopy", "binutils")
    debug = folder / "whole.debug"
    subprocess.run([objcopy, "--only-keep-debug", whole, debug], check=True)
    stripped = folder / "stripped"
    subprocess.run([objcopy, "-S", f"--add-gnu-debuglink={debug}", whole, stripped], check=True)
    return stripped


def moved(program: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(program.with_name("whole.debug"), place))


def by_build_id(root: Path) -> Path:
    return root / ".build-id" / BUILD_ID[:2] / f"{BUILD_ID[2:]}.debug"


def names_with(program: Path, debug: ElfFile | None) -> set[str]:
    found = elf_symbols(ElfFile.open(program), debug)
    return {found.table.name(index) for index in range(len(found.table))}


def test_the_symbols_of_a_debug_file_are_the_programs(program: Path) -> None:
    debug, problems = debug_file(ElfFile.open(program), str(program))
    assert debug is not None
    assert problems == ()
    assert "secret" not in names_with(program, None)
    assert {"secret", "shown", "main", "puts@plt"} <= names_with(program, debug)


@pytest.mark.parametrize("place", ["bin/.debug", "usr/lib/debug{folder}"])
def test_where_a_link_is_looked_for(program: Path, tmp_path: Path, place: str) -> None:
    moved(program, tmp_path / place.format(folder=program.parent) / "whole.debug")
    assert debug_file(ElfFile.open(program), str(program))[0] is not None


def test_a_build_id_is_looked_for_first_and_in_the_process_root_before(program: Path, tmp_path: Path) -> None:
    debug = moved(program, by_build_id(tmp_path / "usr/lib/debug"))
    root = tmp_path / "root"
    inside = by_build_id(Path(f"{root}{tmp_path}/usr/lib/debug"))
    inside.parent.mkdir(parents=True)
    shutil.copy(debug, inside)
    for one, expected in (("", debug), (str(root), inside)):
        found, _ = debug_file(ElfFile.open(program), str(program), one)
        assert found is not None
        assert found.identity[1] == expected.stat().st_ino


def test_a_wrong_debug_file_is_passed_over_and_said(program: Path, tmp_path: Path) -> None:
    debug = program.with_name("whole.debug")
    kept = by_build_id(tmp_path / "usr/lib/debug")
    kept.parent.mkdir(parents=True)
    compiled(kept.parent, "other", WAITING, "-Wl,--build-id=0x1234").rename(kept)
    with debug.open("ab") as file:
        file.write(b"another")
    found, problems = debug_file(ElfFile.open(program), str(program))
    assert found is None
    assert [one.partition(":")[0] for one in problems] == [
        "the debug file has another build-id",
        "the debug file has another checksum",
    ]


@pytest.mark.parametrize(
    "name", [b"../../etc/passwd\0\0\0\0abcd", b"..\0\0abcd", b"\0\0\0\0abcd", b"name", b"a\0\0\0abc"]
)
def test_a_link_leads_nowhere_else(program: Path, name: bytes) -> None:
    section = program.with_name("section")
    section.write_bytes(name)
    objcopy = needed("objcopy", "binutils")
    subprocess.run([objcopy, "--update-section", f".gnu_debuglink={section}", program], check=True)
    assert debug_link(ElfFile.open(program)) is None


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """(address, paths that were asked for) of a server that answers so."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None: ...

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_address[1]}", asked
    finally:
        found.shutdown()
        found.server_close()


def giving(data: bytes) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def refusing(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def test_a_debug_file_is_fetched_once_and_kept_where_every_client_looks(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = program.with_name("whole.debug").read_bytes()
    program.with_name("whole.debug").unlink()
    with server(refusing) as (first, _), server(giving(data)) as (second, asked):
        monkeypatch.setenv("DEBUGINFOD_URLS", f"{first} {second}/ ftp://127.0.0.1/x")
        for _ in range(2):
            found, problems = debug_file(ElfFile.open(program), str(program))
            assert found is not None
            assert problems == ()
    assert asked == [f"/buildid/{BUILD_ID}/debuginfo"]
    assert [one.name for one in (tmp_path / "cache" / BUILD_ID).iterdir()] == ["debuginfo"]


def test_without_the_variable_nothing_is_asked(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program.with_name("whole.debug").unlink()
    monkeypatch.delenv("DEBUGINFOD_URLS")
    monkeypatch.setattr(debuginfod, "debug_file", lambda _: pytest.fail("asked"))
    assert debug_file(ElfFile.open(program), str(program)) == (None, ())


def asked_for(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> str:
    with server(answer) as (url, _):
        monkeypatch.setenv("DEBUGINFOD_URLS", url)
        with pytest.raises(ElfError) as raised:
            debuginfod.debug_file(BUILD_ID)
    return raised.value.message


def nothing_kept(tmp_path: Path) -> bool:
    return not list((tmp_path / "cache" / BUILD_ID).iterdir())


def test_another_file_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = compiled(tmp_path, "other", WAITING, "-Wl,--build-id=0x1234").read_bytes()
    assert "the file has the build-id 1234" in asked_for(monkeypatch, giving(other))
    assert nothing_kept(tmp_path)
    assert "not an ELF file" in asked_for(monkeypatch, giving(b"<html>" + bytes(100)))
    assert nothing_kept(tmp_path)


def test_a_file_too_large_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_MAXSIZE", "100000")
    assert "more than 100000 bytes" in asked_for(monkeypatch, giving(bytes(200_000)))
    assert nothing_kept(tmp_path)


def test_an_answer_that_never_ends_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not over.wait(0.05):
            handler.wfile.write(b"X")

    monkeypatch.setenv("DEBUGINFOD_MAXTIME", "1")
    begun = time.monotonic()
    assert "took longer than 1 s" in asked_for(monkeypatch, trickle)
    over.set()
    assert time.monotonic() - begun < 30
    assert nothing_kept(tmp_path)


def test_a_silent_server_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DEBUGINFOD_URLS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("DEBUGINFOD_TIMEOUT", "1")
        with pytest.raises(ElfError, match="timed out"):
            debuginfod.debug_file(BUILD_ID)


def test_no_other_server_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(refusing) as (other, asked):
        port = other.rpartition(":")[2]

        def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", f"http://localhost:{port}/")
            handler.end_headers()

        assert "sends us to another server" in asked_for(monkeypatch, elsewhere)
    assert asked == []


def test_what_no_server_has_is_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "404" in asked_for(monkeypatch, refusing)
    assert "no server had" in asked_for(monkeypatch, giving(b""))


def test_a_build_id_is_no_path() -> None:
    with pytest.raises(ElfError, match="not a build-id"):
        debuginfod.debug_file("../../etc")


@pytest.mark.live
def test_the_real_daemon(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = needed("debuginfod", "debuginfod")
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.move(program.with_name("whole.debug"), folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [daemon, "-F", "-d", ":memory:", "-p", str(port), str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "DEBUGINFOD_URLS"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            monkeypatch.setenv("DEBUGINFOD_URLS", f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 30
            found = None
            while found is None and time.monotonic() < deadline:
                shutil.rmtree(tmp_path / "cache", ignore_errors=True)
                found, problems = debug_file(ElfFile.open(program), str(program))
                time.sleep(0.05)
        finally:
            process.kill()
    assert found is not None, problems
    assert "secret" in names_with(program, found)
