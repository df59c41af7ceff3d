"""Runs and captures as plain lines for a terminal or a log: the summary first, then where the time goes.

No cursor control. Names give way to the width, numbers never; without Unicode every character is ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from pytest_blcperf.model.capture import Capture, profile_of
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.recording import MODE_GUEST_KERNEL, MODE_HYPERVISOR, MODE_KERNEL
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report import call_paths, measured
from pytest_blcperf.report.environment_text import machine
from pytest_blcperf.report.function_rows import FunctionRow, rows_of_benchmarks, rows_of_capture
from pytest_blcperf.report.measured import instructions_per_iteration, time_per_iteration
from pytest_blcperf.report.text import aligned, cells, clean, cut_middle, instructions, quantity, time_ns, to_ascii

_NARROWEST = 70
_BAR = 10
_THREADS = 8
_KERNEL_MODES = (MODE_KERNEL, MODE_HYPERVISOR, MODE_GUEST_KERNEL)


@dataclass(frozen=True)
class Screen:
    """Where the lines go: columns, and whether there are characters beyond ASCII."""

    width: int = 100
    unicode: bool = True

    def lines(self, text: Iterable[str]) -> list[str]:
        """The lines in characters the screen has."""
        return [line if self.unicode else to_ascii(line) for line in text]

    def wrapped(self, lines: Iterable[str]) -> list[str]:
        """Sentences broken between words where they are wider than the screen."""
        width = max(self.width, _NARROWEST)
        return [part for line in lines for part in wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)]

    def bar(self, part: float, width: int = _BAR) -> str:
        """A share as a bar of at most `width` characters."""
        return ("█" if self.unicode else "#") * round(max(0.0, min(part, 1.0)) * width)

    def room(self, taken: int) -> int:
        """Columns left for a name."""
        return max(max(self.width, _NARROWEST) - taken, 16)


def of_run(run: Run, screen: Screen, top: int, details: bool = True) -> list[str]:
    """What was measured, a line a benchmark, and with `details` the `top` functions of each."""
    lines = [*screen.wrapped(_run_head(run)), ""] if details else []
    if not run.benchmarks:
        return screen.lines([*lines, "no benchmark was measured"])
    lines += measured.table(run, screen.width)
    for benchmark in run.benchmarks if details else ():
        lines += _benchmark(benchmark, screen, top)
    return screen.lines(lines)


def of_captures(captures: Sequence[Capture], screen: Screen, top: int, details: bool = True) -> list[str]:
    """What was captured and how well, the threads, and with `details` the `top` functions."""
    lines: list[str] = []
    for capture in captures:
        lines += [""] if lines else []
        lines += screen.wrapped(_capture_head(capture))
        if len(capture):
            lines += ["", *_threads(capture, screen)]
        if details and len(capture):
            lines += ["", *_functions(rows_of_capture(capture, top), screen, capture.backend)]
    return screen.lines(lines)


def flat(rows: Sequence[FunctionRow], screen: Screen, top: int) -> list[str]:
    """Functions of all subjects in one table, those with most time first."""
    ordered = sorted(rows, key=lambda row: -_main_share(row))[:top]
    several = len({row.subject for row in rows}) > 1
    texts = [["self", "total", "function", "where", *(["benchmark"] if several else [])]]
    named = _named(ordered, screen.room(18 + (32 if several else 0)))
    for row, names in zip(ordered, named, strict=True):
        subject = [cut_middle(clean(row.subject, 500), 30)] if several else []
        texts.append([_share(row.own_share), _share(row.total_share), *names, *subject])
    return screen.lines(aligned(texts, right=frozenset({0, 1})))


def callers(profiles: Sequence[tuple[str, Profile]], name: str, screen: Screen) -> list[str]:
    """Who calls the functions of that name, and whom they call, in each profile; [] where there is none such."""
    lines: list[str] = []
    for subject, profile in profiles:
        for found in call_paths.matching(profile, name):
            function = profile.functions[found]
            paths = call_paths.around(profile, found)
            head = f"{clean(function.name, 300)}  {clean(function.location, 300)}"
            lines += ["", head] if lines else [head]
            lines.append(f"  {_share(paths.share)} of {clean(subject, 200)}, itself {_share(paths.own)}")
            for title, nodes in (("called by", paths.callers), ("calls", paths.callees)):
                lines += [f"  {title}"] if nodes else []
                lines += [_path(profile, node, screen) for node in nodes]
    return screen.lines(lines)


def _path(profile: Profile, node: call_paths.Node, screen: Screen) -> str:
    function = profile.functions[node.function]
    start = f"  {_share(node.share):>8}  {'  ' * node.depth}"
    room = max(screen.width, _NARROWEST) - len(start) - 2
    place = min(24, room // 3)
    name = cut_middle(clean(function.name, 500), room - place)
    return f"{start}{name}  {cut_middle(clean(function.location, 500), place)}"


# ---- parts


def _run_head(run: Run) -> list[str]:
    environment = run.environment
    build = f" ({clean(environment.python_build)})" if environment.python_build else ""
    return [
        f"{clean(run.label)}, measured {clean(run.created)}",
        f"{machine(environment)}{build}, {len(environment.packages)} packages",
        *_warnings(run.warnings),
    ]


def _capture_head(capture: Capture) -> list[str]:
    seconds = capture.duration_ns / 1e9
    what = f"{clean(capture.target, 200) or 'capture'}: {len(capture):,} samples of {clean(capture.event, 40)}"
    if capture.duration_ns:
        what += f" in {seconds:.3g} s"
        if capture.unit == "ns":
            what += f", {float(capture.weight.sum()) / capture.duration_ns:.2f} CPUs busy"
    lines = [what, f"{clean(capture.started, 40) or 'time unknown'}, {machine(capture.environment)}"]
    return [*lines, f"health: {health(capture)}", *_warnings(capture.warnings)]


def health(capture: Capture) -> str:
    """How much of a capture is missing, in words; `nothing missing` where nothing is."""
    one, recording = capture.health, capture.health.recording
    found = [
        (recording.lost, f"samples lost: {recording.lost:,}"),
        (recording.throttled, f"pauses by the kernel: {recording.throttled:,}"),
        (recording.broken, f"records unreadable: {recording.broken:,}"),
        (one.truncated, f"stacks cut off: {one.truncated / max(len(capture), 1) * 100:.2g} %"),
        (one.unknown_frames, f"frames without a name: {one.unknown_frames / max(one.frames, 1) * 100:.2g} %"),
    ]
    return ", ".join(text for count, text in found if count) or "nothing missing"


def _threads(capture: Capture, screen: Screen) -> list[str]:
    """The busiest threads: their part of the samples' weight, and how much of that was in the kernel."""
    count = len(capture.threads)
    weight = np.bincount(capture.thread, weights=capture.weight, minlength=count)
    kernel = np.isin(capture.mode, _KERNEL_MODES)
    inside = np.bincount(capture.thread[kernel], weights=capture.weight[kernel], minlength=count)
    whole = float(weight.sum()) or 1.0
    busiest = np.argsort(-weight, kind="stable")[:_THREADS].tolist()
    rows = [["time", "", "kernel", "thread", "process"]]
    for number in busiest:
        thread, part = capture.threads[number], float(weight[number])
        name = cut_middle(clean(thread.name, 200) or str(thread.thread), screen.room(60))
        process = cut_middle(f"{thread.process} {clean(thread.process_name, 100)}".strip(), 24)
        bar = screen.bar(part / (float(weight.max()) or 1.0))
        rows.append([_share(part / whole), bar, _share(inside[number] / (part or 1.0)), name, process])
    lines = aligned(rows, right=frozenset({0, 2}))
    more = count - len(busiest)
    return [*lines, f"and {more:,} more threads"] if more > 0 else lines


