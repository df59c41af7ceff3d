"""The HTML pages in a real Chromium with its network cut: clicked, searched, zoomed, and without a console error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import capture_pages
import numpy as np
import pytest
import report_pages
import report_samples
import trend_pages
from browser import Browser, browser
from capture_samples import Sampled, capture_of

from pytest_blcperf.compare.captures import compare_captures
from pytest_blcperf.compare.trend import trend
from pytest_blcperf.detect import rules
from pytest_blcperf.detect.analysis import breakdowns
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.capture import Capture, profile_of
from pytest_blcperf.model.finding import Evidence
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.report import html_capture_comparison, html_comparison, html_run, html_trend
from pytest_blcperf.report.comparison_page import ComparisonPage
from pytest_blcperf.report.run_page import RunPage
from pytest_blcperf.store.environment import drift

ASSETS = Path(html_comparison.__file__).parent / "assets"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all the tests of this file."""
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: nothing was complained of, and nothing was asked of a network."""
    yield
    if "window" in request.fixturenames:
        assert request.getfixturevalue("window").logs() == ([], [])


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.js")), ids=lambda path: path.name)
def test_scripts_are_sound(path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    subprocess.run([node, "--check", path], check=True)


# ---- the comparison page


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison page of the made-up library."""
    folder = tmp_path_factory.mktemp("comparison")
    page = folder / "comparison.html"
    page.write_text(html_comparison.render(report_pages.compared(folder / "repository")), encoding="utf-8")
    return page


def frame(window: Browser, name: str) -> tuple[float, float]:
    """The middle of the first visible frame of a function."""
    box = window.run(
        """(() => {
          const panel = [...document.querySelectorAll(".flame-panel")].find((one) => one.offsetParent).flamePanel;
          panel.graph.window.scrollIntoView({behavior: "instant", block: "center"});
          const func = panel.model.functions.name.indexOf(arguments[0]);
          return panel.graph.boxOf(panel.tree.func.indexOf(func));
        })()""",
        name,
    )
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def panel(script: str) -> str:
    """A script about the visible flame graph's panel."""
    return f'[...document.querySelectorAll(".flame-panel")].find((one) => one.offsetParent)?.flamePanel?.{script}'


def test_the_first_screen_says_what_how_much_how_sure_why_and_where(window: Browser, comparison: Path) -> None:
    window.size(1280, 900)
    window.open(comparison)
    assert window.text("h1") == "1 regressed, 1 improved, 1 unchanged"
    assert "text (src/markup/rules/text.py:6)" in window.text(".headlines")
    assert "+11" in window.text("tr[data-benchmark='0'] .change")
    seen = window.run("document.querySelector('.benchmarks').getBoundingClientRect().bottom < innerHeight")
    assert seen, "the table of benchmarks is not on the first screen"
    cut = window.run(
        "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
    )
    assert cut == 0, "a table does not fit 1280 pixels"


