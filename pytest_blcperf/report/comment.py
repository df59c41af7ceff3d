"""One or more verdicts as one comment that finds itself again: the first line is a marker that no reader sees."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report import markdown

MARKER = "<!-- pytest-blcperf -->"
LIMIT = 60_000
"""Bytes; GitHub takes 65,536 characters in a comment, GitLab a million."""
MOST = 6
"""Verdicts in one comment, such as those of a matrix."""


def render(verdicts: Sequence[tuple[str, GateVerdict]], page: str, limit: int = LIMIT) -> str:
    """The comment: each verdict under its name (none when empty), then where the run is; at most `limit` bytes.

    `page` is an address that the platform gave, not one out of an artifact.
    """
    shown = list(verdicts)[:MOST]
    hidden = len(verdicts) - len(shown)
    room = (limit - 1000 - 300 * len(shown)) // max(len(shown), 1)
    parts = [MARKER]
    for name, verdict in shown:
        parts += [f"**{markdown.code(name, 100)}**"] * bool(name)
        parts.append(markdown.render(verdict, room).strip())
    if hidden:
        parts.append(f"**{hidden} more verdicts are in the run's artifacts.**")
    parts.append(f"<sub>Measured in [this run]({page}), by the code of the pull request itself.</sub>")
    return "\n\n".join(parts) + "\n"


def is_ours(body: str) -> bool:
    """Whether a comment is one of these; who wrote it is another question."""
    return body.startswith(MARKER)
