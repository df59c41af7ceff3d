"""The sources of triggers, read for real: processes, files, logs, signals, commands, HTTP both ways."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.window import levels
from pytest_blcperf.window.endpoint import Endpoint
from pytest_blcperf.window.happenings import CommandResult, HttpProbe, LogLine
from pytest_blcperf.window.watch import Watch


class Clock:
    """Seconds that pass only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def own() -> list[psutil.Process]:
    return [psutil.Process()]


def watch(text: str, clock: Callable[[], float] | None = None) -> Watch:
    return Watch(text, own, clock or Clock(), token="secret")


def test_cpu_is_percent_of_one_processor() -> None:
    clock = Clock()
    reader = levels.cpu_percent(own, clock)
    assert reader.read() is None
    before = sum(psutil.Process().cpu_times()[:2])
    while sum(psutil.Process().cpu_times()[:2]) - before < 0.2:
        sum(range(1000))
    clock.now = 0.4
    used = sum(psutil.Process().cpu_times()[:2]) - before
    assert reader.read() == pytest.approx(100 * used / 0.4, rel=0.2)


def test_a_process_that_ended_takes_its_count_with_it() -> None:
    clock, counts = Clock(), {1: 100.0, 2: 50.0}
    reader = levels.Rate(lambda: dict(counts), clock)
    assert reader.read() is None
    clock.now = 2.0
    del counts[1]
    counts.update({2: 60.0, 3: 1000.0})
    assert reader.read() == 5.0


def test_memory_threads_and_io_are_those_of_the_process(tmp_path: Path) -> None:
    clock = Clock()
    assert levels.resident_bytes(own).read() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert levels.thread_count(own).read() == psutil.Process().num_threads()
    reader = levels.io_rate(own, clock)
    reader.read()
    (tmp_path / "big").write_bytes(b"x" * 1_000_000)
    clock.now = 1.0
    rate = reader.read()
    assert rate is not None
    assert rate >= 1_000_000


def test_pressure_is_read_where_the_kernel_has_it(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("some avg10=12.34 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0 total=0\n")
    assert levels.pressure("cpu", tmp_path).read() == 12.34
    assert levels.pressure("io", tmp_path).read() is None


def test_a_file_appears_and_a_process_is_gone(tmp_path: Path) -> None:
    with watch(f"file:{tmp_path}/go and rss > 1") as watching:
        assert watching.fired() is None
        (tmp_path / "go").touch()
        assert watching.fired() == f"file:{tmp_path}/go and rss > 1"
    assert levels.resident_bytes(list).read() is None


def test_only_new_lines_of_a_log_count_also_after_rotation(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("deadlock found\n")
    reader = LogLine(f"{log}:dead.*found")
    assert reader.read() is False
    with log.open("a") as file:
        file.write("fine\ndead")
    assert reader.read() is False
    with log.open("a") as file:
        file.write("lock found\n")
    assert reader.read() is True
    assert reader.read() is False
    log.rename(tmp_path / "app.log.1")
    assert reader.read() is False
    log.write_text("deadlock found\n")
    assert reader.read() is True
    log.write_text("short\n")
    assert reader.read() is False
    reader.close()


def test_a_signal_is_remembered_and_its_handler_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with watch("signal:USR1") as watching:
        assert watching.fired() is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert watching.fired() == "signal:USR1"
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize(
    ("program", "compared", "expected"),
    [
        ("raise SystemExit(0)", False, True),
        ("raise SystemExit(3)", False, False),
        ("print('lag: 12.5 s')", True, 12.5),
        ("print('none')", True, None),
    ],
)
def test_commands_answer_with_their_code_or_a_number(program: str, compared: bool, expected: object) -> None:
    assert CommandResult(f'{sys.executable} -c "{program}"', compared).read() == expected


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert CommandResult("/no/such/command", False).read() is None


@pytest.fixture
def server() -> Iterator[str]:
    """A server that says `busy` at /busy and has nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/busy" else 503)
            self.end_headers()
            self.wfile.write(b"busy")

        def log_message(self, *_: object) -> None:
            pass

    running = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_probe_is_true_false_or_unknown(server: str) -> None:
    assert HttpProbe(f"{server}/busy").read() is True
    assert HttpProbe(f"{server}/busy idle").read() is False
    assert HttpProbe(f"{server}/else").read() is False
    assert HttpProbe("http://127.0.0.1:1/").read() is None


def call(address: str, token: str, method: str = "POST") -> int:
    request = urllib.request.Request(address, method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_our_endpoint_wants_its_token_and_nothing_but_a_post() -> None:
    with watch("http:0") as watching:
        (endpoint,) = watching.endpoints
        assert endpoint.address.startswith("http://127.0.0.1:")
        assert call(endpoint.address, "wrong") == 403
        assert call(endpoint.address, "secret", "GET") == 501
        assert call(endpoint.address + "x", "secret") == 404
        assert watching.fired() is None
        assert call(endpoint.address, "secret") == 202
        assert watching.fired() == "http:0"
        watching.forget()
        assert watching.fired() is None


def test_a_token_of_its_own_is_different_every_time() -> None:
    first, second = Endpoint("0"), Endpoint("0")
    assert first.token != second.token
    first.close()
    second.close()


@pytest.mark.parametrize(
    "text",
    ["http:here", "http:99999", "log:/var/log/x", "log:/x:(", "signal:KILL", "probe:ftp://x/", "command:'\"'"],
)
def test_arguments_that_make_no_sense_are_refused_and_nothing_stays_open(text: str) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(UsageError), watch(f"signal:USR1 or {text}"):
        pass
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_port_in_use_is_said() -> None:
    taken = Endpoint("0")
    port = taken.address.rsplit(":", 1)[1].split("/")[0]
    with pytest.raises(TargetError, match="cannot listen"), watch(f"http:{port}"):
        pass
    taken.close()
