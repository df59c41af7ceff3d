"""Record walking on data that may be anything, and the errors that explain a refusal."""

import ctypes
import errno
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf_event_open exists on Linux only")
perf_event = pytest.importorskip("pytest_blcperf.capture.perf_event")

from pytest_blcperf.capture import probe  # noqa: E402
from pytest_blcperf.capture.refusal import explain  # noqa: E402
from pytest_blcperf.errors import ExitCode, UsageError  # noqa: E402


def record(kind: int, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("=IHH", kind, 0, 8 + len(body) if size is None else size) + body


SAMPLE = record(perf_event.RECORD_SAMPLE, struct.pack("=QIIQQ", 0xABC, 10, 11, 123_456, 1_000_000))


def test_the_attributes_have_the_size_the_kernel_knows():
    assert ctypes.sizeof(perf_event.Attributes) == 128
    assert perf_event.Attributes.clockid.offset == 92


def test_a_sample_is_decoded():
    [found] = perf_event.walk(SAMPLE)
    assert found.type == perf_event.RECORD_SAMPLE
    assert perf_event.decode_sample(found.body) == (0xABC, 10, 11, 123_456, 1_000_000)


def test_lost_records_are_counted():
    [found] = perf_event.walk(record(perf_event.RECORD_LOST, struct.pack("=QQ", 1, 42) + bytes(24)))
    assert perf_event.decode_lost(found.body) == 42


@pytest.mark.parametrize(
    "broken",
    [record(9, b"", size=0), record(9, b"", size=7), record(9, bytes(8), size=400), SAMPLE[:-1], b"\x09\x00\x00"],
    ids=["size zero", "smaller than a header", "longer than the data", "cut off", "cut off in the header"],
)
def test_a_broken_record_ends_the_walk_and_is_told(broken):
    kinds = [found.type for found in perf_event.walk(SAMPLE + broken)]
    assert kinds == [perf_event.RECORD_SAMPLE, perf_event.RECORD_BROKEN]


@given(st.binary(max_size=400))
def test_any_bytes_are_walked_to_the_end(data):
    found = list(perf_event.walk(data))
    assert len(found) <= len(data) // 8 + 1
    for item in found:
        perf_event.decode_sample(item.body)
        perf_event.decode_lost(item.body)


@given(st.lists(st.tuples(st.integers(1, 20), st.binary(max_size=100))))
def test_what_was_written_is_read(written):
    data = b"".join(record(kind, body) for kind, body in written)
    assert [(found.type, found.body) for found in perf_event.walk(data)] == written


@pytest.mark.parametrize(
    ("number", "paranoid", "seccomp", "hint"),
    [
        (errno.EACCES, "4", "0", "sysctl kernel.perf_event_paranoid=1"),
        (errno.EPERM, "3", "2", "on the host"),
        (errno.EPERM, "2", "2", "--cap-add=PERFMON"),
        (errno.ENOSYS, "", "2", "seccomp=PROFILE"),
        (errno.EPERM, "2", "0", "CAP_PERFMON"),
        (errno.ENOSYS, "", "0", "--blcperf-backend=timer"),
        (errno.EMFILE, "-1", "0", "--blcperf-backend=timer"),
    ],
)
def test_a_refusal_says_what_mends_it(number, paranoid, seccomp, hint):
    error = explain(number, "text", paranoid, seccomp)
    assert error.exit_code is ExitCode.NOT_PERMITTED
    assert errno.errorcode[number] in error.message
    assert (paranoid or "unreadable") in error.message
    assert hint in error.hint


def test_a_seccomp_filter_is_named():
    assert "seccomp" in explain(errno.EPERM, "text", "2", "2").message
    assert "seccomp" not in explain(errno.EPERM, "text", "2", "0").message


def test_the_timer_can_be_asked_for():
    assert probe.choose("timer", 1000) == ("timer", "asked for")
    assert probe.open_sampler("timer", 1000).name == "timer"


def test_unknown_backends_are_usage_errors():
    with pytest.raises(UsageError, match="'austin'"):
        probe.choose("austin", 1000)
    with pytest.raises(UsageError, match="'auto'"):
        probe.open_sampler("auto", 1000)


def test_auto_always_finds_something_and_says_why():
    name, reason = probe.choose("auto", 1000)
    assert name == ("timer" if probe.perf_refusal(1000) else "perf-signal")
    assert "perf_event_open" in reason
