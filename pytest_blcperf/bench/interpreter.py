"""Facts about another interpreter, asked of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_blcperf.bench import interpreter_facts
from pytest_blcperf.errors import UsageError

_PATIENCE = 60


def facts_of(python: str) -> dict[str, Any]:
    """What `interpreter_facts` gives in that interpreter. Raises UsageError when it cannot be run."""
    if python == sys.executable:
        return interpreter_facts.interpreter_facts()
    hint = "give the path of an interpreter that has pytest: --blcperf-base-python=.venv-base/bin/python"
    try:
        script = Path(interpreter_facts.__file__)
        done = subprocess.run([python, str(script)], capture_output=True, timeout=_PATIENCE, check=False)
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise UsageError(f"{python} failed: {last[0] if last else f'exit code {done.returncode}'}", hint)
        facts = json.loads(done.stdout)
        if not isinstance(facts, dict):
            raise ValueError("it printed no facts")
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise UsageError(f"{python} cannot be run as the base's interpreter: {error}", hint) from None
    return facts
