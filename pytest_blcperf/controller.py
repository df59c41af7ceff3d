"""pytest hooks with `--blcperf`: ordinary tests run here, benchmarks in workers, whose reports become its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from pytest_blcperf import base, calibrated, pyproject
from pytest_blcperf.bench.asv import AsvFolder
from pytest_blcperf.bench.compat_benchmark import peer_session, publish
from pytest_blcperf.bench.compat_codspeed import benchmark_marker, is_benchmark, is_service
from pytest_blcperf.bench.interpreter import facts_of
from pytest_blcperf.bench.local import LocalBenchmarks
from pytest_blcperf.bench.process_state import stop_timer
from pytest_blcperf.bench.repository import Repository, find
from pytest_blcperf.bench.service_fixture import ProfilingServiceFixture
from pytest_blcperf.bench.suite import Item, Suite, worker_options
from pytest_blcperf.calibrated import REQUEST
from pytest_blcperf.capture import probe
from pytest_blcperf.compare.chosen_metric import MISSING
from pytest_blcperf.errors import BlcperfError, UsageError
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import LOOK, Benchmark, Launch, metric_id, test_id
from pytest_blcperf.model.verdict import Outcome as VerdictOutcome
from pytest_blcperf.options import OPTIONS
from pytest_blcperf.plugin import PassiveBenchmark, foreign_window, peer_is_loaded
from pytest_blcperf.report import measured, terminal, text, write
from pytest_blcperf.settings import Settings, resolve
from pytest_blcperf.store import baselines

if TYPE_CHECKING:
    from pytest_blcperf.model.warning import Warning
    from pytest_blcperf.report.comparison_page import ComparisonPage
    from pytest_blcperf.session import Outcome


class Controller:
    """The user's own pytest process. It never runs a benchmark itself, unless it is told to use no workers."""

    def __init__(self, config: pytest.Config, settings: Settings, root: Path, repository: Repository | None) -> None:
        self._config = config
        self._settings = settings
        self._root = root
        self._repository = repository
        self._choice: base.Choice | None = None
        self._items: dict[str, Item] = {}
        self._outcome: Outcome | None = None
        self._local: LocalBenchmarks | None = None
        self._windows: list[Benchmark] = []
        self._lines: list[str] = []
        self._asv_folder: Path | None = None
        self._distributed = _is_distributed(config)
        self._rootdir_inside = config.rootpath.is_relative_to(root)

    @classmethod
    def from_config(cls, config: pytest.Config) -> Controller:
        """Resolve settings and the base now: a wrong one must stop the session before any test runs."""
        settings = resolve(
            {option.name: getattr(config.option, option.dest) for option in OPTIONS},
            {option.name: str(config.getini(option.dest)) for option in OPTIONS},
            pyproject.table(config.rootpath),
        )
        repository = _repository(config.invocation_params.dir)
        root = repository.root if repository is not None else config.rootpath
        if config.stash.get(REQUEST, None) is not None:
            settings = replace(settings, baseline=None, save=None)
        controller = cls(config, settings, root, repository)
        controller._choose_base()
        controller._collect_asv()
        if settings.launches == 0 or config.option.usepdb:
            backend, _ = probe.choose(settings.backend, settings.rate)
            controller._local = LocalBenchmarks(controller._items, str(root), backend)
            config.pluginmanager.register(controller._local, "blcperf-local")
        elif not peer_is_loaded(config) and not config.pluginmanager.has_plugin("codspeed"):
            # For tests that ask for the fixture while they run: those are not known as benchmarks and run once.
            config.pluginmanager.register(PassiveBenchmark(), "blcperf-once")
        return controller

    def _collect_asv(self) -> None:
        """Have an asv suite's folder collected, with everything else or where it is asked for. Raises UsageError."""
        if self._settings.asv_dir is None:
            return
        folder = (self._root / self._settings.asv_dir).resolve()
        if not folder.is_dir():
            raise UsageError(f"--blcperf-asv-dir: {folder} is no folder", "name it relative to the repository")
        self._asv_folder = folder
        config = self._config
        config.pluginmanager.register(AsvFolder(folder), "blcperf-asv")
        if config.args_source is not pytest.Config.ArgsSource.ARGS and not any(
            folder.is_relative_to(Path(config.invocation_params.dir, arg.split("::")[0])) for arg in config.args
        ):
            config.args.append(str(folder))

    def _choose_base(self) -> None:
        if self._settings.save is not None:
            baselines.check_name(self._settings.save)
        if self._settings.base_python is not None:
            facts_of(self._settings.base_python)
        try:
            self._choice = base.choose(self._settings, self._root, self._repository)
            if self._choice is not None:
                self._calibrate(self._choice)
        except BlcperfError as error:
            if self._settings.on_missing != "warn":
                raise
            self._lines.append(f"blcperf: {error.message}; {error.hint}")

    def _calibrate(self, choice: base.Choice) -> None:
        """Take this machine's noise from `blcperf calibrate`, or say why not. Raises BaselineError."""
        known, warnings = calibrated.fitting(self._root, self._settings)
        self._settings = replace(self._settings, calibration=known)
        self._choice = replace(choice, warnings=(*choice.warnings, *warnings))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Find the benchmarks; with --blcperf-only, deselect everything else."""
        try:
            for item in items:
                # Whether a service's test reports metrics shows when it runs; in this process nothing is gated.
                if is_benchmark(item) or (is_service(item) and self._local is None):
                    self._items[item.nodeid] = self._item(item)
        except BlcperfError as error:
            raise pytest.UsageError(str(error)) from None
        if self._settings.only:
            others = [item for item in items if item.nodeid not in self._items]
            if others:
                config.hook.pytest_deselected(items=others)
                items[:] = [item for item in items if item.nodeid in self._items]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, None]:
        """Under pytest-xdist this process collects nothing: do that, and measure, when its workers are done.

        Benchmarks next to other tests would disturb each other, so its workers leave them out.
        """
        outcome = yield
        if self._distributed and not session.config.option.collectonly and outcome.excinfo is None:
            self._tell("pytest-xdist's workers are done; the benchmarks are measured here, one after the other")
            session.perform_collect()
            items = [item for item in session.items if item.nodeid in self._items]
            for item, following in zip_longest(items, items[1:]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldstop:
                    break

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Replace a benchmark's run by its reports from the workers; the first one starts the measurement of all."""
        if item.nodeid not in self._items or self._local is not None:
            return None
        if self._outcome is None:
            stop_timer(item)
            self._measure(item.session)
        assert self._outcome is not None
        if self._runs_here(self._items[item.nodeid], self._outcome):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, self._outcome):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # This item set nothing up here, but fixtures of the tests before it may end with it.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _runs_here(self, item: Item, outcome: Outcome) -> bool:
        """A service's test that reports no metric: it is run once, for the profile of its window."""
        failure = outcome.failures.get(item.id)
        return item.service and failure is not None and failure.kind == "unused"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The verdict's table; its last line says what was compared with what."""
        if not self._lines:
            return
        terminalreporter.section("blcperf")
        for line in self._lines:
            terminalreporter.write_line(line)

    @pytest.fixture(name="blcperf")
    def blcperf(self, request: pytest.FixtureRequest) -> Iterator[ProfilingServiceFixture]:
        """Start a service and profile a window of it: blcperf.start(...), blcperf.window(...)."""
        node = request.node

        name = node.nodeid.partition("::")[2]
        file = node.path.relative_to(self._root).as_posix() if node.path.is_relative_to(self._root) else str(node.path)

        def keep(profile: Profile, seconds: float) -> None:
            number = sum(window.name.partition("#")[0] == name for window in self._windows)
            label = f"{name}#{number + 1}" if number else name
            self._windows.append(Benchmark(f"{file}::{label}", label, file, node.location[1] or 0, (), profile))
            hot = ", ".join(
                f"{one.name} {one.self_share or one.total_share:.0%}" for one in hottest(profile, 3, leaves_first=True)
            )
            self._lines.append(f"window of {seconds:.2f} s in {label}: {profile.total_samples} samples; {hot}")

        fixture = ProfilingServiceFixture(self._settings.backend, self._settings.rate, keep, foreign_window)
        yield fixture
        for metric, one in fixture.metrics.items():
            launch = Launch(0, LOOK, 0, None, (), median(one.values))
            described = Metric(metric, one.unit, one.better)
            identifier, label = metric_id(f"{file}::{name}", metric), metric_id(name, metric)
            self._windows.append(Benchmark(identifier, label, file, node.location[1] or 0, (launch,), metric=described))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Save and report what was measured; a gate that compared nothing does not look green where that matters."""
        if session.config.option.collectonly:
            return
        outcome = self._finished()
        self._show(outcome)
        try:
            self._keep(outcome)
        except BlcperfError as error:
            self._lines.append(f"blcperf: {error.message}; {error.hint}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if self._compared_nothing():
            self._say_that_nothing_was_compared(session)

    def _say_that_nothing_was_compared(self, session: pytest.Session) -> None:
        what = "COMPARED" if self._ungated() is None else "GATED"
        said = f"blcperf: NOTHING WAS {what} with {self._settings.baseline}"
        wanted = self._settings.on_missing
        green = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if green and (wanted == "fail" or (wanted == "auto" and (os.environ.get("CI") or self._distributed))):
            said += ", so this session fails (--blcperf-on-missing=warn lets it pass)"
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._lines.append(said)

    def _compared_nothing(self) -> bool:
        verdict = self._outcome.verdict if self._outcome is not None else None
        if self._settings.baseline is None:
            return False
        return verdict is None or not verdict.compared or self._ungated() is not None

    def _ungated(self) -> Warning | None:
        """The warning that a metric was asked for which no test reported."""
        verdict = self._outcome.verdict if self._outcome is not None else None
        found = verdict.warnings if verdict is not None and verdict.compared else ()
        return next((one for one in found if one.code == MISSING), None)

    def _finished(self) -> Outcome | None:
        """The outcome with the profiled windows of services; what was measured in this process has no other."""
        outcome = self._outcome
        here = (*(self._local.benchmarks if self._local is not None else ()), *self._windows)
        if not here:
            return outcome
        if outcome is not None and outcome.run is not None:
            return replace(outcome, run=replace(outcome.run, benchmarks=(*outcome.run.benchmarks, *here)))
        from pytest_blcperf.session import Outcome, make_run

        backend = next((one.profile.backend for one in here if one.profile is not None), "")
        return Outcome(
            run=make_run("head", here, self._repository, self._settings, backend=backend, python=sys.executable)
        )

    def _item(self, item: pytest.Item) -> Item:
        marker = item.get_closest_marker("blcperf")
        arguments = dict(marker.kwargs) if marker is not None else {}
        if marker is not None and marker.args:
            raise UsageError(f"@pytest.mark.blcperf of {item.nodeid}: takes keyword arguments only", "threshold='10%'")
        lockstep = bool(arguments.pop("lockstep", True))
        file = item.path.relative_to(self._root).as_posix() if item.path.is_relative_to(self._root) else str(item.path)
        inside = item.nodeid.partition("::")[2]
        line = (item.location[1] or 0) + 1
        settings = _peer_rounds(item, self._settings.for_benchmark(item.nodeid, arguments))
        # With a rootdir above the repository, pytest's ids would name the head's folder on the base too.
        nodeid = item.nodeid if self._rootdir_inside else f"{file}::{inside}"
        service = is_service(item)
        return Item(f"{file}::{inside}", nodeid, file, line, settings, lockstep and not service, service)

    def _measure(self, session: pytest.Session) -> None:
        from pytest_blcperf.interrupt import terminate_like_interrupt
        from pytest_blcperf.session import Session

        items = tuple(self._items[item.nodeid] for item in session.items if item.nodeid in self._items)
        try:
            with terminate_like_interrupt():
                measuring = Session(self._suite(items), self._settings, self._repository, self._tell)
                request = self._config.stash.get(REQUEST, None)
                if request is None:
                    self._outcome = measuring.measure(self._choice)
                else:
                    self._outcome = measuring.calibrate(request.launches)
                    request.found, request.settings, request.root = (
                        self._outcome.calibration,
                        self._settings,
                        self._root,
                    )
        except BlcperfError as error:
            raise pytest.UsageError(str(error)) from None
        if peer_session(self._config) is not None:
            self._publish(session.items)

    def _publish(self, items: Sequence[pytest.Item]) -> None:
        """What was measured in workers, to this process's pytest-benchmark: its tables and files show it."""
        outcome = self._outcome
        for item in items:
            benchmark = (
                outcome.benchmark(self._items[item.nodeid].id) if outcome and item.nodeid in self._items else None
            )
            if benchmark is not None:
                rounds = [
                    (one.iterations, one.cpu_ns, one.wall_ns) for launch in benchmark.launches for one in launch.rounds
                ]
                publish(item, rounds, benchmark.group, benchmark.extra_info)

    def _tell(self, line: str) -> None:
        """One line of progress; none with -q."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self._config.option.verbose >= 0:
            reporter.ensure_newline()
            reporter.write_line(f"blcperf: {text.clean(line)}")

    def _suite(self, items: tuple[Item, ...]) -> Suite:
        config = self._config
        folder = config.invocation_params.dir
        return Suite(
            root=self._root,
            rootdir=config.rootpath if self._rootdir_inside else self._root,
            folder=folder,
            config_file=config.inipath,
            items=items,
            options=worker_options(vars(config.option)),
            plugins=tuple(name for name in config.option.plugins if not name.startswith("terminal")),
            folder_on_path=_folder_on_path(folder),
            asv_folder=self._asv_folder,
        )

    def _show(self, outcome: Outcome | None) -> None:
        """The lines of the terminal summary."""
        if outcome is None:
            return
        writer = self._writer()
        width = writer.fullwidth if writer is not None else 100
        if outcome.verdict is not None:
            color = writer is not None and writer.hasmarkup
            unicode = writer is not None and _unicode(writer)
            self._lines += terminal.render(outcome.verdict, width=width, color=color, unicode=unicode)
        elif outcome.run is not None:
            self._lines += measured.table(outcome.run, width)
            if self._settings.baseline is None:
                count = len(outcome.run.benchmarks)
                self._lines.append(f"blcperf: {count} measured, nothing compared (no --blcperf-baseline)")

    def _keep(self, outcome: Outcome | None) -> None:
        """Save runs and write reports; a line for each goes above the table. Raises BlcperfError."""
        if outcome is None:
            return
        root, settings, kept = self._root, self._settings, []
        try:
            if outcome.base_run is not None and outcome.base_run.benchmarks:
                baselines.save_run(root, outcome.base_run, settings.keep)
            if outcome.screened_run is not None and outcome.screened_run is not outcome.run:
                baselines.save_run(root, outcome.screened_run, settings.keep)
            if outcome.run is not None and outcome.run.benchmarks:
                kept.append(f"run saved: {_shown(baselines.save_run(root, outcome.run, settings.keep))}")
            if settings.save is not None:
                kept.append(self._save_baseline(outcome, settings.save))
            if outcome.verdict is not None:
                page = self._page(outcome) if settings.html else None
                kept += write.write_reports(
                    outcome.verdict,
                    settings.json,
                    settings.junit,
                    settings.markdown,
                    html_path=settings.html,
                    page=page,
                    codequality_path=settings.codequality,
                    sarif_path=settings.sarif,
                )
        finally:
            self._lines[:0] = kept

    def _page(self, outcome: Outcome) -> ComparisonPage:
        from pytest_blcperf.pages import comparison_page

        assert outcome.verdict is not None
        base = outcome.base_run or (self._choice.run if self._choice is not None else None)
        return comparison_page(outcome.verdict, base, outcome.run, self._repository)

    def _save_baseline(self, outcome: Outcome, name: str) -> str:
        """Save what was measured. Benchmarks that were proven identical were not, and so are not in the file."""
        run = outcome.screened_run or outcome.run
        count = len(run.benchmarks) if run is not None else 0
        if run is None or not count:
            return (
                f"baseline {name} not saved: nothing was measured; to measure everything, leave --blcperf-baseline out"
            )
        path = baselines.save_baseline(self._root, run, name)
        left_out = len(self._items) - count
        note = (
            f", {left_out} of {len(self._items)} benchmarks are not in it: they were not measured"
            if left_out > 0
            else ""
        )
        return f"baseline saved: {_shown(path)}{note}"

    def _writer(self) -> Any:
        """The terminal writer of pytest; None with `-p no:terminal`."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        return None if reporter is None else self._config.get_terminal_writer()

    def _reports(self, item: pytest.Item, outcome: Outcome) -> Iterator[pytest.TestReport]:
        identifier = self._items[item.nodeid].id
        verdicts = outcome.verdict.benchmarks if outcome.verdict is not None else ()
        own = [one for one in verdicts if test_id(one.id, (identifier,)) == identifier]
        # Its time, or of its metrics the one that says most about it.
        verdict = next((one for one in own if one.fails), own[0] if own else None)
        raw = outcome.reports.get(identifier, [])
        failure = outcome.failures.get(identifier)
        if failure is not None and failure.kind in ("crashed", "hung", "missing"):
            what = "worker did not collect it" if failure.kind == "missing" else f"worker {failure.kind}"
            yield _made_report(item, "failed", f"the benchmark's {what}: {failure.text}")
            return
        for data in raw:
            report = _revived(self._config, item, data)
            if report.when == "call" and verdict is not None:
                assert outcome.verdict is not None
                report.user_properties.append(("blcperf", verdict.outcome.value))
                if verdict.fails and report.outcome == "passed":
                    report.outcome = "failed"
                    report.longrepr = terminal.failure_text(verdict, outcome.verdict.base, outcome.verdict.head)
                elif verdict.outcome is VerdictOutcome.REGRESSED and verdict.gate in ("warn", "accepted"):
                    report.sections.append(
                        ("blcperf", terminal.failure_text(verdict, outcome.verdict.base, outcome.verdict.head))
                    )
            yield report
        if not raw:
            yield _made_report(item, "failed", "no report came from the benchmark's worker")


