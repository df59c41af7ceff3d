"""A verdict as JUnit XML: one suite, one case a benchmark, in the subset of xunit2 that CI systems read.

Only a regression that fails the gate is a failure. A regression with gate=warn and an inconclusive benchmark pass with
their text in system-out; a benchmark that was not compared is skipped with its reason, so that it never looks tested.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree

from junit_xml import TestCase, TestSuite

from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.terminal import failure_text
from pytest_blcperf.report.text import clean

_TOTALS = ("tests", "failures", "errors", "time")


def render(verdict: GateVerdict) -> str:
    """The XML document with its declaration (UTF-8) and a final line end."""
    cases = [_case(one, verdict) for one in verdict.benchmarks]
    suite = TestSuite("blcperf", cases, properties=_properties(verdict)).build_xml_doc()
    # The library writes `disabled`, which the xunit2 schema does not have, and a time of 0: the time of a benchmark
    # says nothing here, that of the whole gate belongs to the suite.
    del suite.attrib["disabled"]
    suite.set("time", f"{verdict.seconds if 0 < verdict.seconds < math.inf else 0:.3f}")
    root = ElementTree.Element("testsuites", {name: suite.attrib[name] for name in _TOTALS})
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(verdict: BenchmarkVerdict, gate: GateVerdict) -> TestCase:
    classname, name = _names(verdict.id)
    case = TestCase(name, classname)
    if verdict.fails:
        case.add_failure_info(words.headline(verdict), failure_text(verdict, gate.base, gate.head), "regression")
    elif verdict.outcome is Outcome.NOT_COMPARED:
        case.add_skipped_info(clean(verdict.reason, 500) or "not compared: there was only one side")
    elif verdict.outcome is Outcome.REGRESSED:
        case.stdout = failure_text(verdict, gate.base, gate.head)
    else:
        first = f"{verdict.outcome.value}: {', '.join(words.measured(verdict))}"
        case.stdout = "\n".join([first, *words.remarks(verdict)])
    return case


def _properties(verdict: GateVerdict) -> dict[str, str]:
    """What was compared with what, for readers that have only this file; warnings numbered."""
    notes = {f"warning {number}": note.text for number, note in enumerate(words.notes(verdict), 1)}
    return {"summary": words.summary(verdict), "method": ", ".join(words.method(verdict)), **notes}


def _names(identifier: str) -> tuple[str, str]:
    """`tests/perf/test_t.py::TestX::test_y` → `tests.perf.test_t` and `TestX::test_y`; neither is ever empty."""
    file, _, rest = identifier.partition("::")
    if not rest:
        return "blcperf", clean(identifier, 400).strip() or "unnamed"
    module = file.removesuffix(".py").replace("/", ".").strip(". ")
    return clean(module, 300) or "blcperf", clean(rest, 400).strip() or "unnamed"
