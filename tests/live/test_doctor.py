"""The doctor under a seccomp filter, as another user, inside a user namespace, and of real processes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from programs import WAITING, compiled, needed
from test_permissions import PERF_EVENT_OPEN, drop_privileges, readable_python, refuse_perf

from pytest_blcperf.capture import probe
from pytest_blcperf.errors import ExitCode

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what it looks at is Linux's"),
]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/blcperf.doctor-1.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def doctor(
    *arguments: str,
    wrapper: tuple[str, ...] = (),
    prepare: Callable[[], None] | None = None,
    python: str = sys.executable,
    **variables: str,
) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a doctor in a process of its own, run after `prepare` in it; the schema always holds."""
    done = subprocess.run(
        [*wrapper, python, "-m", "pytest_blcperf", "doctor", "--json", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    data = json.loads(done.stdout)
    VALIDATOR.validate(data)
    return done.returncode, data


def states(data: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in data["probes"]}


def named(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in data["probes"] if one["name"] == name)


@contextlib.contextmanager
def waiting(*command: str) -> Iterator[int]:
    """A process that says `ready` and waits."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.stdin.close()


def test_the_schema_allows_nothing_unknown() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.skipif(probe.perf_refusal(1000) is not None, reason="perf_event_open is refused here")
def test_here() -> None:
    code, data = doctor()
    assert code == ExitCode.OK
    assert data["target"] is None
    assert states(data)["perf events"] == "ok"
    assert states(data)["perf events of a child"] == "ok"


@pytest.mark.skipif(platform.machine() not in PERF_EVENT_OPEN, reason="no syscall number for this machine")
def test_under_a_filter_that_refuses_perf() -> None:
    code, data = doctor("--pid", str(os.getpid()), prepare=refuse_perf)
    assert code == ExitCode.NOT_PERMITTED  # the target: this machine could still use the timer
    assert states(data)["perf events"] == "missing"
    assert states(data)["profiling"] == "limited"
    assert "perf_event_open" in named(data, "seccomp")["detail"]
    assert named(data, "perf events")["remedies"]
    assert data["target"]["can_be_profiled"] is False
    assert data["target"]["objects"]
    assert doctor(prepare=refuse_perf)[0] == ExitCode.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_as_nobody() -> None:
    python, path = readable_python()
    pid = os.getpid()
    code, data = doctor("--pid", str(pid), prepare=drop_privileges, python=python, PYTHONPATH=path)
    assert code == ExitCode.NOT_PERMITTED
    assert named(data, "rights")["detail"].startswith("none of")
    about = {one["name"]: one for one in data["target"]["probes"]}
    assert "EACCES" in about["sampling"]["detail"] or "EPERM" in about["sampling"]["detail"]
    assert about["sampling"]["mend"] == f"sudo blcperf doctor --pid={pid}"
    assert about["objects"]["state"] == "limited"
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) == 2:
        assert states(data)["perf events"] == "ok"
        assert states(data)["kernel samples"] == "limited"
        told = [one["command"] for one in named(data, "kernel samples")["remedies"]]
        assert any(command.endswith("kernel.perf_event_paranoid=1") for command in told)


def test_inside_a_user_namespace() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Ur", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces can be made here")
    _, data = doctor(wrapper=(unshare, "-Ur"))
    assert "inside one" in named(data, "user namespaces")["detail"]
    # All capabilities, and none that counts.
    assert "CAP_PERFMON" in named(data, "rights")["detail"]
    assert named(data, "rights")["state"] == "limited"
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) >= 2:
        assert states(data)["kernel samples"] == "limited"
        assert any("user namespace" in one["command"] for one in named(data, "kernel samples")["remedies"])


def test_inside_bubblewrap() -> None:
    wrapper = (needed("bwrap", "bubblewrap"), "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-all")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("bwrap cannot make its namespaces here")
    code, data = doctor(wrapper=wrapper)
    assert code == ExitCode.OK
    assert states(data)["container"] == "ok"


def test_a_stripped_program(tmp_path: Path) -> None:
    program = compiled(tmp_path, "bare", WAITING, "-O2", "-s")
    with waiting(str(program)) as pid:
        code, data = doctor("--pid", str(pid))
        assert doctor("--process", "bare")[1]["target"]["pid"] == pid
    target = data["target"]
    assert (code, target["name"], target["threads"]) == (0 if target["can_be_profiled"] else 4, "bare", 1)
    first = target["objects"][0]
    assert (first["path"], first["symbols"], first["debug_file"]) == (str(program), "exported only", "")
    about = {one["name"]: one for one in target["probes"]}
    told = about[f"object {program}"]
    assert told["state"] == "limited"
    assert told["mend"].startswith("export DEBUGINFOD_URLS=")


def test_a_program_that_was_replaced(tmp_path: Path) -> None:
    program = compiled(tmp_path, "replaced", WAITING)
    with waiting(str(program)) as pid:
        program.unlink()
        _, data = doctor("--pid", str(pid))
    assert data["target"]["objects"][0]["problem"] == "the file was deleted or replaced since the start"


def test_a_python_with_and_without_its_trampoline() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    versions = f"{sys.version_info.major}.{sys.version_info.minor}"
    with waiting(sys.executable, "-c", code) as pid:
        python = doctor("--pid", str(pid))[1]["target"]["python"]
    assert (python["version"], python["perf_trampoline"]) == (versions, False)
    if sys.version_info < (3, 12) or not getattr(sys, "is_stack_trampoline_active", None):
        return
    with waiting(sys.executable, "-X", "perf", "-c", f"def f():\n  {code}\nf()") as pid:
        active = doctor("--pid", str(pid))[1]["target"]["python"]
    Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)
    assert active["perf_trampoline"] is True


def test_targets_that_are_not_there() -> None:
    def fails(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest_blcperf", "doctor", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert fails("--pid", "4194305")[0] == ExitCode.TARGET
    assert fails("--pid=-1")[0] == ExitCode.TARGET
    code, error = fails("--process", "no such process")
    assert (code, "no such process" in error, "hint: " in error) == (ExitCode.TARGET, True, True)
    assert fails("--pid", "1", "--process", "x")[0] == ExitCode.USAGE
    with waiting("sh", "-c", "echo ready; read x") as one, waiting("sh", "-c", "echo ready; read x") as two:
        code, error = fails("--process", "sh")
    assert (code, str(one) in error or "…" in error, str(two) in error or "…" in error) == (ExitCode.USAGE, True, True)


def test_nothing_is_left_behind() -> None:
    def children() -> set[str]:
        listing = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=False).stdout
        return {line for line in listing.splitlines() if "sys.stdin.read()" in line and sys.executable in line}

    before = children()
    doctor()
    for _ in range(100):
        if not children() - before:
            return
        time.sleep(0.02)
    raise AssertionError(children() - before)