def _is_distributed(config: pytest.Config) -> bool:
    """Whether pytest-xdist's workers run the tests."""
    return getattr(config.option, "dist", "no") != "no" and bool(getattr(config.option, "tx", None))


def _peer_rounds(item: pytest.Item, settings: Settings) -> Settings:
    """`min_rounds` of pytest-benchmark and `max_rounds` of pytest-codspeed, where --blcperf-rounds is not given."""
    if "rounds" in settings.given:
        return settings
    marker = benchmark_marker(item)
    least = marker.get("min_rounds", getattr(item.config.option, "benchmark_min_rounds", None))
    most = marker.get("max_rounds")
    rounds = max(settings.rounds, least) if isinstance(least, int) else settings.rounds
    return replace(settings, rounds=max(2, min(rounds, most)) if isinstance(most, int) else rounds)


def _revived(config: pytest.Config, item: pytest.Item, data: Mapping[str, Any]) -> pytest.TestReport:
    report = config.hook.pytest_report_from_serializable(config=config, data=dict(data))
    assert isinstance(report, pytest.TestReport)
    report.nodeid = item.nodeid
    report.location = item.location
    if isinstance(report.longrepr, list):
        path, line, reason = report.longrepr
        report.longrepr = (str(path), int(line), str(reason))
    report.user_properties = [(str(pair[0]), pair[1]) for pair in report.user_properties]
    report.sections = [(str(pair[0]), str(pair[1])) for pair in report.sections]
    return report


def _made_report(item: pytest.Item, outcome: Any, longrepr: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=longrepr,
        when="call",
    )


def _repository(folder: Path) -> Repository | None:
    try:
        return find(folder)
    except UsageError:
        return None


def _folder_on_path(folder: Path) -> bool:
    return any(entry in ("", str(folder)) for entry in sys.path)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _unicode(writer: Any) -> bool:
    return "utf" in (getattr(writer._file, "encoding", None) or "").lower()