def _benchmark(benchmark: Benchmark, screen: Screen, top: int) -> list[str]:
    rows = rows_of_benchmarks([benchmark], top)
    if not rows and not benchmark.warnings:
        return []
    times = time_per_iteration(benchmark)
    after = f"  {time_ns(times[0])} of CPU time per iteration" if times else ""
    counted = instructions_per_iteration(benchmark)
    if counted is not None:
        after += f"{',' if times else ' '} {instructions(counted)} instructions"
    lines = ["", f"{clean(benchmark.id, 500)}{after}", *screen.wrapped(_warnings(benchmark.warnings))]
    vary = benchmark.counts is not None and not benchmark.counts.deterministic
    profile = benchmark.profile or (benchmark.instructions and benchmark.instructions.profile)
    return lines + (_functions(rows, screen, profile.backend, vary) if profile and rows else [])


def _functions(rows: Sequence[FunctionRow], screen: Screen, backend: str, vary: bool = False) -> list[str]:
    calls = any(row.calls is not None for row in rows)
    head = ["  self", "", "total", *(["calls (vary)" if vary else "calls"] if calls else [])]
    texts = [[*head, f"function ({clean(backend, 40)})", "where"]]
    named = _named(rows, screen.room(24 + _BAR + (14 if calls else 0)))
    most = max((_main_share(row) for row in rows), default=0.0) or 1.0
    for row, names in zip(rows, named, strict=True):
        called = ["" if row.calls is None else quantity(row.calls)] if calls else []
        bar = screen.bar(_main_share(row) / most)
        texts.append([f"  {_share(row.own_share)}", bar, _share(row.total_share), *called, *names])
    return aligned(texts, right=frozenset({0, 2, 3} if calls else {0, 2}))


def _main_share(row: FunctionRow) -> float:
    """Self time, or total where self time is unknown."""
    return row.total_share if row.own_share is None else row.own_share


def _named(rows: Sequence[FunctionRow], room: int) -> list[list[str]]:
    """Names and places in so many columns together: names have three fifths, more where the places are short."""
    names = [clean(row.function.name, 500) for row in rows]
    places = [clean(row.function.location, 500) for row in rows]
    widest = max(map(cells, names), default=0)
    own = min(widest, max(room * 3 // 5, room - max(map(cells, places), default=0) - 2))
    rest = max(room - own - 2, 12)
    return [[cut_middle(name, own), cut_middle(place, rest)] for name, place in zip(names, places, strict=True)]


def _share(part: float | None) -> str:
    """One digit always, so that columns align."""
    return "n/a" if part is None else f"{part * 100:.1f} %"


def _warnings(warnings: Iterable[Warning]) -> list[str]:
    return [f"warning: {clean(one.text, 500)} [{clean(one.code, 60)}]" for one in warnings]


def profiles_of(measured_: Run | Sequence[Capture]) -> list[tuple[str, Profile]]:
    """The profiles of a run's benchmarks or of captures, with what they are of."""
    if isinstance(measured_, Run):
        return [(one.id, one.profile) for one in measured_.benchmarks if one.profile is not None]
    return [(one.target or "the capture", profile_of(one)) for one in measured_]
