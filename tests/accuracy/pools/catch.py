"""A pytest plugin that, instead of measuring, writes down what a session would have measured (BLCPERF_CATCH)."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from pytest_blcperf import session


def _measure(self: session.Session, choice: Any) -> session.Outcome:
    Path(os.environ["BLCPERF_CATCH"]).write_bytes(pickle.dumps((self.suite, self.settings, self.repository, choice)))
    return session.Outcome()


session.Session.measure = _measure  # type: ignore[method-assign]
