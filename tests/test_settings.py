"""Options under all their names, their order of precedence, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_blcperf.errors import UsageError
from pytest_blcperf.options import BY_NAME, OPTIONS
from pytest_blcperf.settings import Settings, resolve


def settings(
    flags: dict[str, Any] | None = None,
    ini: dict[str, str] | None = None,
    pyproject: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
) -> Settings:
    return resolve(flags or {}, ini or {}, pyproject or {}, environ or {})


def test_each_source_wins_over_the_next() -> None:
    sources: dict[str, Any] = {"pyproject": {"threshold": "2%"}}
    assert settings().threshold == 0.05
    assert settings(**sources).threshold == 0.02
    sources["ini"] = {"threshold": "3%"}
    assert settings(**sources).threshold == 0.03
    sources["environ"] = {"BLCPERF_THRESHOLD": "4%"}
    assert settings(**sources).threshold == 0.04
    assert settings(**sources).for_benchmark("b", {"threshold": "6%"}).threshold == 0.06
    sources["flags"] = {"threshold": "7%"}
    assert settings(**sources).threshold == 0.07
    assert settings(**sources).for_benchmark("b", {"threshold": "6%"}).threshold == 0.07


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threshold", "5%", 0.05),
        ("threshold", "0.05", 0.05),
        ("threshold", "150%", 1.5),
        ("max_time", "2m", 120.0),
        ("max_time", "500ms", 0.5),
        ("max_time", "7", 7.0),
        ("delay_start", "settled", None),
        ("delay_start", "0", 0.0),
        ("source_roots", "auto", None),
        ("source_roots", "none", ()),
        ("source_roots", "src, lib", ("src", "lib")),
        ("only", "true", True),
    ],
)
def test_values_are_read(name: str, text: str, value: object) -> None:
    assert getattr(settings({name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("threshold", "5"),
        ("threshold", "-1%"),
        ("threshold", "nan"),
        ("alpha", "0"),
        ("alpha", "0.9"),
        ("launches", "1.5"),
        ("launches", "-1"),
        ("launches", "9" * 5000),
        ("max_time", "0s"),
        ("max_time", "1 week"),
        ("max_time", "inf"),
        ("mode", "duet"),
        ("gate", ""),
        ("only", "perhaps"),
    ],
)
def test_wrong_values_name_the_source_the_value_and_the_way_out(name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings({name: text})
    assert BY_NAME[name].flag in caught.value.message
    assert text[:20] in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 300


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="in this process"):
        settings({"launches": "0", "baseline": "main", "mode": "lockstep"})
    with pytest.raises(UsageError, match="needs a baseline"):
        settings({"mode": "stored"})
    with pytest.raises(UsageError, match="needs a baseline"):
        settings({"mode": "screen"})
    with pytest.raises(UsageError, match="does not run it"):
        settings({"mode": "stored", "baseline": "main", "base_python": "python3"})


def test_unknown_keys_are_named() -> None:
    with pytest.raises(UsageError, match="'treshold'"):
        settings(pyproject={"treshold": "5%"})
    with pytest.raises(UsageError, match="unknown argument 'treshold'"):
        settings().for_benchmark("b", {"treshold": "5%"})


def test_function_rules_apply_by_pattern_and_benchmark() -> None:
    table = [
        {"match": "lib/*", "threshold": "10%"},
        {"match": "lib/parse.py::Parser.*", "benchmark": "*::test_parse", "threshold": "20%", "min_share": "1%"},
        {"match": "helper", "ignore": True},
    ]
    chosen = settings(pyproject={"functions": table})
    assert chosen.limits("b::test_parse", "lib/parse.py", "Parser.next").threshold == 0.20
    assert chosen.limits("b::test_other", "lib/parse.py", "Parser.next").threshold == 0.10
    assert chosen.limits("b::test_other", "app/main.py", "run").threshold == 0.05
    assert chosen.limits("b::test_other", "app/main.py", "helper").ignore


@pytest.mark.parametrize(
    "table", ["x", [{"threshold": "5%"}], [{"match": "x", "treshold": 1}], [{"match": "x", "threshold": "x"}]]
)
def test_wrong_function_rules_are_refused(table: Any) -> None:
    with pytest.raises(UsageError):
        settings(pyproject={"functions": table})


def test_the_marker_chooses_and_ignores_functions() -> None:
    chosen = settings().for_benchmark("b", {"functions": ["lib/*"], "ignore": "slow"})
    assert not chosen.limits("b", "lib/a.py", "run").ignore
    assert chosen.limits("b", "app/a.py", "run").ignore
    assert chosen.limits("b", "lib/a.py", "slow").ignore


def test_every_option_has_one_flag_one_help_and_a_readable_default() -> None:
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)
    for option in OPTIONS:
        assert option.help and "%" not in option.help.replace("%%", "")
