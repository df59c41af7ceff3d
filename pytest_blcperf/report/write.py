"""The report files of a verdict: all rendered before the first is written, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report.comparison_page import ComparisonPage
from pytest_blcperf.report.text import clean
from pytest_blcperf.store.atomic import replacing


def write_reports(
    verdict: GateVerdict,
    json_path: str | Path | None = None,
    junit_path: str | Path | None = None,
    markdown_path: str | Path | None = None,
    *,
    html_path: str | Path | None = None,
    page: ComparisonPage | None = None,
    codequality_path: str | Path | None = None,
    sarif_path: str | Path | None = None,
) -> list[str]:
    """Writes the reports whose path is given, creating folders, and says where; UTF-8.

    `page` is what the HTML page shows; without it, the verdict alone.

    A path that is a device or a pipe (`/dev/stdout`) is written to directly. Raises BlcperfError with the path and the
    reason when one cannot be written.
    """
    rendered = _rendered(verdict, json_path, junit_path, markdown_path)
    if html_path:
        from pytest_blcperf.report import html_comparison

        rendered.append(("HTML", Path(html_path), html_comparison.render(page or ComparisonPage.of(verdict))))
    rendered += _rendered_for_code(verdict, codequality_path, sarif_path)
    for name, path, text in rendered:
        try:
            write_file(path, text.encode("utf-8"))
        except OSError as error:
            raise BlcperfError(
                f"the {name} report cannot be written to {clean(str(path), 300)}: {error.strerror or error}",
                "give a path in a folder that this user may write to",
            ) from error
    return [f"{name} report: {clean(str(path), 300)}" for name, path, _ in rendered]


def _rendered(
    verdict: GateVerdict, json_path: str | Path | None, junit_path: str | Path | None, markdown_path: str | Path | None
) -> list[tuple[str, Path, str]]:
    found = []
    if json_path:
        from pytest_blcperf.report import json

        found.append(("JSON", Path(json_path), json.render(verdict)))
    if junit_path:
        from pytest_blcperf.report import junit

        found.append(("JUnit", Path(junit_path), junit.render(verdict)))
    if markdown_path:
        from pytest_blcperf.report import markdown

        found.append(("Markdown", Path(markdown_path), markdown.render(verdict)))
    return found


def _rendered_for_code(
    verdict: GateVerdict, codequality_path: str | Path | None, sarif_path: str | Path | None
) -> list[tuple[str, Path, str]]:
    """The formats that speak of lines of code."""
    found = []
    if codequality_path:
        from pytest_blcperf.report import codequality

        found.append(("code quality", Path(codequality_path), codequality.render(verdict)))
    if sarif_path:
        from pytest_blcperf.report import sarif

        found.append(("SARIF", Path(sarif_path), sarif.render(verdict)))
    return found


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, creating its folders. Raises OSError."""
    if path.parts[:2] in (("/", "dev"), ("/", "proc")) or (path.exists() and not path.is_file()):
        with path.open("ab") as file:  # replacing a device by a file would break it for everybody
            file.write(data)
        return
    target = path.resolve()  # a symbolic link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        file.write(data)
