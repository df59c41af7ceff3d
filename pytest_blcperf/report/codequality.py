"""A verdict as a GitLab Code Quality report: a JSON array of issues, shown in merge requests on every tier.

Format: GitLab's "Code Quality report format", a subset of Code Climate's.
"""

from __future__ import annotations

import json

from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report import places

CHECK = "blcperf-regression"


def render(verdict: GateVerdict) -> str:
    """The JSON text, ASCII, with a final line end; `[]` without a regression."""
    issues = [
        {
            "description": f"{one.title}. {one.text}",
            "check_name": CHECK,
            "fingerprint": one.key,
            "severity": "major" if one.fails else "minor",
            "location": {"path": one.file, "lines": {"begin": one.line}},
        }
        for one in places.remarks(verdict)
    ]
    return json.dumps(issues, indent=2) + "\n"
