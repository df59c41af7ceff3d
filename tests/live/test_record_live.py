"""`blcperf record` on real programs: the right pattern on each, windows when they are wanted, exit codes that are kept."""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_permissions import NOBODY, drop_privileges, readable_python

from pytest_blcperf.capture.probe import perf_refusal
from pytest_blcperf.capture.spy import py_spy_command
from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.profiling import profiled
from pytest_blcperf.store import capture_file

PROGRAMS = Path(__file__).parent / "programs"
REFUSAL = perf_refusal(1000)
ROOT = os.geteuid() == 0

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(REFUSAL is not None, reason=f"perf_event_open is refused: {REFUSAL and REFUSAL.message}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler: sudo apt-get install gcc"),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of `programs/`, compiled."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("spinning", "convoy", "allocating", "calling", "computing"):
        command = ["gcc", "-O2", "-pthread", "-o", str(folder / name), str(PROGRAMS / f"{name}.c")]
        subprocess.run(command, check=True)
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    return folder


def blcperf(
    *arguments: str, folder: Path, python: str = sys.executable, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The command, as a script calls it."""
    command = [python, "-m", "pytest_blcperf", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, **options)


def wait_until_recording(process: subprocess.Popen[str]) -> None:
    """Until the profiler has its events open."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if "perf_event" in str(entry.readlink()):
                    time.sleep(0.5)
                    return
            except OSError:
                continue
        time.sleep(0.05)
    raise AssertionError("the profiler opened no event")


def analysis(*arguments: str, folder: Path) -> dict[str, Any]:
    """The one analysis that a recording prints as JSON."""
    done = blcperf("record", "--json", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    (found,) = json.loads(text[text.index("[\n") :])
    assert isinstance(found, dict)
    return found


def patterns(data: dict[str, Any]) -> set[str]:
    return {one["name"] for one in data["findings"] if one["certainty"] == "found"}


@pytest.mark.parametrize(
    ("program", "pattern", "function"),
    [
        ("spinning", "spinlock", "pthread_spin_lock"),
        ("convoy", "lock-contention", "pthread_mutex_lock"),
        ("allocating", "allocator-pressure", "_int_malloc"),
        ("calling", "syscall-storm", "getppid"),
        ("computing", None, "multiply"),
    ],
)
def test_each_program_has_its_pattern_and_no_other(
    programs: Path, tmp_path: Path, program: str, pattern: str | None, function: str
) -> None:
    if pattern == "syscall-storm" and not ROOT:
        pytest.skip("kernel samples take rights: run as root")
    data = analysis("--duration", "1.5s", "--", str(programs / program), "6", folder=tmp_path)
    found = patterns(data) - {"kernel-heavy"}
    assert found == ({pattern} if pattern else set())
    assert any(function in one["name"] for one in data["functions"][:8])
    assert data["health"]["lost"] == 0


def test_a_command_is_recorded_from_its_first_instruction_to_its_exit_code(tmp_path: Path) -> None:
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nraise SystemExit(7)"
    done = blcperf("record", "--quiet", "--", sys.executable, "-c", code, folder=tmp_path)
    assert done.returncode == 7
    assert Path(tmp_path / done.stdout.strip()).exists()
    assert done.stderr == ""


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    done = blcperf("record", "--quiet", "--", "no-such-command", folder=tmp_path)
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


@pytest.fixture
def busy(programs: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that computes for a long time."""
    process = subprocess.Popen([str(programs / "computing"), "60"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_windows_repeat_and_each_is_kept(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    arguments = ["--pid", str(busy.pid), "--duration", "300ms", "--repeat", "3", "--every", "400ms"]
    done = blcperf("record", "--quiet", "--output-dir", "deep/er", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = done.stdout.split()
    assert len(paths) == len(set(paths)) == 3
    assert all((tmp_path / path).exists() for path in paths)


def test_a_trigger_opens_the_window_and_is_in_the_capture(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    arguments = ["--pid", str(busy.pid), "--duration", "300ms", "--trigger", f"file:{tmp_path}/go and threads > 0"]
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--json", *arguments]
    recording = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    assert recording.poll() is None
    (tmp_path / "go").touch()
    output, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0
    assert json.loads(output)[0]["settings"]["trigger"] == f"file:{tmp_path}/go and threads > 0"


def test_a_trigger_that_does_not_come_is_given_up(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    arguments = ["--pid", str(busy.pid), "--trigger", "rss > 100GB", "--max-wait", "300ms"]
    done = blcperf("record", *arguments, folder=tmp_path)
    assert done.returncode == 3
    assert "no window was opened" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_captured_before_an_interrupt_is_kept(
    busy: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--quiet", "--pid", str(busy.pid), "--duration", "60s"]
    recording = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_until_recording(recording)
    recording.send_signal(number)
    output, _ = recording.communicate(timeout=60)
    assert recording.returncode == 130
    assert (tmp_path / output.strip()).exists()


def test_a_target_that_dies_ends_the_window_and_keeps_it(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--quiet", "--pid", str(busy.pid), "--duration", "60s"]
    recording = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until_recording(recording)
    busy.kill()
    busy.wait()
    output, complaint = recording.communicate(timeout=60)
    assert recording.returncode == 3
    assert "ended before the window did" in complaint
    assert (tmp_path / output.strip()).exists()


def test_a_harness_made_for_perf_drives_windows(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    commands, ours = os.pipe()
    theirs, acknowledged = os.pipe()
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--quiet", "--pid", str(busy.pid)]
    command += ["--control", f"fd:{commands},{acknowledged}"]
    recording = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, pass_fds=(commands, acknowledged)
    )
    for _ in range(2):
        os.write(ours, b"enable\n")
        assert os.read(theirs, 4) == b"ack\n"
        time.sleep(0.3)
        os.write(ours, b"disable\n")
        assert os.read(theirs, 4) == b"ack\n"
    os.write(ours, b"stop\n")
    output, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0
    assert len(output.split()) == 2


def test_an_idle_target_has_no_samples(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    done = blcperf("record", "--pid", str(sleeper.pid), "--duration", "200ms", "--quiet", folder=tmp_path)
    sleeper.kill()
    sleeper.wait()
    assert done.returncode == 5
    assert "no samples" in done.stderr


@pytest.mark.skipif(not ROOT, reason="becoming another user takes root")
def test_an_unprivileged_user_profiles_his_own_process_and_is_told_what_he_may_not(programs: Path) -> None:
    python, path = readable_python()
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        variables = {**os.environ, "HOME": name, "XDG_CACHE_HOME": name, "PYTHONPATH": path}
        options: dict[str, Any] = {"python": python, "env": variables, "preexec_fn": drop_privileges}
        program = shutil.copy(programs / "convoy", name)
        done = blcperf("record", "--json", "--", program, "1", folder=Path(name), **options)
        assert done.returncode == 0, done.stderr
        (data,) = json.loads(done.stdout[done.stdout.index("[\n") :])
        assert "lock-contention" in patterns(data)
        assert any("kernel mode is not recorded" in one["text"] for one in data["warnings"]), data["warnings"]
        refused = blcperf("record", "--system", "--duration", "100ms", folder=Path(name), **options)
        assert refused.returncode == 4
        assert "hint: " in refused.stderr
        assert "perf_event_paranoid" in refused.stderr
        assert "--blcperf-backend" not in refused.stderr
        assert "--backend py-spy" in refused.stderr
        assert data["settings"]["syscalls"].startswith("kernel entry symbols: ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing given"),
        (["--pid", "1", "--system"], 2, "--pid and --system given"),
        (["--pid", "999999999"], 3, "no running process 999999999"),
        (["--process", "no-such-process-here"], 3, "no running process is called"),
        (["--cgroup", "/no/such"], 3, "cgroup"),
        (["--system", "--newest"], 2, "go with --process"),
        (["--system", "--duration", "0"], 2, "a window of no length"),
        (["--system", "--duration", "soon"], 2, "expected a duration"),
        (["--system", "--rate", "9000"], 2, "a rate of 9000"),
        (["--system", "--trigger", "cpu"], 2, "expected a comparison"),
        (["--system", "--preset", "oracle"], 2, "no preset 'oracle'"),
        (["--system", "--max-wait", "1s"], 2, "goes with --trigger"),
        (["--system", "--repeat", "2", "--output", "x"], 2, "names one file"),
        (["--system", "--event", "no-such"], 2, "no-such"),
    ],
)
def test_what_cannot_be_recorded_is_said_in_a_line_and_a_hint(
    tmp_path: Path, arguments: Sequence[str], code: int, message: str
) -> None:
    done = blcperf("record", *arguments, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert not list(tmp_path.iterdir())


def test_a_block_and_a_function_are_windows(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    with profiled(busy.pid, output=tmp_path / "block.blcperf") as window:
        time.sleep(0.5)
    assert window.capture is not None
    assert {"multiply", "divide"} <= {function.name for function in window.capture.functions}
    (kept,) = capture_file.read(tmp_path / "block.blcperf")
    assert len(kept) == len(window.capture)

    @profiled(busy.pid, output=tmp_path / "function.blcperf")
    def load() -> int:
        time.sleep(0.3)
        return 7

    assert load() == 7
    assert (tmp_path / "function.blcperf").exists()


def test_a_block_on_nobody_is_an_error() -> None:
    with pytest.raises(TargetError), profiled(999_999_999):
        pass
    with pytest.raises(UsageError):
        profiled()


def traced(folder: Path, *arguments: str) -> dict[str, Any]:
    """The analysis of a recording made where tracefs is mounted, which nothing else on the machine sees."""
    if not ROOT or shutil.which("unshare") is None:
        pytest.skip("mounting tracefs takes root and unshare")
    mounted = 'mount -t tracefs nodev /sys/kernel/tracing || exit 99; exec "$@"'
    command = [sys.executable, "-m", "pytest_blcperf", "record", "--json", *arguments]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, "sh", *command],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip(f"tracefs cannot be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout[done.stdout.index("[\n") :])
    assert isinstance(found, dict)
    return found


CALLS = """
import os, threading, time
def call():
    for _ in range(400):
        os.getppid()
    time.sleep(0.2)
threads = [threading.Thread(target=call) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("how", ["auto", "trace"])
def test_system_calls_are_counted_by_tracepoints(tmp_path: Path, how: str) -> None:
    data = traced(tmp_path, "--syscalls", how, "--", sys.executable, "-c", CALLS)
    assert data["settings"]["syscalls"] == "raw tracepoints"
    calls = {one["name"]: one for one in data["syscalls"]["calls"]}
    if how == "trace":
        assert data["syscalls"]["lost"] == 0
        assert calls["getppid"]["calls"] == 1200
        # The three sleeps are waited for inside the call.
        sleeping = sum(
            one["time_ns"] for name, one in calls.items() if name in ("clock_nanosleep", "select", "pselect6")
        )
        assert sleeping >= 0.55e9
    else:
        assert calls["getppid"]["calls"] > 0


def test_a_storm_is_traced_in_stretches(programs: Path, tmp_path: Path) -> None:
    data = traced(tmp_path, "--duration", "1.5s", "--", str(programs / "calling"), "6")
    assert data["syscalls"]["traced_ns"] < 0.9 * data["syscalls"]["window_ns"]
    assert data["syscalls"]["calls"][0]["name"] == "getppid"


def test_system_calls_by_symbols_say_why(tmp_path: Path) -> None:
    data = analysis("--syscalls", "symbols", "--", sys.executable, "-c", "pass", folder=tmp_path)
    assert data["settings"]["syscalls"] == "kernel entry symbols: not asked for"
    assert data["syscalls"] is None


SPIN = """
import time
def spin():
    return sum(number * number for number in range(20_000))
end = time.monotonic() + 60
while time.monotonic() < end:
    spin()
"""


def test_py_spy_records_a_python_process(tmp_path: Path) -> None:
    if py_spy_command() is None:
        pytest.skip("py-spy is not installed: pip install 'pytest-blcperf[pyspy]'")
    target = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        done = blcperf(
            "record", "--json", "--backend", "py-spy", "--duration", "1s", "--pid", str(target.pid), folder=tmp_path
        )
    finally:
        target.kill()
        target.wait()
    if done.returncode == 4 or "Failed to find python version" in done.stderr:
        pytest.skip(f"py-spy cannot read the process here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    (data,) = json.loads(done.stdout[done.stdout.index("[\n") :])
    assert data["backend"] == "py-spy"
    assert data["functions"][0]["kind"] == "python"
    assert "spin" in {one["name"] for one in data["functions"][:4]}
    assert data["duration_ns"] >= 1e9
    assert "kernel time was not recorded" in json.dumps(data["findings"])
    assert len(list(tmp_path.glob("*.blcperf"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system"], "py-spy profiles one process"),
        (["--pid", "{pid}", "--children"], "py-spy profiles one process"),
        (["--", "true"], "a process that runs already"),
    ],
)
def test_what_py_spy_cannot_record(arguments: list[str], message: str, tmp_path: Path) -> None:
    given = [one.format(pid=os.getpid()) for one in arguments]
    done = blcperf("record", "--backend", "py-spy", "--duration", "1s", *given, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


MANY_THREADS = """
import threading, time
end = time.monotonic() + 60
for _ in range(300):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ready", flush=True)
while time.monotonic() < end:
    pass
"""


def test_more_threads_than_files_may_usually_be_open(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = 4 * 300 * (os.cpu_count() or 1)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"at most {hard} open files are allowed, {needed} are needed")
    target = subprocess.Popen([sys.executable, "-c", MANY_THREADS], stdout=subprocess.PIPE)
    try:
        assert target.stdout is not None
        target.stdout.readline()
        few = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (256, hard))
        arguments = ["record", "--json", "--duration", "500ms", "--pid", str(target.pid)]
        done = blcperf(*arguments, folder=tmp_path, preexec_fn=few)
    finally:
        target.kill()
        target.wait()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("[\n") :])[0]["samples"] > 0
