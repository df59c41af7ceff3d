"""Which sampling backend the interpreters of all sides can be profiled with: the best one that works, by trying it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_blcperf.bench.calibration import calibrate, try_out
from pytest_blcperf.bench.instructions import valgrind_version
from pytest_blcperf.bench.outside import OutsideTools
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.backends import ALL, BYTECODE, CALLGRIND, INSIDE, OUTSIDE, PY_SPY, SAMPLING, TRAMPOLINE
from pytest_blcperf.errors import BlcperfError, PermissionDenied, UsageError


@dataclass(frozen=True)
class Interpreter:
    """How a side's processes are started: the command of its Python, and their PYTHONPATH."""

    python: tuple[str, ...]
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendChoice:
    """The backend, why it and no better one, and what it needs to know of each interpreter."""

    backend: str
    reason: str
    tools: Mapping[Interpreter, OutsideTools] = field(default_factory=dict)


def choose_backend(
    requested: str, rate: int, interpreters: Sequence[Interpreter], skip: Sequence[str] = ()
) -> BackendChoice:
    """The backend that was asked for, or for `auto` the first of `backends.ALL` that works for every interpreter: two
    sides profiled in two ways cannot be compared. `auto` passes over those in `skip`.

    Raises the reason as PermissionDenied when the one that was asked for does not work, UsageError for other names.
    """
    if requested == CALLGRIND:
        return BackendChoice(CALLGRIND, valgrind_version())
    if requested != "auto" and requested not in ALL:
        raise UsageError(f"unknown backend {requested!r}", f"choose auto, {', '.join((*ALL, CALLGRIND))}")
    if requested in INSIDE:
        return BackendChoice(*probe.choose(requested, rate))
    if requested in OUTSIDE:
        return _tried(requested, rate, interpreters)
    refused: list[str] = []
    for backend in ALL:
        if backend in skip:
            continue
        if backend in INSIDE:
            inside, reason = probe.choose("auto", rate)
            if inside == backend:
                return BackendChoice(backend, "; ".join([reason, *dict.fromkeys(refused)]))
            continue
        try:
            return _tried(backend, rate, interpreters)
        except BlcperfError as error:
            refused.append(error.message)
    raise PermissionDenied("; ".join(refused), "profile on Linux")


def _tried(backend: str, rate: int, interpreters: Sequence[Interpreter]) -> BackendChoice:
    """Raises the reason when it does not work for one of them."""
    if backend in (BYTECODE, TRAMPOLINE):
        # A calibration is remembered, the kernel's permission is not: a container shares the one and lacks the other.
        refusal = probe.perf_refusal(rate)
        if refusal is not None:
            raise refusal
    tools = {}
    reasons: dict[str, None] = {}
    for interpreter in interpreters:
        tools[interpreter], reason = _TRIALS[backend](interpreter, rate)
        reasons[reason] = None
    return BackendChoice(backend, ", ".join(reasons), tools)


def _try_bytecode(interpreter: Interpreter, _rate: int) -> tuple[OutsideTools, str]:
    place = calibrate(interpreter.python, interpreter.path)
    tools = OutsideTools(interpreter.python, place)
    return tools, f"the bytecode pointer is in {place}, right in {place.hits:.0%} of the calibration's samples"


def _try_others(backend: str) -> Callable[[Interpreter, int], tuple[OutsideTools, str]]:
    def trial(interpreter: Interpreter, rate: int) -> tuple[OutsideTools, str]:
        if backend in (PY_SPY, SAMPLING) and len(os.sched_getaffinity(0)) < 2:
            raise PermissionDenied(f"{backend} needs a CPU of its own, and there is one only", "allow it another CPU")
        hits = try_out(backend, rate, interpreter.python, interpreter.path)
        return OutsideTools(interpreter.python), f"right in {hits:.0%} of the samples of a trial"

    return trial


_TRIALS = {BYTECODE: _try_bytecode, **{name: _try_others(name) for name in (TRAMPOLINE, SAMPLING, PY_SPY)}}
