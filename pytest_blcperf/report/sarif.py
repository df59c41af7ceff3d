"""A verdict as SARIF 2.1.0 (OASIS), for code scanning and editors. One rule, one result a place."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest_blcperf
from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report import places, words

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULE = "blcperf/regression"


def render(verdict: GateVerdict) -> str:
    """The JSON text, ASCII, with a final line end."""
    rule = {
        "id": RULE,
        "name": "PerformanceRegression",
        "shortDescription": {"text": "A hot function, or a benchmark, became dearer."},
        "help": {
            "text": "Compare the function with the base, or accept the cost with a reason: blcperf compare --help"
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["performance"]},
    }
    driver = {"name": "pytest-blcperf", "version": pytest_blcperf.__version__, "rules": [rule]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one) for one in places.remarks(verdict)],
        "properties": {"summary": words.summary(verdict)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(one: places.Remark) -> dict[str, Any]:
    artifact = {"uri": quote(one.file), "uriBaseId": "%SRCROOT%"}
    return {
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": "error" if one.fails else "warning",
        "message": {"text": f"{one.title}. {one.text}"},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": one.line}}}],
        "partialFingerprints": {"blcperf/v1": one.key},
    }
