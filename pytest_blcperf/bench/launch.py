"""One launch: a fresh worker a side, alive at once, taken through the same benchmarks in the same order."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pytest_blcperf.bench.guard import Guard
from pytest_blcperf.bench.lockstep import Plan, Requester, SideData, drive
from pytest_blcperf.bench.worker_process import Side, TargetRaised, WorkerLost, WorkerProcess

Conduct = Callable[[Sequence[Requester], Plan, int, Callable[[], float]], tuple[list[SideData], int]]
"""Takes the sides through one benchmark, as `lockstep.drive` does."""


@dataclass(frozen=True)
class Failure:
    """Why a benchmark gave nothing on one side: failed, skipped, unused, missing, crashed, hung."""

    kind: str
    text: str


@dataclass
class SideLaunch:
    """What one worker said besides figures."""

    codes: dict[str, str] = field(default_factory=dict)
    """Node id → fingerprint of the test function, of everything it collected."""
    collect_errors: list[Mapping[str, str]] = field(default_factory=list)
    reports: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    extra: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    loaded: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Node id → what had been loaded when it was done, when that was recorded."""
    failures: dict[str, Failure] = field(default_factory=dict)
    metrics: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Node id → what its test reported: name → unit, better, value."""


@dataclass
class LaunchData:
    """One launch's harvest: per benchmark the sides' data in the order of the sides, and what each worker said."""

    sides: list[SideLaunch]
    measured: dict[str, list[SideData]] = field(default_factory=dict)
    iterations: dict[str, int] = field(default_factory=dict)
    declared: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Node id → the calls its test declares (`benchmark.pedantic`): warm-up rounds, rounds, iterations."""
    seconds: dict[str, float] = field(default_factory=dict)


def run_launch(
    sides: Sequence[Side],
    plans: Mapping[str, Plan | None],
    *,
    seed: int,
    scratch: Path,
    timeout: float,
    clock: Callable[[], float],
    record_files: bool = False,
    conduct: Conduct = drive,
    timeouts: Mapping[str, float] | None = None,
) -> LaunchData:
    """Take one worker a side through the benchmarks of `plans`, in its order.

    `conduct` makes the requests, those of a measurement unless told otherwise. `timeouts` are those of single
    benchmarks, `timeout` that of the rest.

    A plan of None means: run the test with a single call, measure nothing (that is how benchmarks are discovered).
    Whatever a worker does, this comes back: a worker that is lost ends its launch, and the failure stands at the
    benchmark it was at; benchmarks after it are in neither `measured` nor `failures`.
    """
    launch = LaunchData([SideLaunch() for _ in sides])
    with ExitStack() as stack:
        guard = stack.enter_context(Guard())
        conversations = [_Conversation(list(plans), said) for said in launch.sides]
        # Who comes first gets other memory, and its folder another place on the disk: that must not be the base always.
        for number in random.Random(seed).sample(range(len(sides)), len(sides)):
            side, conversation = sides[number], conversations[number]
            open_worker = partial(WorkerProcess, side, scratch, seed, timeout, guard)
            conversation.start(open_worker, stack, record_files)
        for conversation in conversations:
            conversation.begin()
        for nodeid, plan in plans.items():
            start = clock()
            for conversation in conversations:
                conversation.allow((timeouts or {}).get(nodeid, timeout))
            try:
                _one_benchmark(conversations, nodeid, plan, seed=seed, clock=clock, launch=launch, conduct=conduct)
            finally:
                launch.seconds[nodeid] = clock() - start
            if any(conversation.lost for conversation in conversations):
                break
        else:
            for conversation in conversations:
                conversation.end()
    return launch


def _one_benchmark(
    conversations: Sequence[_Conversation],
    nodeid: str,
    plan: Plan | None,
    *,
    seed: int,
    clock: Callable[[], float],
    launch: LaunchData,
    conduct: Conduct,
) -> None:
    ready = [conversation.until_ready(nodeid) for conversation in conversations]
    for answer in ready:
        if answer is not None and answer.get("schedule"):
            launch.declared[nodeid] = tuple(answer["schedule"])
    if plan is not None and all(answer is not None for answer in ready):
        if plan.keep_schedule:
            plan = replace(plan, schedule=launch.declared.get(nodeid))
        try:
            launch.measured[nodeid], launch.iterations[nodeid] = conduct(conversations, plan, seed, clock)
        except (TargetRaised, WorkerLost):
            launch.measured.pop(nodeid, None)
    for conversation in conversations:
        conversation.finish(nodeid)
    _take_metrics(launch, nodeid)


def _take_metrics(launch: LaunchData, nodeid: str) -> None:
    """Beside the rounds of a benchmark, or alone where the test measured nothing else."""
    if any(nodeid in said.failures for said in launch.sides) or not any(
        nodeid in said.metrics for said in launch.sides
    ):
        return
    data = launch.measured.setdefault(nodeid, [SideData() for _ in launch.sides])
    for one, said in zip(data, launch.sides, strict=True):
        one.metrics = said.metrics.get(nodeid, {})


