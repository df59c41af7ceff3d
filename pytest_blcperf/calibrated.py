"""This machine's noise: the gate's question for what `blcperf calibrate` measured, and that command's request."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_blcperf.bench.interpreter import facts_of
from pytest_blcperf.model.calibration import BUILT_IN, Calibration, CalibrationRecord
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings


@dataclass
class Request:
    """A pytest plugin that makes a session with `--blcperf` measure its benchmarks against themselves."""

    launches: int
    found: CalibrationRecord | None = None
    settings: Settings | None = None
    root: Path | None = None
    interrupted: bool = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note Ctrl-C; pytest ends itself in the same way when a file cannot be collected."""
        self.interrupted = not isinstance(excinfo.value, pytest.Session.Interrupted)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Leave the request where the controller looks for it."""
        config.stash[REQUEST] = self


REQUEST = pytest.StashKey[Request]()


def fitting(
    root: Path, settings: Settings, where: Environment | None = None
) -> tuple[Calibration, tuple[Warning, ...]]:
    """The repository's calibration where it was measured on such a machine as `where` (default: here), else the
    built-in one and, if there is one of another machine, a warning. Raises BaselineError for a damaged file.
    """
    from pytest_blcperf.compare.calibrate import calibration
    from pytest_blcperf.store import calibration_file, environment

    record = calibration_file.read(root)
    if record is None:
        return BUILT_IN, ()
    here = where or environment.from_facts(facts_of(sys.executable))
    if not record.environment.comparable_times(here):
        differs = "; ".join(
            one.text for one in environment.drift(record.environment, here) if "packages" not in one.code
        )
        text = f"the calibration of {record.created[:10]} is another environment's and was not used: {differs}"
        return BUILT_IN, (Warning("calibration-elsewhere", f"{text}; measure it here with `blcperf calibrate`"),)
    if not record.benchmarks:
        return BUILT_IN, ()
    same_profiles = settings.backend in ("auto", record.backend) and settings.rate == record.rate
    return calibration(record, dispersion=same_profiles), ()
