"""Profiles of other tools: read as they write them, refused in one line when they are broken."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.capture import Capture, profile_of
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER
from pytest_blcperf.store import pprof as writer
from pytest_blcperf.store.foreign import opening

PY_SPY = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
FUZZ = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stacks(capture: Capture) -> dict[str, int]:
    """Weight by stack, `leaf;…;root` of `file:name`."""
    found: dict[str, int] = {}
    for stack, weight in zip(capture.stack.tolist(), capture.weight.tolist(), strict=True):
        functions = [capture.functions[index] for index in capture.stack_of(stack)]
        name = ";".join(f"{one.file}:{one.name}" if one.file else one.name for one in functions)
        found[name] = found.get(name, 0) + weight
    return found


def read(tmp_path: Path, data: str | bytes, name: str = "profile") -> Capture:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return opening.read(path)


def test_collapsed_stacks_of_perf_py_spy_and_cpython(tmp_path: Path) -> None:
    text = (
        "# a comment\nmain;work;vfs_read_[k] 3\nmain;work 2\nmain;spin_[j] 1\n\nidle 0\n"
        "work (app/main.py:12);parse (<stdlib>/json.py:3) 4\ntid:17;main.py:<module>:1;main.py:work:9 5\n"
    )
    capture = read(tmp_path, text)
    assert stacks(capture) == {
        "[kernel]:vfs_read;work;main": 3,
        "work;main": 2,
        "[jit]:spin;main": 1,
        "<stdlib>/json.py:parse;app/main.py:work": 4,
        "main.py:work;main.py:<module>": 5,
    }
    assert len(capture) == 15
    assert (capture.mode == MODE_KERNEL).sum() == 3
    assert [thread.thread for thread in capture.threads] == [0, 17]
    kinds = {function.name: function.kind for function in capture.functions}
    assert kinds["vfs_read"] == "kernel"
    assert kinds["work"] in ("native", "python")


def speedscope(*profiles: dict[str, Any]) -> str:
    frames = [{"name": "main"}, {"name": "work", "file": "app.py", "line": 3}, {"name": "read", "file": None}]
    return json.dumps({"$schema": "…", "shared": {"frames": frames}, "profiles": profiles, "exporter": "x"})


def test_speedscope_sampled_and_evented(tmp_path: Path) -> None:
    sampled = {
        "type": "sampled", "name": "one", "unit": "milliseconds", "startValue": 0, "endValue": 5,
        "samples": [[0, 1], [0], [0, 1]], "weights": [2, 1, 2],
    }  # fmt: skip
    events = [("O", 0, 10), ("O", 2, 11), ("C", 2, 14), ("C", 0, 15)]
    evented = {
        "type": "evented", "name": "two", "unit": "milliseconds", "startValue": 10, "endValue": 15,
        "events": [{"type": kind, "frame": frame, "at": at} for kind, frame, at in events],
    }  # fmt: skip
    capture = read(tmp_path, speedscope(sampled, evented))
    assert stacks(capture) == {"app.py:work;main": 4_000_000, "main": 3_000_000, "read;main": 3_000_000}
    assert capture.unit == "ns"
    assert capture.duration_ns == 5_000_000
    assert [thread.name for thread in capture.threads] == ["one", "two"]
    assert capture.time.tolist() == sorted(capture.time.tolist())


def test_pprof_as_we_write_it_comes_back(tmp_path: Path) -> None:
    original = profile_of(read(tmp_path, "main;work 3\nmain 1\n"))
    capture = read(tmp_path, writer.encode(original), "profile.pb.gz")
    assert stacks(capture) == {"python:work;python:main": 3, "python:main": 1}
    assert capture.event == "cpu-clock"
    plain = read(tmp_path, gzip.decompress(writer.encode(original)), "profile.pb")
    assert stacks(plain) == stacks(capture)


def test_the_firefox_profilers_format(tmp_path: Path) -> None:
    thread = {
        "name": "main", "pid": "12", "tid": 13, "stringArray": ["main", "work", "app.py", "read_[k]"],
        "funcTable": {"name": [0, 1, 3], "fileName": [None, 2, None], "length": 3},
        "frameTable": {"func": [0, 1, 2], "length": 3},
        "stackTable": {"frame": [0, 1, 2], "prefix": [None, 0, 1], "length": 3},
        "samples": {"stack": [0, 1, None, 2], "time": [100, 101, 102, 103.5], "length": 4},
    }  # fmt: skip
    capture = read(tmp_path, json.dumps({"meta": {"interval": 1}, "threads": [thread]}))
    assert stacks(capture) == {"main": 10**6, "app.py:work;main": 10**6, "read_[k];app.py:work;main": 10**6}
    assert capture.time.tolist() == [0, 1_000_000, 3_500_000]
    assert capture.threads[0].process == 12
    assert capture.mode.tolist() == [MODE_USER, MODE_USER, MODE_KERNEL]


@pytest.mark.skipif(PY_SPY is None, reason="py-spy is not installed: pip install py-spy")
@pytest.mark.parametrize("format", ["raw", "speedscope"])
def test_what_py_spy_records_is_read(tmp_path: Path, format: str) -> None:
    script = tmp_path / "busy.py"
    script.write_text(
        "import time\ndef busy():\n    end = time.time() + 1\n    while time.time() < end:\n        pass\nbusy()\n"
    )
    output = tmp_path / "out"
    command = [str(PY_SPY), "record", "--format", format, "--output", str(output), "--", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"py-spy cannot record here: {done.stderr[-200:]}")
    capture = opening.read(output)
    busy = sum(weight for stack, weight in stacks(capture).items() if stack.partition(";")[0].endswith("busy.py:busy"))
    assert busy > 0.8 * capture.weight.sum()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"main;work\n", "line 1 is no collapsed stack"),
        (b"main 5\nmain x\n", "line 2 is no collapsed stack"),
        (b"main 99999999999\n", "with 99999999999 samples"),
        (b"{", "not JSON"),
        (b"{}", "shared is missing"),
        (
            speedscope({"type": "sampled", "name": "a", "unit": "none", "samples": [[9]], "weights": [1]}).encode(),
            "not a list of frames",
        ),
        (speedscope({"type": "table", "name": "a", "unit": "none"}).encode(), "expected sampled or evented"),
        (b"\x1f\x8b\x08\x00damaged", "damaged gzip data"),
        (b"\x0a\xff\0", "longer than what it lies in"),
        (b"\x80" * 20 + b"\0", "a number that does not end"),
        (b"\xfb\x00pstats", "a pstats file"),
        (b"\x12\x00", "no sample types"),
    ],
)
def test_broken_profiles_are_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(BaselineError, match=message) as caught:
        read(tmp_path, data)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_blcperf.store.foreign import pprof

    monkeypatch.setattr(pprof, "_UNPACKED_LIMIT", 1000)
    with pytest.raises(BaselineError, match="unpacked"):
        read(tmp_path, gzip.compress(b"\0" * 100_000))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="not a regular file"):
        opening.read(tmp_path)
    with pytest.raises(BaselineError, match="cannot be read"):
        opening.read(tmp_path / "missing")


def read_or_refuse(tmp_path: Path, data: bytes) -> None:
    try:
        capture = read(tmp_path, data)
    except BaselineError as error:
        assert "\n" not in error.message
    else:
        assert len(capture.stack) == len(capture.weight) == len(capture.time)


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp(), data)


@FUZZ
@given(st.data())
def test_mutated_profiles(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    seed = read(folder, "main;work 3\nmain 1\n")
    sampled = {"type": "sampled", "name": "a", "unit": "none", "samples": [[0, 1]], "weights": [1]}
    whole = data.draw(st.sampled_from([gzip.decompress(writer.encode(profile_of(seed))), speedscope(sampled).encode()]))
    position = data.draw(st.integers(0, len(whole) - 1))
    read_or_refuse(
        folder, whole[:position] + data.draw(st.binary(max_size=4)) + whole[position + data.draw(st.integers(0, 4)) :]
    )
