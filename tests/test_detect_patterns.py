"""Every pattern on a capture that has it, and no other pattern on that capture."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture_samples import Sampled, capture_of

from pytest_blcperf.detect import rules
from pytest_blcperf.detect.run_patterns import PATTERNS, findings
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Certainty, Finding

WORK = Sampled("work;main", 600)

CAPTURES: dict[str, Capture] = {
    "nothing": capture_of(WORK),
    "lock-contention": capture_of(
        WORK, Sampled("[futex_wait];[__x64_sys_futex];[do_syscall_64];__lll_lock_wait@libc.so.6;push;main", 120)
    ),
    "spinlock": capture_of(WORK, Sampled("pthread_spin_lock@libc.so.6;push;main", 300)),
    "syscall-storm": capture_of(
        Sampled("work;main", 350),
        Sampled("[entry_SYSCALL_64];getppid@libc.so.6;main", 130),
        Sampled("[__x64_sys_getppid];[do_syscall_64];[entry_SYSCALL_64];getppid@libc.so.6;main", 120),
    ),
    "allocator-pressure": capture_of(WORK, Sampled("_int_malloc@libc.so.6;malloc@libc.so.6;build;main", 200)),
    "page-faults": capture_of(
        WORK, Sampled("[clear_page_erms];[handle_mm_fault];[exc_page_fault];[asm_exc_page_fault];touch;main", 120)
    ),
    "garbage-collection": capture_of(WORK, Sampled("visit_decref;subtract_refs;gc_collect_main;app.py:make;main", 150)),
    "json-or-regex": capture_of(WORK, Sampled("<stdlib>/json/decoder.py:raw_decode;app.py:load;main", 200)),
    "cpu-spike": capture_of(
        Sampled("idle;main", 400, end=8000), Sampled("rebuild;main", 600, start=5000, end=5600), seconds=8
    ),
    "hot-thread": capture_of(
        Sampled("work;main", 990, thread="leader"), Sampled("work;main", 60, thread="helper"), seconds=1
    ),
    "kernel-heavy": capture_of(
        Sampled("work;main", 200), Sampled("[copy_page_to_iter];[vfs_read];[ksys_read];read@libc.so.6;main", 500)
    ),
}


def found(capture: Capture, preset: str | None = None) -> dict[str, Finding]:
    return {one.name: one for one in findings(View(capture), rules.load(preset)) if one.certainty is Certainty.FOUND}


@pytest.mark.parametrize("name", CAPTURES)
def test_the_pattern_is_found_and_no_other(name: str) -> None:
    expected = {name} - {"nothing"}
    assert set(found(CAPTURES[name])) == expected


def test_there_is_a_capture_for_every_pattern() -> None:
    names = {find(View(CAPTURES["nothing"]), rules.load()).name for find in PATTERNS}
    assert names == set(CAPTURES) - {"nothing"}


def test_a_finding_has_its_evidence_and_a_next_step() -> None:
    finding = found(CAPTURES["lock-contention"])["lock-contention"]
    assert finding.value == pytest.approx(120 / 720)
    assert finding.confidence > 0.99
    assert [(one.function.name, one.context) for one in finding.evidence] == [("futex_wait", "called from push")]
    assert finding.evidence[0].share == pytest.approx(120 / 720)
    assert "--callers" in finding.next_step
    assert finding.summary.startswith("16.7% of the time is spent waiting for locks")


def test_context_switches_make_a_convoy_of_a_smaller_share() -> None:
    samples = WORK, Sampled("[futex_wake];pthread_mutex_unlock@libc.so.6;push;main", 40)
    assert not found(capture_of(*samples))
    assert set(found(capture_of(*samples, counters={"context-switches": 20_000.0}))) == {"lock-contention"}


def test_a_thread_alone_is_no_hot_thread_among_others() -> None:
    assert not found(capture_of(Sampled("work;main", 995)))


def test_what_cannot_be_judged_says_why() -> None:
    few = findings(View(capture_of(Sampled("work;main", 20))), rules.load())
    assert {one.certainty for one in few} == {Certainty.UNJUDGED}
    without_kernel = {one.name: one for one in findings(View(capture_of(WORK, kernel=False)), rules.load())}
    for name in ("syscall-storm", "page-faults", "kernel-heavy"):
        assert without_kernel[name].certainty is Certainty.UNJUDGED
        assert "kernel time" in without_kernel[name].reason
    assert without_kernel["lock-contention"].certainty is Certainty.NOT_FOUND


def test_an_empty_capture_is_no_error() -> None:
    assert {one.certainty for one in findings(View(capture_of()), rules.load())} == {Certainty.UNJUDGED}


def test_thresholds_and_sets_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[sets]\nlock-wait = ["my_latch_*"]\n[thresholds.lock-contention]\nshare = 0.05\n')
    capture = capture_of(WORK, Sampled("my_latch_wait;main", 50))
    assert not found(capture)
    assert set(found(capture, str(path))) == {"lock-contention"}
