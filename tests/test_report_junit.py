"""The JUnit report, read back by an XML parser."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_samples as samples
import xmlschema
from hypothesis import given
from junitparser import JUnitXml
from report_samples import HOSTILE, gate, is_clean, patient, renamed

from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict
from pytest_blcperf.report.junit import render


def parsed(verdict: GateVerdict) -> ElementTree.Element:
    return ElementTree.fromstring(render(verdict).encode("utf-8"))


def only_case(verdict: BenchmarkVerdict) -> ElementTree.Element:
    (case,) = parsed(gate(verdict)).iter("testcase")
    return case


def test_totals_agree_with_the_cases() -> None:
    root = parsed(samples.everything())
    (suite,) = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "blcperf",
        "8",
        "2",
        "1",
    )
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "2", "0")
    assert len(list(root.iter("failure"))) == 2
    assert len(list(root.iter("skipped"))) == 1


def test_a_regression_is_a_failure_with_its_text() -> None:
    case = only_case(samples.regressed())
    assert (case.get("classname"), case.get("name")) == (
        "tests.perf.test_markdown",
        "test_markdown_rendering[large document]",
    )
    (failure,) = case
    assert "got 20.1 % slower" in failure.get("message", "")
    assert failure.text is not None
    assert failure.text.startswith(failure.get("message", ""))
    assert "called 2.0× as often" in failure.text


@pytest.mark.parametrize(
    ("verdict", "tag", "text"),
    [
        (samples.tolerated(), "system-out", "does not fail the test: gate is warn"),
        (samples.inconclusive(), "system-out", "the launches scatter by 4.1 %"),
        (samples.unchanged(), "system-out", "unchanged: CPU time per iteration"),
        (samples.identical(), "system-out", "identical code"),
    ],
)
def test_what_does_not_fail_passes_with_its_text(verdict: BenchmarkVerdict, tag: str, text: str) -> None:
    (child,) = only_case(verdict)
    assert child.tag == tag
    assert text in (child.text or "")


def test_what_was_not_compared_is_skipped_with_its_reason() -> None:
    (skipped,) = only_case(samples.not_compared())
    assert skipped.tag == "skipped"
    assert skipped.get("message", "").startswith("it fails on the base")


def test_classes_stay_in_the_name() -> None:
    case = only_case(samples.inconclusive())
    assert (case.get("classname"), case.get("name")) == ("tests.perf.test_cache", "TestCache::test_reload[cold-redis]")


def test_the_suite_says_what_was_compared() -> None:
    summary = parsed(gate()).find("testsuite/properties/property[@name='summary']")
    assert summary is not None
    assert "NOTHING WAS COMPARED" in summary.get("value", "")


def test_only_what_the_xunit2_schema_knows() -> None:
    known = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname"},
        "properties": set(),
        "property": {"name", "value"},
        "testcase": {"name", "classname", "time"},
        "failure": {"message", "type"},
        "skipped": {"message", "type"},
        "system-out": set(),
    }
    for element in parsed(samples.everything()).iter():
        assert set(element.attrib) <= known[element.tag]


@patient
@given(HOSTILE)
def test_hostile_names_give_well_formed_xml(name: str) -> None:
    text = render(renamed(name))
    assert is_clean(text)
    root = ElementTree.fromstring(text.encode("utf-8"))
    for case in root.iter("testcase"):
        assert case.get("name", "").strip()
        assert case.get("classname", "").strip()
    assert len(list(root.iter("testcase"))) == 4
    assert len(list(root.iter("failure"))) == 1


@cache
def jenkins() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(Path(__file__).parent / "schemas" / "jenkins-junit-10.xsd"))


@pytest.mark.parametrize("verdict", [samples.everything(), gate(), gate(samples.not_compared())])
def test_jenkins_schema_accepts_it(verdict: GateVerdict) -> None:
    jenkins().validate(render(verdict))


@patient
@given(HOSTILE)
def test_jenkins_schema_accepts_hostile_names(name: str) -> None:
    jenkins().validate(render(renamed(name)))


def test_the_reader_of_github_reporters_counts_the_same() -> None:
    """EnricoMi/publish-unit-test-result-action reads with junitparser."""
    read = JUnitXml.fromstring(render(samples.everything()).encode())
    (suite,) = read
    counted = (suite.tests, suite.failures, suite.errors, suite.skipped)
    assert counted == (8, 2, 0, 1)
    results = [type(result).__name__ for case in suite for result in case.result]
    assert sorted(results) == ["Failure", "Failure", "Skipped"]
    read.update_statistics()
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == counted


def test_azure_and_gitlab_find_what_they_read() -> None:
    """The attributes that their documentation maps to a test result; neither shows a case without a name."""
    root = parsed(samples.everything())
    for case in root.iter("testcase"):
        assert case.get("name") and case.get("classname")
    assert all(failure.get("message") and failure.get("type") and failure.text for failure in root.iter("failure"))
    assert all(skipped.get("message") for skipped in root.iter("skipped"))
    (suite,) = root
    assert suite.get("name") == "blcperf"
    assert float(suite.get("time", "")) > 0
