"""Runs over forty days, for the tests of trends: one function got dearer on day 15, another cheaper on day 28."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache

import numpy as np
import report_pages

from pytest_blcperf.model.run import Benchmark, Launch, Round, Run

DEARER, CHEAPER, DAYS = 15, 28, 40


@cache
def runs(days: int = DAYS, seed: int = 3) -> tuple[Run, ...]:
    """A run a day; the level of a day scatters by 1.2 %, and the last five days are another machine's."""
    random = np.random.default_rng(seed)
    return tuple(_run(day, random, days) for day in range(days))


def _run(day: int, random: np.random.Generator, days: int) -> Run:
    first, _ = report_pages.runs()
    article = dict(report_pages.ARTICLE)
    if day >= DEARER:
        article = report_pages.changed(article, 1.5, "text")
    if day >= CHEAPER:
        article = report_pages.changed(article, 0.4, "escape")
    machine = replace(report_pages.MACHINE, cpu_model="Another CPU 9000") if day >= days - 5 else report_pages.MACHINE
    speed = (0.7 if day >= days - 5 else 1.0) * random.normal(1, 0.012)
    plain = {stack: cost / 3 for stack, cost in report_pages.ARTICLE.items() if not stack.startswith(("table", "link"))}
    benchmarks = (
        _benchmark("test_render_article", article, speed, random),
        _benchmark("test_plain_text", plain, speed * random.normal(1, 0.01), random),
    )
    created = datetime(2026, 3, 1, 6, tzinfo=timezone.utc) + timedelta(days=day)
    return replace(
        first,
        name="head",
        created=created.isoformat(timespec="seconds"),
        commit=f"{day:02x}" * 20,
        environment=machine,
        benchmarks=benchmarks,
        pair="",
        warnings=(),
    )


def _benchmark(name: str, costs: dict[str, float], speed: float, random: np.random.Generator) -> Benchmark:
    whole = sum(costs.values()) * 1e3 * speed
    launches = tuple(
        Launch(index, "look", index, None, tuple(Round(4, int(cpu), int(cpu)) for cpu in whole * 4 * random.normal(1, 0.008, 3)))
        for index in range(6)
    )  # fmt: skip
    profile = report_pages.profile(costs, random, {})
    return Benchmark(f"benchmarks/test_markup.py::{name}", name, "benchmarks/test_markup.py", 9, launches, profile)