def test_a_function_opens_its_source_and_stands_out_in_the_graph(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    window.one("button.expand").click()
    assert "state.src[pos : pos + 1]" in window.text("tr.more.open tr.added")
    assert "state.src[pos] not in" in window.text("tr.more.open tr.removed")
    assert window.run(panel("found.textContent")).startswith("1 function")
    assert "function=src%2Fmarkup%2Frules%2Ftext.py%3A%3Atext" in window.driver.current_url


def test_a_deep_link_opens_the_function_it_names(window: Browser, comparison: Path) -> None:
    window.open(
        comparison, "#benchmark=benchmarks/test_markup.py::test_escape[long]&function=src/markup/escape.py::escape_html"
    )
    window.wait("document.querySelector('tr.more.open')?.offsetParent")
    assert window.text("section.benchmark.current h2") == "benchmarks/test_markup.py::test_escape[long]"
    assert window.text("tr.improved button.expand[aria-expanded=true]") == "escape_html"


def test_colours_follow_the_verdict_and_not_the_raw_difference(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    tones = dict(
        window.run(f"((model) => model.functions.name.map((name, func) => [name, model.fill(func)]))({panel('model')})")
    )
    assert tones["text"] == "regressed"
    assert tones["InlineParser.tokenize"] == tones["Markup.parse"] == "follows"
    # These differ between the sides by a few percent, as everything that is sampled does.
    assert {tones[name] for name in ("emphasis", "paragraph", "link", "State.push")} == {"unsure"}
    assert tones["test_render_article"] == "unjudged"


def test_zoom_by_mouse_and_back_by_keyboard(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    window.click_at(*frame(window, "InlineParser.tokenize"))
    window.wait(panel("graph.zoomed") + " > 0")
    whole = window.run(panel("graph.width"))
    window.wait(f"{panel('graph.to')} - {panel('graph.from')} < {whole} * 0.7")
    assert "InlineParser.tokenize" in window.run(panel("status.textContent"))
    window.run(panel("graph.window.focus()"))
    window.keys("\ue00c")
    window.wait(f"{panel('graph.to')} - {panel('graph.from')} === {whole}")


def test_the_graph_is_walked_with_the_arrow_keys_and_says_where_it_is(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    window.run(panel("graph.window.focus()"))
    window.keys("\ue015", "\ue015", "\ue015")
    assert "Markup.parse" in window.run("document.getElementById('announcer').textContent")
    window.keys("\ue007")
    window.wait(panel("graph.zoomed") + " > 0")


def test_search_counts_and_weighs_what_matches(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    window.keys("/")
    assert window.run("document.activeElement.type") == "search"
    window.keys(*"rules/")
    window.wait(panel("found.textContent.startsWith('5 functions')"))
    window.keys("\ue00c")
    window.one("input[type=search]").send_keys("/^text\n")
    assert window.run(panel("found.textContent")) == "0 functions, 0 % → 0 %"
    window.one("input[type=search]").send_keys("\ue00c", "/^text\\b/")
    window.wait(panel("found.textContent.startsWith('1 function,')"))
    window.one("input[type=search]").send_keys("\ue00c")
    assert window.run(panel("graph.matches")) is None


def test_callers_first_flames_and_widths(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    sums = window.run(panel("wholes"))
    for button in [one for one in window.all(".toolbar button") if one.is_displayed() and one.text != "Zoom out"]:
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
    roots = window.run(
        f"(({{tree, model}}) => [...tree.func.slice(0, tree.levels[1])].map((func) => model.functions.name[func]))({panel('graph.window.parentNode.flamePanel')})"
    )
    assert {"text", "escape_html", "search"} <= set(roots), "leaves are the roots of the reversed graph"
    assert "Markup.parse" not in roots
    assert window.run(panel("wholes")) == pytest.approx(sums)
    window.one("label.choice select").send_keys("base")
    assert window.run(panel("graph.width")) == pytest.approx(sums[0])


def test_every_control_has_a_name(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    nodes = window.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        one
        for one in nodes
        if one.get("role", {}).get("value")
        in ("button", "link", "searchbox", "combobox", "application", "img", "textbox")
    ]
    assert len(controls) > 10
    assert [one for one in controls if not one.get("name", {}).get("value")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_themes(scheme: str, window: Browser, comparison: Path) -> None:
    window.media(prefers_color_scheme=scheme)
    window.open(comparison)
    window.wait(panel("graph.painted"))
    low = window.run(CONTRAST)
    window.media()
    assert low == []


def test_it_prints_every_benchmark(window: Browser, comparison: Path) -> None:
    window.open(comparison)
    window.wait(panel("graph.painted"))
    window.media(media="print")
    shown = [one.is_displayed() for one in window.all("section.benchmark")]
    more = [one.is_displayed() for one in window.all("section.benchmark tr.more")]
    toolbar = [one.is_displayed() for one in window.all(".toolbar")]
    window.media()
    assert all(shown) and all(more) and not any(toolbar)


def test_narrow_windows_scroll_tables_and_never_the_page(window: Browser, comparison: Path) -> None:
    window.size(390, 800)
    window.open(comparison)
    window.wait(panel("graph.painted"))
    width = window.run("document.documentElement.scrollWidth")
    window.size(1280, 900)
    assert width <= 390


# ---- the run page


@pytest.fixture(scope="module")
def capture_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made-up service, with findings."""
    path = tmp_path_factory.mktemp("capture") / "capture.html"
    shown = RunPage(captures=(capture_pages.service(),), findings=capture_pages.findings())
    path.write_text(html_run.render(shown), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made-up library's run."""
    path = tmp_path_factory.mktemp("run") / "run.html"
    path.write_text(html_run.render(RunPage(run=report_pages.runs()[1])), encoding="utf-8")
    return path


def drawn(window: Browser, path: Path, fragment: str = "") -> None:
    """Opens a run page and waits until its flame graph is there."""
    window.size(1280, 900)
    window.open(path, fragment)
    window.wait(panel("graph.painted") if "view=" not in fragment else "document.querySelector('.chosen')")


def shares(window: Browser) -> dict[str, float]:
    """Each function's part of what the page shows, self time."""
    script = """(({data, tree, weights}) => {
      const {own} = tree.perFunction(weights, data.functions.name.length);
      const whole = own.reduce((sum, one) => sum + one, 0);
      return data.functions.name.map((name, func) => [name, own[func] / whole]);
    })(run)"""
    return dict(window.run(script))


def expected(capture: Capture, chosen: np.ndarray) -> dict[str, float]:  # type: ignore[type-arg]
    """The same, counted here."""
    hot = hottest(profile_of(capture, chosen))
    return {one.name: one.self_share for one in hot if one.self_share and one.self_share > 0.001}


def test_the_page_says_what_was_captured_and_how_well(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    assert window.text("h1") == "process 4711 (shop)"
    seen = window.text("main")
    for part in ("samples lost: 12", "no cache-miss event", "time is sampled by a clock", "Example CPU 3000"):
        assert part in seen
    assert shares(window) == pytest.approx(
        dict.fromkeys(shares(window), 0.0) | expected(capture_pages.service(), np.ones(43224, bool)), abs=0.001
    )


def test_brushing_the_heatmap_makes_everything_follow(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    window.run("document.querySelectorAll('.chart canvas')[1].scrollIntoView({block: 'center'})")
    box = window.run("document.querySelectorAll('.chart canvas')[1].getBoundingClientRect().toJSON()")
    x = [box["x"] + box["width"] * second / 12 for second in (8.05, 8.75)]
    window.drag((x[0], box["y"] + 30), (x[1], box["y"] + 34))
    window.wait("run.timeline.whole.disabled === false")
    low, high = (float(window.run(f"run.timeline.{name}.value")) for name in ("from", "to"))
    assert (low, high) == (pytest.approx(8.05, abs=0.05), pytest.approx(8.75, abs=0.05))
    capture = capture_pages.service()
    brushed = (capture.time >= low * 1e9) & (capture.time < high * 1e9)
    assert shares(window)["__schedule"] == pytest.approx(expected(capture, brushed)["__schedule"], abs=0.002)
    assert shares(window)["__schedule"] > 0.3 > expected(capture, ~brushed)["__schedule"]
    # AND the table, the graph and the address follow
    window.one("#tab-top").click()
    assert window.all("#view-top tbody tr")[0].text.startswith(f"{shares(window)['__schedule'] * 100:.1f} %")
    assert window.run(panel("wholes[0]")) is None and window.run("run.panel.wholes[0]") < 0.1 * capture.weight.sum()
    assert "from=8." in window.driver.current_url
    # AND a link to it opens the same
    drawn(window, capture_page, "#" + window.driver.current_url.partition("#")[2])
    window.wait("run.timeline && run.timeline.range[0] > 0")
    assert shares(window)["__schedule"] > 0.3
    window.one(".toolbar button").click()
    assert window.run("run.timeline.range[0]") == 0


def test_the_timeline_by_keyboard(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    window.run("document.querySelector('.chart canvas').focus()")
    window.keys("\ue014", "\ue014")
    first = window.run("run.timeline.range")
    assert first[0] > 0 and first[1] - first[0] < 20
    window.driver.execute_script("run.timeline.threads.key({key: 'ArrowRight', shiftKey: true, preventDefault() {}})")
    assert window.run("run.timeline.range")[1] > first[1]
    window.keys("\ue00c")
    assert window.run("run.timeline.range") == [0, window.run("run.timeline.cells")]


def test_threads_and_modes_are_chosen(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    capture = capture_pages.service()
    window.one("#timeline select").send_keys("kernel only")
    kernel = capture.mode == 1
    assert shares(window)["__schedule"] == pytest.approx(expected(capture, kernel)["__schedule"], abs=0.002)
    for box in window.all(".chart-names input")[:4]:
        box.click()
    only = kernel & (capture.thread == 4)
    assert shares(window)["__schedule"] == pytest.approx(expected(capture, only)["__schedule"], abs=0.002)
    assert "housekeeper" in window.all(".chart-names label")[4].text


def test_kinds_of_frames_are_hidden_and_their_time_goes_to_the_callers(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    whole = window.run(panel("wholes[0]"))
    for kind in ("native", "kernel"):
        window.one(f"input[data-kind={kind}]").click()
    kinds = f"(({{tree, model}}) => [...new Set([...tree.func].map((func) => model.functions.kind[func]))])({panel('graph.window.parentNode.flamePanel')})"
    assert window.run(kinds) == [0], "Python frames only"
    assert window.run(panel("wholes[0]")) == pytest.approx(whole)


def test_a_findings_evidence_leads_to_its_frames(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page)
    next(link for link in window.all("[data-evidence]") if link.text == "Cache.lock").click()
    assert window.run(panel("found.textContent")).startswith("1 function, 4.8")
    assert "Cache.lock" in window.driver.current_url


def test_the_table_sorts_filters_and_leads_to_the_call_tree(window: Browser, capture_page: Path) -> None:
    drawn(window, capture_page, "#view=top")
    window.wait("document.querySelectorAll('#view-top tbody tr').length > 30")
    assert "score" in window.all("#view-top tbody tr")[0].text
    next(one for one in window.all(".sort") if one.text.startswith("Total")).click()
    assert "main" in window.all("#view-top tbody tr")[0].text
    window.keys("/", *"lock")
    names = [row.text.split("\n")[0] for row in window.all("#view-top tbody th")]
    assert "Cache.lock" in names and "score" not in names
    next(one for one in window.all("#view-top .expand") if one.text == "Cache.lock").click()
    rows = [row.text for row in window.all(".tree-row") if row.is_displayed()]
    assert "Cache.lock" in rows[0] and "Cache.get" in rows[1] and "main" in rows[-1]
    window.one("#view-tree select").send_keys("what the function")
    rows = [row.text for row in window.all(".tree-row") if row.is_displayed()]
    assert "__schedule" in rows[-1] and len(rows) == 9


def test_the_call_tree_by_keyboard(window: Browser, run_page: Path) -> None:
    drawn(window, run_page, "#view=tree")
    window.wait("document.querySelectorAll('.tree-item').length > 2")
    window.run("document.querySelector('.tree-item[tabindex=\"0\"]').focus()")
    window.keys("\ue015", "\ue015")
    assert "Markup.parse" in window.run("document.activeElement.querySelector('.tree-row').innerText")
    window.keys("\ue014", "\ue015")
    assert "Core.process" in window.run("document.activeElement.querySelector('.tree-row').innerText")
    assert window.run("document.activeElement.getAttribute('aria-level')") == "4"


def test_another_benchmark_is_one_click_away(window: Browser, run_page: Path) -> None:
    drawn(window, run_page)
    before = shares(window)["text"]
    window.all("tr[data-subject]")[2].click()
    window.wait("run.opened.includes('test_escape')")
    assert shares(window)["escape_html"] > 0.3 > before
    drawn(window, run_page, "#subject=benchmarks/test_markup.py::test_plain_text")
    assert window.run("run.opened") == "benchmarks/test_markup.py::test_plain_text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_run_pages_have_contrast_names_and_fit(
    scheme: str, window: Browser, capture_page: Path, run_page: Path
) -> None:
    for path in (capture_page, run_page):
        for view in ("flame", "top", "tree"):
            window.media(prefers_color_scheme=scheme)
            drawn(window, path, f"#view={view}")
            assert window.run(CONTRAST) == []
            nodes = window.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            roles = (
                "button",
                "link",
                "searchbox",
                "combobox",
                "application",
                "img",
                "textbox",
                "tab",
                "checkbox",
                "spinbutton",
            )
            controls = [one for one in nodes if one.get("role", {}).get("value") in roles]
            assert [one for one in controls if not one.get("name", {}).get("value")] == []
            window.size(390, 800)
            assert window.run("document.documentElement.scrollWidth") <= 390
    window.media()


def test_run_pages_print_all_views(window: Browser, run_page: Path) -> None:
    drawn(window, run_page)
    window.run("dispatchEvent(new Event('beforeprint'))")
    window.media(media="print")
    shown = [one.is_displayed() for one in window.all("[role=tabpanel]")]
    window.media()
    assert all(shown)


def test_without_scripts_the_numbers_are_there(window: Browser, run_page: Path) -> None:
    window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.driver.get(run_page.as_uri())
        source = window.all("main")[0].text
    finally:
        window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "InlineParser.tokenize" in source and "3.38 ms" in source


# ---- the trend page


@pytest.fixture(scope="module")
def trend_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of forty days."""
    path = tmp_path_factory.mktemp("trend") / "trend.html"
    path.write_text(html_trend.render(trend(trend_pages.runs())), encoding="utf-8")
    return path


def test_the_trend_page_leads_from_a_change_to_its_chart(window: Browser, trend_page: Path) -> None:
    window.size(1280, 900)
    window.open(trend_page)
    rows = [row.text for row in window.all("#main tbody tr[data-search]")]
    assert len(rows) == 4 and "escape_html" in rows[0] and "▼ -59.8 %" in rows[0]
    next(link for link in window.all("tbody th a") if link.text == "text").click()
    assert window.run("document.querySelector('#t0').getBoundingClientRect().top") < 200
    assert window.run("document.querySelectorAll('#t0 svg .change.regressed').length") == 2


def test_the_trend_page_filters_and_points_at_one_run_everywhere(window: Browser, trend_page: Path) -> None:
    window.open(trend_page)
    window.keys("/", *"escape")
    assert {one.text.split()[0] for one in window.all("figure") if one.is_displayed()} == {"escape_html"}
    window.one("#only-changed").click()
    assert len([one for one in window.all(".trend-section") if one.is_displayed()]) == 1
    window.open(trend_page, "#" + window.driver.current_url.partition("#")[2])
    assert len([one for one in window.all("figure") if one.is_displayed()]) == 1
    dot = window.run("document.querySelectorAll('#t0 > svg g[data-run]')[20].getBoundingClientRect().toJSON()")
    window.run("document.querySelector('#t0 > svg').scrollIntoView()")
    dot = window.run("document.querySelectorAll('#t0 > svg g[data-run]')[20].getBoundingClientRect().toJSON()")
    window.move_to(dot["x"] + 2, dot["y"] + 30)
    assert window.run("[...document.querySelectorAll('.marked')].every((one) => one.dataset.run === '20')")
    assert window.run("document.querySelectorAll('.marked').length") > 10
    assert "2026-03-21" in window.text("#tooltip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_trend_page_has_contrast_and_fits(scheme: str, window: Browser, trend_page: Path) -> None:
    window.media(prefers_color_scheme=scheme)
    window.size(390, 800)
    window.open(trend_page)
    assert window.run(CONTRAST) == []
    assert window.run("document.documentElement.scrollWidth") <= 390
    window.size(1280, 900)
    window.media()


def test_hostile_names_are_inert_on_the_trend_page(window: Browser, tmp_path: Path) -> None:
    found = trend(trend_pages.runs())
    hostile = replace(
        found,
        runs=tuple(
            replace(one, label=HOSTILE[place % 7], where=HOSTILE[place % 5]) for place, one in enumerate(found.runs)
        ),
        series=tuple(
            replace(
                one,
                benchmark=HOSTILE[place % 7],
                function=one.function and Function(HOSTILE[place % 5], HOSTILE[place % 7]),
            )
            for place, one in enumerate(found.series)
        ),
    )
    page = tmp_path / "hostile.html"
    page.write_text(html_trend.render(hostile), encoding="utf-8")
    window.open(page)
    assert_inert(window, 900_000)


# ---- the comparison page of captures


def server(parse: int, sort: int, extra: str = "") -> Capture:
    samples = [
        Sampled("parse;handle;main", parse, thread="worker-1"),
        Sampled("sort;handle;main", sort, thread="worker-2"),
        Sampled("[vfs_read];[__x64_sys_read];read@libc.so.6;main", 100),
        *(Sampled(f"helper_{number};main", 20) for number in range(15)),
    ]
    capture = capture_of(*samples, *([Sampled(f"{extra};handle;main", 120)] if extra else []))
    return replace(capture, environment=replace(report_pages.MACHINE, kernel="6.2.0" if extra else "6.1.0"))


def captures_page(folder: Path) -> Path:
    """Three captures a side: parse is dearer, check is new, sort is the same, the kernel was replaced."""
    base = [server(parse, 500) for parse in (300, 304, 297)]
    head = [server(parse, 500, extra="check") for parse in (450, 455, 447)]
    return written(folder, base, head)


def written(folder: Path, base: list[Capture], head: list[Capture]) -> Path:
    known = rules.load(None)
    tables = {
        title: lambda one, title=title: {part.name: part.time for part in breakdowns(View(one), known).get(title, ())}
        for title in ("mode", "role", "system call")
    }
    comparison = compare_captures(base, head, tables, drift(base[0].environment, head[0].environment))
    page = folder / "captures.html"
    page.write_text(html_capture_comparison.render(comparison, base, head), encoding="utf-8")
    return page


def test_a_comparison_of_captures_says_what_changed_and_how_sure_that_is(window: Browser, tmp_path: Path) -> None:
    window.size(1280, 900)
    window.open(captures_page(tmp_path))
    assert window.text("h1").startswith("2 functions dearer, 0 cheaper; total +")
    assert "1 new, 0 gone" in window.text(".facts")
    assert [one.text for one in window.all("tr.regressed[data-function] button.expand")] == ["parse", "check"]
    assert "new" in window.text("tr[data-function='program::check']")
    headings = [one.text for one in window.all("section.card h2")]
    assert headings[-4:] == ["By mode", "By role", "By system call", "Environment"]
    assert "6.2.0" in window.text("tr.differs")
    assert "~" in window.text("tr[data-function='program::helper_0'] .change")


def test_functions_of_captures_are_pointed_out_in_their_flame_graph(window: Browser, tmp_path: Path) -> None:
    window.open(captures_page(tmp_path))
    window.wait(panel("graph.painted"))
    window.one("tr[data-function='program::parse'] button.expand").click()
    assert window.run(panel("found.textContent")).startswith("1 function")
    assert "function=program%3A%3Aparse" in window.driver.current_url
    fill = dict(
        window.run(f"((model) => model.functions.name.map((name, func) => [name, model.fill(func)]))({panel('model')})")
    )
    assert (fill["parse"], fill["check"], fill["sort"]) == ("regressed", "regressed", "unsure")
    tip = window.run(panel("model.tip(arguments[0], [3e8, 4e8], [3e8, 4e8], [1e9, 1e9]).join()"), 0)
    assert "a second" in tip
    hidden = "[...document.querySelectorAll('.quiet-row')].filter((one) => one.offsetParent).length"
    assert window.run(hidden) == 0
    window.one(".all-rows").click()
    assert window.run(hidden) > 0


def test_hostile_names_are_inert_on_the_comparison_page_of_captures(window: Browser, tmp_path: Path) -> None:
    base = server(300, 500)
    functions = tuple(
        replace(one, name=HOSTILE[place % 7] + str(place), file=HOSTILE[place % 5])
        for place, one in enumerate(base.functions)
    )
    threads = tuple(
        replace(one, name=HOSTILE[place], process_name=HOSTILE[0]) for place, one in enumerate(base.threads)
    )
    hostile = replace(base, functions=functions, threads=threads, target=HOSTILE[1], backend=HOSTILE[4])
    hostile = replace(hostile, environment=replace(base.environment, kernel=HOSTILE[0], packages={HOSTILE[1]: "1"}))
    window.open(written(tmp_path, [base], [hostile]))
    window.wait(panel("graph.painted"))
    window.one("button.expand").click()
    assert_inert(window)


# ---- hostile names


HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "\x1b[31m\x1b]0;owned\x07",
    "\u202egnihtemos\u2066",
    "'\"><svg onload=document.title='owned'>",
    "x" * 10_000,
    "{{7*7}}${7*7}<!--",
)


@pytest.mark.parametrize("name", HOSTILE, ids=["script", "img", "terminal", "bidi", "svg", "long", "template"])
def test_hostile_names_are_inert_on_the_comparison_page(name: str, window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(html_comparison.render(ComparisonPage.of(report_samples.renamed(name))), encoding="utf-8")
    window.open(page)
    assert_inert(window)


def test_hostile_names_are_inert_in_the_flame_graph(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(html_comparison.render(report_pages.hostile(HOSTILE)), encoding="utf-8")
    window.open(page)
    window.wait(panel("graph.painted"))
    for name in window.run(panel("model.functions.name")):
        window.run(
            panel("graph.select(arguments[0])").replace(
                "arguments[0]", panel(f"tree.func.indexOf({panel('model.functions.name')}.indexOf(arguments[0]))")
            ),
            name,
        )
    window.one("button.expand").click()
    window.run(panel("graph.window.focus()"))
    window.keys("\ue015", "\ue015", "\ue007")
    assert_inert(window)


def test_hostile_names_are_inert_on_the_run_page(window: Browser, tmp_path: Path) -> None:
    service = capture_pages.service()
    functions = tuple(
        replace(one, name=HOSTILE[place % 7] + str(place), file=HOSTILE[place % 5])
        for place, one in enumerate(service.functions)
    )
    threads = tuple(
        replace(one, name=HOSTILE[place], process_name=HOSTILE[-1 - place]) for place, one in enumerate(service.threads)
    )
    hostile = replace(
        service, functions=functions, threads=threads, target=HOSTILE[0], event=HOSTILE[1], unit=HOSTILE[2]
    )
    traced = tuple(SyscallCount(1, place, name, 3, 9) for place, name in enumerate(HOSTILE))
    hostile = replace(hostile, syscalls=Syscalls(traced, 5, 10))
    finding = replace(
        capture_pages.findings()[0],
        title=HOSTILE[0],
        summary=HOSTILE[1],
        next_step=HOSTILE[4],
        unit=HOSTILE[2],
        evidence=(Evidence(functions[0], 0.5, HOSTILE[3]),),
    )
    page = tmp_path / "hostile.html"
    page.write_text(html_run.render(RunPage(captures=(hostile,), findings=(finding,))), encoding="utf-8")
    for view in ("flame", "top", "tree"):
        drawn(window, page, f"#view={view}")
        assert_inert(window)
    assert "traced in 50.0 % of the window" in window.text("section[aria-labelledby=syscalls-title]")


def assert_inert(window: Browser, most: int = 400_000) -> None:
    """Nothing ran, nothing was parsed as an element, nothing disguises a name, nothing is endless."""
    assert window.run("document.title") != "owned"
    assert window.all("img, main script, [onload], [onerror], svg svg") == []
    assert window.run("document.documentElement.outerHTML.length") < most
    assert not {"\u202e", "\u2066", "\x1b", "\x07"} & set(window.run("document.documentElement.textContent"))


CONTRAST = """(() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255).map((one) =>
    one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = number(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !one.checkVisibility() || one.closest("script, .unseen, .skip, :disabled, svg")) continue;
    const [a, b] = [light(number(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([walker.currentNode.data.trim().slice(0, 30), ratio]);
  }
  return found;
})()"""
