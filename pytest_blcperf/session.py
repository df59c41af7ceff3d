"""The pipelines: collected benchmarks in; runs and verdicts out. Owns the clock and the clean-up."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest_blcperf
from pytest_blcperf import gate, sequential
from pytest_blcperf.base import Choice
from pytest_blcperf.bench.base_side import base_tree, check_leaks
from pytest_blcperf.bench.choose_backend import BackendChoice, Interpreter, choose_backend
from pytest_blcperf.bench.discover import SideFindings, discover
from pytest_blcperf.bench.interpreter import facts_of
from pytest_blcperf.bench.launch import Failure
from pytest_blcperf.bench.measure import Measurement
from pytest_blcperf.bench.repository import Repository
from pytest_blcperf.bench.scratch import scratch_folder
from pytest_blcperf.bench.source_roots import source_roots
from pytest_blcperf.bench.suite import Item, Suite
from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.changes import with_changed_lines
from pytest_blcperf.compare.accept import accept
from pytest_blcperf.compare.align import match_benchmarks
from pytest_blcperf.compare.calibrate import noise_of, pooled
from pytest_blcperf.compare.chosen_metric import gated_by_metric
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.compare.packages import name_packages
from pytest_blcperf.compare.screening import without_times
from pytest_blcperf.model.calibration import CalibrationRecord
from pytest_blcperf.model.run import LOOK, Benchmark, Run, test_id
from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.screening import changed_since, screen_runs
from pytest_blcperf.settings import Settings, as_data
from pytest_blcperf.store import environment


@dataclass
class Outcome:
    """What a session gave. `verdict` is None when there was no baseline to compare with."""

    reports: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Benchmark id → the head's serialised test reports."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Benchmark id → why it gave nothing on the head."""
    run: Run | None = None
    base_run: Run | None = None
    screened_run: Run | None = None
    """The head alone, where it was screened by a stored run before."""
    verdict: GateVerdict | None = None
    calibration: CalibrationRecord | None = None
    """What `calibrate` found."""

    def benchmark(self, identifier: str) -> Benchmark | None:
        """What was measured of the head's benchmark of that id."""
        found = (run.benchmark(identifier) for run in (self.run, self.screened_run) if run is not None)
        return next((one for one in found if one is not None), None)


