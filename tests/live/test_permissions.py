"""The whole gate without privileges, and with perf_event_open refused altogether."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gate_runs import QUICK, environment, slower, src_repo

import pytest_blcperf
from pytest_blcperf.capture import probe

pytestmark = pytest.mark.live

PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NOBODY = 65534


def refuse_perf() -> None:
    """Install a seccomp filter under which perf_event_open gives EPERM, as Docker's default profile does.

    BPF as in linux/seccomp.h: load the syscall number; if it is perf_event_open return ERRNO|EPERM, else ALLOW.
    """
    number = PERF_EVENT_OPEN[platform.machine()]
    program = struct.pack("HBBI", 0x20, 0, 0, 0)
    program += struct.pack("HBBI", 0x15, 0, 1, number)
    program += struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 1)
    program += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    fprog = Filter(4, ctypes.cast(buffer, ctypes.c_void_p))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(fprog), 0, 0) == 0


def drop_privileges() -> None:
    """Become nobody: no capability is left."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def gate(
    repo: Path, prepare: Callable[[], None], *arguments: str, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A gate that measures, run after `prepare` in the new process."""
    quick = [option for option in QUICK if "window" not in option]
    return subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", "--blcperf", "--blcperf-baseline=main", *quick, *arguments],
        cwd=repo,
        env=environment(HOME=str(repo), **variables),
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(platform.machine() not in PERF_EVENT_OPEN, reason="no syscall number for this machine")
def test_refused_by_seccomp_the_fallback_is_used_and_named(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    done = gate(repo.path, refuse_perf)
    chosen = re.search(r"profiling backend (py-spy|profiling\.sampling|timer) \(", done.stdout)
    assert chosen is not None, done.stdout + done.stderr
    assert f"{chosen[1]} profiles" in done.stdout
    assert "lockstep time" in done.stdout
    refused = gate(repo.path, refuse_perf, "--blcperf-backend=perf-signal")
    assert refused.returncode == 4
    assert "hint: " in refused.stderr and "Traceback" not in refused.stderr + refused.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach: pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_unprivileged_user(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("already unprivileged: the other tests show it")
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 2 or probe.perf_refusal(1000) is not None:
        pytest.skip("perf_event_open is not allowed to unprivileged users here (kernel.perf_event_paranoid above 2)")
    python, path = readable_python()
    repo = src_repo(open_folder / "repo").write({"src/lib/core.py": slower()}).commit()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(repo.path)], check=True)
    done = gate(repo.path, drop_privileges, python=python, PYTHONPATH=path, TMPDIR=str(repo.path))
    chosen = re.search(r"profiling backend (perf-[a-z]+) \(", done.stdout)
    assert chosen is not None, done.stdout + done.stderr
    assert f"{chosen[1]} profiles" in done.stdout
    assert "lockstep time" in done.stdout


def readable_python() -> tuple[str, str]:
    """An interpreter that nobody can run, and the PYTHONPATH it needs: this one, or the system's of the same version
    with this one's packages. Skips where there is none.
    """
    packages = os.pathsep.join([sysconfig.get_paths()["purelib"], str(Path(pytest_blcperf.__file__).parents[1])])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python, path in ((sys.executable, ""), (f"/usr/bin/{version}", packages)):
        try:
            done = subprocess.run(
                [python, "-c", "import pytest, numpy, psutil, pytest_blcperf"],
                cwd="/",
                env={**environment(), "PYTHONPATH": path},
                capture_output=True,
                preexec_fn=drop_privileges,
                check=False,
            )
        except (PermissionError, FileNotFoundError):
            continue
        if not done.returncode:
            return python, path
    pytest.skip("no interpreter here can be run by an unprivileged user: they lie under a private home directory")


CHOSEN = (
    "order_of_time or keep_beginning or exec or whole_system or kernel_mode or only_then "
    "or context_switches or page_faults or migrations"
)
"""Of the tests of the recorder and the counters: threads, children, exec, the ring, and what this user may not do."""


def test_the_recorder_without_privileges(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("already unprivileged: the other tests show it")
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 2 or probe.perf_refusal(1000) is not None:
        pytest.skip("perf_event_open is not allowed to unprivileged users here (kernel.perf_event_paranoid above 2)")
    python, path = readable_python()
    tests = [
        shutil.copy(Path(__file__).with_name(f"test_{name}_live.py"), open_folder) for name in ("recorder", "counters")
    ]

    def prepare() -> None:
        # What most distributions allow: only the 516 KiB a CPU of kernel.perf_event_mlock_kb are left.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))
        drop_privileges()

    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", CHOSEN, *tests],
        cwd=open_folder,
        env=environment(PYTHONPATH=path, HOME=str(open_folder)),
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "may not be recorded by this user" in done.stdout
    assert "10 passed, 3 skipped" in done.stdout
