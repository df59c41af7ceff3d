"""Captures for the tests of run pages and exports: a web service in Python, its libraries and the kernel, made by rule.

Twelve seconds of four workers and a housekeeper: steady traffic, a burst of writing (4.0 to 5.2 s) in which the kernel
works, and a lock that everybody waits for (8.0 to 8.8 s). The same seed gives the same capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from report_pages import MACHINE, many_stacks

from pytest_blcperf.model.capture import Capture, CaptureHealth, ObjectFile, Thread
from pytest_blcperf.model.finding import Certainty, Evidence, Finding
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER, RecordingHealth
from pytest_blcperf.model.stack_tree import flattened
from pytest_blcperf.model.warning import Warning

SECOND = 1_000_000_000
SECONDS = 12
PERIOD = 1_000_000

PYTHON, LIBC, KERNEL, SQLITE = "python3.12", "libc.so.6", "[kernel]", "libsqlite3.so.0"
_NATIVE = {
    "_PyEval_EvalFrameDefault": PYTHON, "_PyObject_Call": PYTHON, "_PyUnicode_JoinArray": PYTHON,
    "PyThread_acquire_lock_timed": PYTHON, "gc_collect_main": PYTHON, "deduce_unreachable": PYTHON,
    "dict_resize": PYTHON, "__memmove_avx_unaligned_erms": LIBC, "malloc": LIBC, "_int_malloc": LIBC,
    "__futex_abstimed_wait_common": LIBC, "pwrite64": LIBC, "fdatasync": LIBC, "__read": LIBC,
    "sqlite3_step": SQLITE, "sqlite3VdbeExec": SQLITE, "sqlite3BtreeMovetoUnpacked": SQLITE,
    "sqlite3PagerCommitPhaseOne": SQLITE, "pagerStress": SQLITE,
}  # fmt: skip
_IN_KERNEL = (
    *("entry_SYSCALL_64", "do_syscall_64", "ksys_read", "vfs_read", "tcp_recvmsg", "ksys_pwrite64", "vfs_write"),
    *(
        "ext4_buffered_write_iter",
        "copy_user_enhanced_fast_string",
        "do_fsync",
        "ext4_sync_file",
        "jbd2_log_wait_commit",
    ),
    *(
        "do_futex",
        "futex_wait",
        "schedule",
        "__schedule",
        "asm_exc_page_fault",
        "do_user_addr_fault",
        "clear_page_erms",
    ),
)
_PYTHON = {
    "main": "src/shop/__main__.py", "Worker.run": "src/shop/worker.py", "handle": "src/shop/app.py",
    "route": "src/shop/app.py", "list_orders": "src/shop/views/orders.py", "show_cart": "src/shop/views/cart.py",
    "search": "src/shop/views/search.py", "render_page": "src/shop/render.py", "escape": "src/shop/render.py",
    "dumps": "<stdlib>/json/__init__.py", "JSONEncoder.iterencode": "<stdlib>/json/encoder.py",
    "Cache.get": "src/shop/cache.py", "Cache.lock": "src/shop/cache.py", "Orders.query": "src/shop/models/orders.py",
    "tokenize": "src/shop/views/search.py", "score": "src/shop/views/search.py", "Store.flush": "src/shop/store.py",
    "Housekeeper.run": "src/shop/housekeeper.py", "collect": "src/shop/housekeeper.py",
}  # fmt: skip

_E = "_PyEval_EvalFrameDefault"
_ROOT = f"main;Worker.run;handle;{_E};route;{_E}"
_SYSCALL = "entry_SYSCALL_64;do_syscall_64"
_WAIT = f"PyThread_acquire_lock_timed;__futex_abstimed_wait_common;{_SYSCALL};do_futex;futex_wait;schedule;__schedule"
STEADY = {
    f"{_ROOT};search": 9.0,
    f"{_ROOT};search;tokenize;{_E}": 14.0,
    f"{_ROOT};search;score": 22.0,
    f"{_ROOT};search;score;{_E};dict_resize;malloc;_int_malloc": 5.0,
    f"{_ROOT};search;score;{_E};dict_resize;asm_exc_page_fault;do_user_addr_fault;clear_page_erms": 3.0,
    f"{_ROOT};list_orders;Orders.query;sqlite3_step;sqlite3VdbeExec": 13.0,
    f"{_ROOT};list_orders;Orders.query;sqlite3_step;sqlite3VdbeExec;sqlite3BtreeMovetoUnpacked": 11.0,
    f"{_ROOT};list_orders;dumps;JSONEncoder.iterencode;{_E};_PyUnicode_JoinArray;__memmove_avx_unaligned_erms": 8.0,
    f"{_ROOT};list_orders;dumps;JSONEncoder.iterencode": 7.0,
    f"{_ROOT};show_cart;render_page": 9.0,
    f"{_ROOT};show_cart;render_page;escape;{_E};_PyUnicode_JoinArray": 10.0,
    f"{_ROOT};show_cart;Cache.get;Cache.lock;{_WAIT}": 0.6,
    f"main;Worker.run;__read;{_SYSCALL};ksys_read;vfs_read;tcp_recvmsg;copy_user_enhanced_fast_string": 4.0,
    f"{_ROOT};search;_PyObject_Call;gc_collect_main;deduce_unreachable": 2.0,
}
"""Stacks, root first, and how often each is seen."""
_FLUSH = f"main;Housekeeper.run;Store.flush;{_E};sqlite3PagerCommitPhaseOne"
HOUSEKEEPER = {
    "main;Housekeeper.run;collect": 3.0,
    "main;Housekeeper.run;collect;gc_collect_main;deduce_unreachable": 1.0,
}
FLUSHING = {
    f"{_FLUSH};pagerStress;pwrite64;{_SYSCALL};ksys_pwrite64;vfs_write;ext4_buffered_write_iter;copy_user_enhanced_fast_string": 8.0,
    f"{_FLUSH};pwrite64;{_SYSCALL};ksys_pwrite64;vfs_write;ext4_buffered_write_iter": 5.0,
    f"{_FLUSH};fdatasync;{_SYSCALL};do_fsync;ext4_sync_file;jbd2_log_wait_commit;schedule;__schedule": 6.0,
    f"{_FLUSH}": 2.0,
}
WAITING = {stack: (weight * 120 if "Cache.lock" in stack else weight * 0.4) for stack, weight in STEADY.items()}


def function(name: str) -> Function:
    """The function a frame of the tables above stands for."""
    if name in _PYTHON:
        return Function(_PYTHON[name], name, 10 + 7 * sorted(_PYTHON).index(name))
    if name in _NATIVE:
        return Function(_NATIVE[name], name, kind="native")
    assert name in _IN_KERNEL, name
    return Function(KERNEL, name, kind="kernel")


@cache
def service(seed: int = 1) -> Capture:
    """The capture described above: about 40,000 samples at 1 kHz a thread."""
    random = np.random.default_rng(seed)
    names = [*_PYTHON, *_NATIVE, *_IN_KERNEL]
    place = {name: index for index, name in enumerate(names)}
    texts = list(dict.fromkeys([*STEADY, *HOUSEKEEPER, *FLUSHING, *WAITING]))
    stacks = [tuple(place[part] for part in reversed(text.split(";"))) for text in texts]
    index = {text: number for number, text in enumerate(texts)}
    rows: list[tuple[int, int, int, int]] = []
    for thread in range(5):
        busy = 0.93 - 0.06 * thread if thread < 4 else 0.12
        for tick in range(SECONDS * SECOND // PERIOD):
            moment = tick * PERIOD + int(random.integers(0, PERIOD // 4))
            mix = _mix(thread, moment)
            if random.random() < (0.97 if mix in (FLUSHING, WAITING) else busy):
                rows.append((moment, thread, index[_choose(mix, random)], thread % 4))
    rows.sort()
    time, thread_column, stack, cpu = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    offsets, frames = flattened(stacks)
    leaf_kernel = np.array([names[one[0]] in _IN_KERNEL for one in stacks])
    return Capture(
        functions=tuple(function(name) for name in names),
        objects=(ObjectFile("/usr/bin/python3.12", "aa11"), ObjectFile("/usr/lib/libc.so.6", "bb22"), ObjectFile(KERNEL)),
        threads=(*(Thread(4711, 4712 + n, f"worker-{n}", "shop") for n in range(4)), Thread(4711, 4720, "housekeeper", "shop")),
        stack_offsets=offsets,
        stack_functions=frames,
        time=time,
        thread=thread_column,
        cpu=cpu,
        mode=np.where(leaf_kernel[stack], MODE_KERNEL, MODE_USER).astype(np.int64),
        stack=stack,
        weight=np.full(len(time), PERIOD, np.int64),
        place=stack % 3,
        place_object=np.array([0, 1, 2], np.int64),
        place_address=np.array([0x1F40, 0x2A80, -0x7FFF_FFFF], np.int64),
        event="task-clock",
        unit="ns",
        backend="perf-ring",
        started="2026-03-04T05:06:07+00:00",
        duration_ns=SECONDS * SECOND,
        target="process 4711 (shop)",
        environment=MACHINE,
        settings={"rate": 1000, "trigger": "--delay 2s"},
        counters={"context-switches": 5210.0, "page-faults": 1834.0},
        health=CaptureHealth(RecordingHealth(len(time), lost=12, throttled=1), truncated=31, unknown_frames=220, frames=400_000),
        warnings=(Warning("clock-only", "there is no hardware PMU here: time is sampled by a clock, not by cycles"),),
    )  # fmt: skip


def _mix(thread: int, moment: int) -> Mapping[str, float]:
    if thread == 4:
        return FLUSHING if 4 * SECOND <= moment < 5.2 * SECOND else HOUSEKEEPER
    return WAITING if 8 * SECOND <= moment < 8.8 * SECOND else STEADY


def _choose(mix: Mapping[str, float], random: np.random.Generator) -> str:
    key = id(mix)
    if key not in _TABLES:
        weights = np.array(list(mix.values()))
        _TABLES[key] = (list(mix), np.cumsum(weights) / weights.sum())
    texts, steps = _TABLES[key]
    return texts[int(np.searchsorted(steps, random.random(), side="right"))]


_TABLES: dict[int, tuple[list[str], np.ndarray]] = {}  # type: ignore[type-arg]


def large(stacks: int, samples: int, seconds: int = 60, threads: int = 24) -> Capture:
    """A capture of so many different stacks and samples, stacks as often as a power law has it, in phases."""
    random = np.random.default_rng(7)
    profile = many_stacks(stacks, random)
    offsets, frames = flattened(profile.stacks)
    popularity = 1 / np.arange(1, stacks + 1) ** 0.9
    order = random.permutation(stacks)
    time = np.sort(random.integers(0, seconds * SECOND, samples))
    thread = np.minimum(random.geometric(0.12, samples) - 1, threads - 1)
    chosen = np.searchsorted(np.cumsum(popularity) / popularity.sum(), random.random(samples), side="right")
    # Another part of the program is hot in every fifth of the time.
    stack = order[(chosen + (time // (seconds * SECOND // 5)) * 37) % stacks]
    stack[:stacks] = np.arange(stacks) if samples >= stacks else stack[:stacks]
    kinds = ("python", "python", "native", "native", "kernel")
    functions = tuple(replace(one, kind=kinds[number % 5]) for number, one in enumerate(profile.functions))
    base = service_header()
    return replace(
        base,
        functions=functions,
        threads=tuple(Thread(100 + n // 8, 1000 + n, f"thread-{n}", "service") for n in range(threads)),
        stack_offsets=offsets,
        stack_functions=frames,
        time=time,
        thread=thread.astype(np.int64),
        cpu=random.integers(0, 8, samples),
        mode=np.where(random.random(samples) < 0.2, MODE_KERNEL, MODE_USER).astype(np.int64),
        stack=stack.astype(np.int64),
        weight=(PERIOD + random.integers(-20_000, 20_000, samples)).astype(np.int64),
        place=(stack % 3_000).astype(np.int64),
        place_object=np.zeros(3_000, np.int64),
        place_address=random.integers(0, 1 << 24, 3_000),
        duration_ns=seconds * SECOND,
    )


def service_header() -> Capture:
    """A capture without samples, for others to build on."""
    nothing = np.zeros(0, np.int64)
    return Capture(
        (), (ObjectFile("/srv/service", "cc33"),), (), np.zeros(1, np.int64), nothing,
        time=nothing, thread=nothing, cpu=nothing, mode=nothing, stack=nothing, weight=nothing, place=nothing,
        place_object=nothing, place_address=nothing, event="task-clock", unit="ns", backend="perf-ring",
        started="2026-03-04T05:06:07+00:00", duration_ns=0, target="service", environment=MACHINE,
    )  # fmt: skip


def findings() -> tuple[Finding, ...]:
    """One finding of each certainty, as a pattern would give them for `service`."""
    return (
        Finding(
            "lock-contention",
            "Lock contention",
            Certainty.FOUND,
            "12 % of the samples wait for a lock, most of them between 8.0 and 8.8 s",
            value=0.12,
            threshold=0.05,
            unit="share of the CPU time",
            confidence=0.99,
            evidence=(
                Evidence(function("PyThread_acquire_lock_timed"), 0.12, "worker-0 to worker-3"),
                Evidence(function("Cache.lock"), 0.12),
            ),
            next_step="blcperf report service.blcperf --callers Cache.lock",
        ),
        Finding("gc", "Garbage collection", Certainty.NOT_FOUND, "1.9 % of the samples collect garbage", 0.019, 0.1),
        Finding(
            "cache-misses", "Cache misses", Certainty.UNJUDGED, "", reason="no cache-miss event: there is no PMU here"
        ),
    )