class _Conversation:
    """The controller's half of the protocol with one worker: where it is, and what it has said."""

    _worker: WorkerProcess
    """Set by `start`; a conversation without one is lost from the beginning, and speaks to it no more."""

    def __init__(self, nodeids: Sequence[str], said: SideLaunch) -> None:
        self._nodeids = nodeids
        self._said = said
        self._at: str | None = None
        self._serving = False
        self.lost = False

    def start(self, open_worker: Callable[[], WorkerProcess], stack: ExitStack, record_files: bool) -> None:
        """Start the worker, which leaves with `stack`, and tell it what to collect."""
        try:
            self._worker = stack.enter_context(open_worker())
            self._worker.start(record_files)
        except WorkerLost as lost:
            self._lose_all(lost)

    def begin(self) -> None:
        """Take in what was collected and hand out the work."""
        if self.lost:
            return
        try:
            message = self._worker.receive()
            if message["op"] == "collected":
                self._said.codes = message["codes"]
                self._said.collect_errors = message["errors"]
                self._worker.tell("run", ids=list(self._nodeids))
                return
            lost = WorkerLost("crashed", "could not start: " + last_line(str(message.get("text", message["op"]))))
        except WorkerLost as error:
            lost = error
        self._lose_all(lost)

    def allow(self, seconds: float) -> None:
        """How long the worker may be silent."""
        if not self.lost:
            self._worker.allow(seconds)

    def until_ready(self, nodeid: str) -> Mapping[str, Any] | None:
        """Wait until the benchmark waits for requests; None when it is over before that (failed, skipped, missing)."""
        self._at = nodeid
        if self.lost:
            return None
        if nodeid not in self._said.codes:
            self._said.failures[nodeid] = Failure("missing", self._why_missing(nodeid))
            self._at = None
            return None
        message = self._next()
        if message is not None and message["op"] == "ready":
            self._serving = True
            self._worker.watch_output()
            return message
        return None

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """One request to the benchmark that is ready; failures are noted before they are raised."""
        try:
            return self._worker.request(op, **arguments)
        except TargetRaised as raised:
            self._serving = False
            assert self._at is not None
            self._said.failures[self._at] = Failure("failed", str(raised))
            raise
        except WorkerLost as lost:
            self._lose(self._at or "", lost)
            raise

    def finish(self, nodeid: str) -> None:
        """Let the test run to its end."""
        if self.lost or self._at != nodeid:
            return
        if self._serving:
            self._serving = False
            try:
                self._worker.tell("stop")
            except WorkerLost as lost:
                self._lose(nodeid, lost)
                return
        self._next()

    def end(self) -> None:
        """Wait for the worker's goodbye: session fixtures are torn down before it."""
        if self.lost:
            return
        try:
            while self._worker.receive()["op"] not in ("finished", "failed"):
                pass
        except WorkerLost:
            self.lost = True

    def _next(self) -> Mapping[str, Any] | None:
        """The next `ready` or `item-done`; reports before it are kept. None when the worker is lost or already done."""
        nodeid = self._at
        while nodeid is not None:
            try:
                message = self._worker.receive()
            except WorkerLost as lost:
                self._lose(nodeid, lost)
                return None
            op = message["op"]
            if op == "report":
                self._said.reports.setdefault(message["id"], []).append(message["report"])
            elif op == "ready":
                return message
            elif op == "item-done":
                self._done(message)
                return message
            else:
                self._lose(nodeid, WorkerLost("crashed", str(message.get("text", f"ended early ({op})"))))
                return None
        return None

    def _done(self, message: Mapping[str, Any]) -> None:
        nodeid = message["id"]
        self._at = None
        self._said.extra[nodeid] = message["extra"]
        if "loaded" in message:
            self._said.loaded[nodeid] = message["loaded"]
        if message.get("metrics"):
            self._said.metrics[nodeid] = message["metrics"]
        outcomes = {report["outcome"] for report in self._said.reports.get(nodeid, ())}
        if "failed" in outcomes:
            self._said.failures.setdefault(nodeid, Failure("failed", self._report_text(nodeid, "failed")))
        elif "skipped" in outcomes:
            self._said.failures.setdefault(nodeid, Failure("skipped", self._report_text(nodeid, "skipped")))
        elif not message["used"]:
            self._said.failures.setdefault(nodeid, Failure("unused", "the test did not use its benchmark fixture"))

    def _report_text(self, nodeid: str, outcome: str) -> str:
        for report in self._said.reports[nodeid]:
            if report["outcome"] == outcome:
                return summary_of(report)
        return ""

    def _why_missing(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        for error in self._said.collect_errors:
            if error["file"] == file or error["file"].endswith("/" + file) or not error["file"]:
                return f"{file} cannot be imported: {last_line(error['text'])}"
        return "not collected"

    def _lose_all(self, lost: WorkerLost) -> None:
        self.lost = True
        for nodeid in self._nodeids:
            self._lose(nodeid, lost)

    def _lose(self, nodeid: str, lost: WorkerLost) -> None:
        self.lost = True
        self._serving = False
        if nodeid:
            self._said.failures[nodeid] = Failure(lost.kind, str(lost))


def summary_of(report: Mapping[str, Any]) -> str:
    """One line that says why a serialised report failed or was skipped."""
    longrepr = report.get("longrepr")
    if isinstance(longrepr, (list, tuple)) and len(longrepr) == 3:
        return str(longrepr[2])
    if isinstance(longrepr, dict):
        crash = longrepr.get("reprcrash") or {}
        return last_line(str(crash.get("message", ""))) if crash else "failed"
    return last_line(str(longrepr or ""))


def last_line(text: str) -> str:
    """The last line that says something, of a traceback or message."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip()[:500] if lines else ""
