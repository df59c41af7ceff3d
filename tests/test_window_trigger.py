"""The trigger language: what it means, how it is refused, how it behaves over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.errors import UsageError
from pytest_blcperf.window.trigger import AllOf, AnyOf, Condition, Not, Reading, Trigger, parse


def cpu(value: float, hold: float = 0.0, text: str = "") -> Condition:
    return Condition("cpu", "", ">", value, hold, text or f"cpu > {value:g}%")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu > 80%", cpu(80)),
        ("cpu>80% for 5s", cpu(80, 5, "cpu>80% for 5s")),
        ("rss >= 2GiB", Condition("rss", "", ">=", 2 * 2**30, 0, "rss >= 2GiB")),
        ("io > 50MB/s for 500ms", Condition("io", "", ">", 50e6, 0.5, "io > 50MB/s for 500ms")),
        ("file:/tmp/go", Condition("file", "/tmp/go", "", 0, 0, "file:/tmp/go")),
        (
            "log:'/var/log/a b:dead (lock)'",
            Condition("log", "/var/log/a b:dead (lock)", "", 0, 0, "log:'/var/log/a b:dead (lock)'"),
        ),
        (
            "command:'lag --seconds' > 3",
            Condition("command", "lag --seconds", ">", 3, 0, "command:'lag --seconds' > 3"),
        ),
        ("not cpu > 1%", Not(cpu(1))),
    ],
)
def test_single_conditions(text: str, expected: object) -> None:
    assert parse(text) == expected


def test_and_binds_tighter_than_or_and_brackets_tighter_than_both() -> None:
    a, b, c = (Condition("signal", name, "", 0, 0, f"signal:{name}") for name in ("USR1", "USR2", "HUP"))
    assert parse("signal:USR1 or signal:USR2 and signal:HUP") == AnyOf((a, AllOf((b, c))))
    assert parse("(signal:USR1 or signal:USR2) and not signal:HUP") == AllOf((AnyOf((a, b)), Not(c)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty text"),
        ("cpu", "expected a comparison with cpu"),
        ("cpu > fast", "expected a number"),
        ("cpu > 80% for ever", "expected a duration"),
        ("cpu > 80% file:/x", "expected `and` or `or`: cpu > 80% ⟶file:/x"),
        ("(cpu > 80%", "expected `)`"),
        ("load > 3", "unknown source 'load'"),
        ("file", "file needs an argument"),
        ("cpu:1 > 3", "cpu takes no argument"),
        ("and", "expected a condition"),
        ("=", "cannot be read"),
        ("(" * 99, "nested too deeply"),
    ],
)
def test_wrong_expressions_are_refused_where_they_go_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.hint


@given(st.text(alphabet="cpu >80%for5sand(ot:)'\"/=<\n\t\0é", max_size=80))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert "\n" not in error.message or "\n" in text


def fires(trigger: Trigger, *readings: tuple[float, Reading]) -> list[bool]:
    """Whether it fires at each (time, reading), the reading being that of every condition."""
    return [trigger.observe(dict.fromkeys(trigger.conditions, value), now) is not None for now, value in readings]


def test_a_condition_must_hold_without_a_break() -> None:
    trigger = Trigger(parse("cpu > 80% for 2s"))
    assert fires(trigger, (0, 90), (1, 90), (1.5, 10), (2, 90), (3.9, 90), (4, 90)) == [False] * 5 + [True]


def test_what_cannot_be_read_opens_no_window_nor_does_its_opposite() -> None:
    assert fires(Trigger(parse("probe:http://x/")), (0, None)) == [False]
    assert fires(Trigger(parse("not probe:http://x/")), (0, None), (1, False)) == [False, True]
    either = Trigger(parse("cpu > 1% or file:/x"))
    readings = {either.conditions[0]: 50.0, either.conditions[1]: None}
    assert either.observe(readings, 0) == "cpu > 1%"


def test_an_event_is_remembered_until_the_window_has_opened() -> None:
    trigger = Trigger(parse("signal:USR1 and cpu > 80%"))
    signal, load = trigger.conditions
    assert trigger.observe({signal: True, load: 10.0}, 0) is None
    assert trigger.observe({signal: False, load: 90.0}, 1) == "signal:USR1 and cpu > 80%"
    trigger.forget()
    assert trigger.observe({signal: False, load: 90.0}, 2) is None
