"""JSON and regular expressions: parsing, encoding and matching text, often more than once for the same text."""

from __future__ import annotations

from pytest_blcperf.detect.judge import share_finding
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "json-or-regex"
TITLE = "JSON or regular expressions"
NEXT_STEP = (
    "look at the callers for texts that are parsed or matched more than once; compile expressions once, anchor them, "
    "avoid nested repetition; a faster parser (simdjson, orjson) or a binary format"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time with a JSON or regular expression library's function on the stack."""
    parsing = rules.members("json-or-regex", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.stacks_with(parsing),
        chosen=parsing,
        what="in JSON and regular expression code",
        next_step=NEXT_STEP,
    )