@dataclass(frozen=True)
class Session:
    """One pytest session's benchmarks and what to do with them. `tell` takes one line of progress."""

    suite: Suite
    settings: Settings
    repository: Repository | None
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    began: float = field(default_factory=time.monotonic)
    """By `clock`."""

    def measure(self, choice: Choice | None) -> Outcome:
        """Measure the head and, with a base, compare and judge. Leaves no process and no checkout behind."""
        with scratch_folder() as scratch:
            if choice is not None and choice.screens:
                outcome = self._screen(choice, scratch)
            elif choice is not None and choice.commit is not None:
                outcome = self._gate_in_lockstep(choice, scratch)
            else:
                outcome = self._measure_head(choice, scratch)
        if outcome.verdict is not None:
            outcome.verdict = replace(outcome.verdict, seconds=self.clock() - self.began)
            base_run = outcome.base_run or (choice.run if choice is not None else None)
            if base_run is not None and outcome.run is not None:
                outcome.verdict = with_changed_lines(outcome.verdict, base_run, outcome.run, self.repository)
        return outcome

    def calibrate(self, launches: int) -> Outcome:
        """Measure what is on disk against itself: whatever differs between the sides is noise."""
        with scratch_folder() as scratch:
            head = self._head(scratch)
            self.tell(f"checking {_count(len(self.suite.items), 'benchmark')} with one call each")
            (found,) = self._discover([head], self.suite.items, scratch)
            items = [item for item in self.suite.items if item.id not in found.failures and not item.service]
            measurement = self._measurement([replace(head, name="base"), head], items, found, scratch)
            measurement.measure([item.id for item in items], launches, LOOK)
            outcome = self._outcome(found, measurement)
            old, new = measurement.benchmarks(0), measurement.benchmarks(1)
            noises = [
                noise_of(old[item.id], new[item.id], measurement.seconds_a_launch(item.id))
                for item in items
                if item.id in old and item.id in new
            ]
            kept = tuple(one for one in noises if one is not None)
            outcome.calibration = CalibrationRecord(
                created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                environment=environment.from_facts(facts_of(head.python)),
                backend=measurement.backend,
                rate=self.settings.rate,
                profile_window=self.settings.profile_window,
                rounds=self.settings.rounds,
                pooled=pooled(kept),
                benchmarks=kept,
            )
        return outcome

    def _measure_head(self, choice: Choice | None, scratch: Path) -> Outcome:
        """The head alone: to save it, or to compare it with a stored run."""
        head = self._head(scratch)
        self.tell(f"checking {_count(len(self.suite.items), 'benchmark')} with one call each")
        (found,) = self._discover([head], self.suite.items, scratch)
        windows = _windows_only(self.suite.items, found)
        items = [item for item in self.suite.items if item.id not in found.failures]
        measurement = self._measurement([head], items, found, scratch)
        measurement.measure([item.id for item in items], self.settings.launches, LOOK)
        measurement.complete()
        outcome = self._outcome(found, measurement)
        outcome.run = self._run("head", head, measurement, 0)
        if choice is not None and choice.run is not None:
            judged = compare_runs(choice.run, outcome.run, self.settings, self._settings_by_id())
            failed = [
                gate.not_compared(id_, why(failure, "head"))
                for id_, failure in outcome.failures.items()
                if id_ not in windows
            ]
            outcome.verdict = self._verdict(
                choice, [*judged.benchmarks, *failed], [*choice.warnings, *judged.warnings], choice.label
            )
        return outcome

    def _screen(self, choice: Choice, scratch: Path) -> Outcome:
        """The head alone against the stored run; then, in lockstep with the base, what that does not clear."""
        assert choice.run is not None
        # Two at least: a count of calls is exact when another launch gives the same.
        fewer = replace(self.settings, launches=max(2, (self.settings.launches + 1) // 2))
        outcome = replace(self, settings=fewer)._measure_head(None, scratch)
        assert outcome.run is not None
        found = screen_runs(
            choice.run, outcome.run, self.settings, self._settings_by_id(), changed_since(self.repository, choice.run)
        )
        left = [item for item in self.suite.items if not found.clears(item.id) and item.id not in outcome.failures]
        for line in found.told([item.id for item in left], choice.run.label):
            self.tell(line)
        outcome.screened_run = outcome.run
        warnings = [*choice.warnings, *environment.drift(choice.run.environment, outcome.run.environment)]
        services = {item.id for item in self.suite.items if item.service}
        failed = [
            gate.not_compared(id_, why(failure, "head"))
            for id_, failure in outcome.failures.items()
            if failure.kind != "unused" or id_ not in services
        ]
        if left:
            inner = scratch / "lockstep"
            inner.mkdir()
            session = replace(self, suite=replace(self.suite, items=tuple(left)))
            confirmed = session._gate_in_lockstep(choice, inner)
            assert confirmed.verdict is not None
            outcome.run, outcome.base_run = confirmed.run, confirmed.base_run
            outcome.reports.update(confirmed.reports)
            outcome.failures.update(confirmed.failures)
            failed += found.explained(confirmed.verdict.benchmarks)
            warnings += confirmed.verdict.warnings
        outcome.verdict = self._verdict(choice, [*found.cleared, *failed], warnings, choice.label)
        return outcome

    def _gate_in_lockstep(self, choice: Choice, scratch: Path) -> Outcome:
        """Base and head alive at once, their rounds alternated."""
        assert choice.commit is not None and self.repository is not None
        with base_tree(
            self.suite, self.repository, choice.commit.commit, self.settings, _package_link(scratch)
        ) as tree:
            head = self._head(scratch)
            self.tell(f"checking {_count(len(self.suite.items), 'benchmark')} with one call on each side")
            base_found, head_found = self._discover([tree.side, head], self.suite.items, scratch)
            warnings = tree.use_own_files(base_found, lambda side, items: self._discover([side], items, scratch)[0])
            check_leaks(base_found)
            windows = _windows_only(self.suite.items, head_found)
            judged_items = [item for item in self.suite.items if item.id not in windows]
            verdicts = _one_sided(judged_items, base_found, head_found)
            verdicts.update({id_: gate.not_compared(id_, "only on the base: removed") for id_ in tree.removed})
            both = [item for item in judged_items if item.id not in verdicts]
            # What a service loads is not seen from here, so nothing is proven of it.
            seen = [item for item in both if not item.service]
            if self.settings.base_python is None:
                proofs = tree.proofs(seen, base_found, head_found)
                verdicts.update({id_: gate.identical(id_, p.reason) for id_, p in proofs.items() if p.identical})
            nothing = tree.importing_nothing(seen, base_found, head_found)
            verdicts.update({id_: gate.not_compared(id_, why_not) for id_, why_not in nothing.items()})
            items = [item for item in both if item.id not in verdicts]
            measurement = self._measurement([tree.side, head], items, head_found, scratch)
            for judged in gate.judge(self._trials(measurement), self.settings.alpha):
                verdicts[judged.id] = judged
            judged_ids = {test_id(id_, self._settings_by_id()) for id_ in verdicts}
            for item in items:
                sides = measurement.failures.get(item.id, {})
                if sides or item.id not in judged_ids:
                    late = measurement.why_short(item.id)
                    verdicts[item.id] = gate.not_compared(item.id, late or _why_one_sided(sides))
            outcome = self._outcome(head_found, measurement)
            pair = uuid.uuid4().hex
            base_run = self._run("base", tree.side, measurement, 0, pair)
            outcome.run = self._run("head", head, measurement, 1, pair)
        outcome.base_run = replace(base_run, commit=choice.commit.commit, dirty=False)
        warnings += [*choice.warnings, *_different_tests(items, base_found, head_found)]
        warnings += environment.drift(base_run.environment, outcome.run.environment)
        named = name_packages(verdicts.values(), base_run.environment, outcome.run.environment)
        outcome.verdict = self._verdict(choice, named, warnings, choice.label)
        return outcome

    def _trials(self, measurement: Measurement) -> list[gate.Trial]:
        settings = {item.id: item.settings for item in measurement.items}
        return sequential.trials(measurement, settings, self.settings.launches, self.settings.alpha, self.tell)

    def _discover(self, sides: Sequence[Side], items: Sequence[Item], scratch: Path) -> list[SideFindings]:
        return discover(sides, items, scratch, self.settings.timeout, self.clock)

    def _measurement(
        self, sides: Sequence[Side], items: Sequence[Item], found: SideFindings, scratch: Path
    ) -> Measurement:
        choice, tools = BackendChoice("", ""), {}
        if items:
            interpreters = {side.python: Interpreter((side.python,), side.path) for side in sides}
            choice = choose_backend(self.settings.backend, self.settings.rate, list(interpreters.values()))
            tools = {python: choice.tools[one] for python, one in interpreters.items() if one in choice.tools}
            self.tell(f"profiling backend {choice.backend} ({choice.reason})")
        return Measurement(
            sides,
            items,
            self.settings,
            choice.backend,
            scratch,
            self.clock,
            self.tell,
            found.codes,
            tools,
            started=self.began,
        )

    def _head(self, scratch: Path) -> Side:
        roots = source_roots(self.suite.root, self.settings.source_roots)
        return self.suite.side("head", self.suite.root, roots, _package_link(scratch))

    def _outcome(self, found: SideFindings, measurement: Measurement) -> Outcome:
        failed = {id_: sides["head"] for id_, sides in measurement.failures.items() if "head" in sides}
        return Outcome(found.reports | measurement.reports, found.failures | failed)

    def _run(self, name: str, side: Side, measurement: Measurement, number: int, pair: str = "") -> Run:
        benchmarks = tuple(measurement.benchmarks(number).values())
        return make_run(
            name,
            benchmarks,
            self.repository,
            self.settings,
            backend=measurement.backend,
            python=side.python,
            pair=pair,
        )

    def _verdict(
        self, choice: Choice, verdicts: Iterable[BenchmarkVerdict], warnings: Iterable[Warning], base: str
    ) -> GateVerdict:
        verdicts, missing = gated_by_metric(verdicts, self.settings, self._settings_by_id())
        position = {item.id: number for number, item in enumerate(self.suite.items)}
        ordered = sorted(verdicts, key=lambda verdict: position.get(test_id(verdict.id, position), len(position)))
        return GateVerdict(
            base=base,
            head=head_label(self.repository),
            mode=choice.mode,
            benchmarks=_accepted(ordered, self.settings),
            alpha=self.settings.alpha,
            warnings=tuple(dict.fromkeys((*warnings, *missing))),
            calibration=self.settings.calibration.label,
        )

    def _settings_by_id(self) -> dict[str, Settings]:
        return {item.id: item.settings for item in self.suite.items}


def make_run(
    name: str,
    benchmarks: tuple[Benchmark, ...],
    repository: Repository | None,
    settings: Settings,
    *,
    backend: str,
    python: str,
    pair: str = "",
) -> Run:
    """A run of what is on disk now, measured by this release."""
    return Run(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=repository.head_commit() if repository else "",
        dirty=repository.dirty() if repository else False,
        environment=replace(environment.from_facts(facts_of(python)), backend=backend),
        benchmarks=benchmarks,
        settings={**as_data(settings), "backend": backend, "version": pytest_blcperf.__version__},
        pair=pair,
    )


def compare_runs(
    base: Run, head: Run, settings: Settings, settings_by_id: Mapping[str, Settings] | None = None
) -> GateVerdict:
    """Judge two runs that were measured before; paired when they come from one lockstep measurement."""
    matched = match_benchmarks(_timed(base), _timed(head))
    paired = bool(base.pair) and base.pair == head.pair
    trials = []
    for old, new in matched.pairs:
        by_id = settings_by_id or {}
        chosen = by_id.get(test_id(new.id, by_id), settings)
        if paired:
            trials.append(_trial_again(old, new, chosen))
        else:
            trials.append(gate.stored_trial(old, new, chosen, base.environment, head.environment))
    found = zip(trials, gate.judge(trials, settings.alpha), strict=True)
    told = (without_times(trial, one) if trial.incomparable else one for trial, one in found)
    named = name_packages(told, base.environment, head.environment)
    verdicts, missing = gated_by_metric(named, settings, settings_by_id or {})
    judged = _accepted(verdicts, settings)
    return GateVerdict(
        base=base.label,
        head=head.label,
        mode="lockstep" if paired else "stored",
        benchmarks=(
            *judged,
            *(gate.not_compared(one.id, "new: the base does not have it") for one in matched.only_head),
            *(gate.not_compared(one.id, "only in the base") for one in matched.only_base),
        ),
        alpha=settings.alpha,
        calibration=settings.calibration.label,
        warnings=(*base.warnings, *head.warnings, *missing, *environment.drift(base.environment, head.environment)),
    )


def _accepted(verdicts: Iterable[BenchmarkVerdict], settings: Settings) -> tuple[BenchmarkVerdict, ...]:
    return accept(verdicts, settings.accept, settings.accept_all, datetime.now(timezone.utc).date())


def _timed(run: Run) -> Run:
    """Without profiled windows of services, which have no launches and are not judged."""
    return replace(run, benchmarks=tuple(benchmark for benchmark in run.benchmarks if benchmark.launches))


def head_label(repository: Repository | None) -> str:
    """How messages call what is on disk."""
    if repository is None:
        return "files on disk"
    commit = repository.head_commit()[:9] or "no commit"
    return f"working tree ({commit}{'+changes' if repository.dirty() else ''})"


def why(failure: Failure, side: str) -> str:
    """One line: what happened to a benchmark on that side."""
    words = {"missing": f"not collected on the {side}", "unused": f"not measured on the {side}"}
    first = failure.text.splitlines()[0] if failure.text else "no message"
    return f"{words.get(failure.kind, f'{failure.kind} on the {side}')}: {first}"


def _trial_again(base: Benchmark, head: Benchmark, settings: Settings) -> gate.Trial:
    """The trial of a saved lockstep measurement: the candidates follow from the screening launches as they did then."""
    comparison = compare_benchmark(base, head, settings, phase=LOOK, paired=True)
    return gate.lockstep_trial(base, head, settings, gate.screen(comparison, settings, last=True).candidates)


def _windows_only(items: Sequence[Item], head: SideFindings) -> set[str]:
    """Tests of services that report no metric: there is nothing to judge, and the controller runs them itself."""
    return {
        item.id
        for item in items
        if item.service and item.id in head.failures and head.failures[item.id].kind == "unused"
    }


def _one_sided(items: Sequence[Item], base: SideFindings, head: SideFindings) -> dict[str, BenchmarkVerdict]:
    verdicts = {}
    for item in items:
        sides = {name: found.failures.get(item.id) for name, found in (("base", base), ("head", head))}
        failed = {name: failure for name, failure in sides.items() if failure is not None}
        if failed:
            verdicts[item.id] = gate.not_compared(item.id, _why_one_sided(failed))
    return verdicts


def _why_one_sided(failures: Mapping[str, Failure]) -> str:
    if not failures:
        return "not measured: every attempt at a launch was lost"
    side = "head" if "head" in failures else "base"
    return why(failures[side], side)


def _different_tests(items: Sequence[Item], base: SideFindings, head: SideFindings) -> list[Warning]:
    return [
        Warning("benchmark-differs", f"{item.id}: the test function itself differs between the sides")
        for item in items
        if base.codes.get(item.id) != head.codes.get(item.id)
    ]


def _package_link(scratch: Path) -> Path:
    """A folder that holds this package alone, so that any interpreter with pytest can be a worker."""
    folder = scratch / "package"
    folder.mkdir(exist_ok=True)
    link = folder / "pytest_blcperf"
    if not link.exists():
        link.symlink_to(Path(__file__).resolve().parent, target_is_directory=True)
    return folder


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
