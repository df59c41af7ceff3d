"""Self-contained HTML pages: one file that opens from disk, asks the network for nothing, and runs only our scripts.

The Content-Security-Policy in it names the scripts and the style sheet by their hashes and forbids everything else, so
a name that got past the escaping could still not run or load anything. Names are escaped by jinja2, and made visible
(`text.clean`) before: a direction override or a control character must not disguise one name as another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from pytest_blcperf import __version__
from pytest_blcperf.report.text import clean

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

NAME_LIMIT = 400
"""Characters of a name in a page; the rest of a longer one is in the run file."""
_PACKED_FROM = 100_000
"""Bytes of JSON from which data is compressed; below, the page can be read without tools."""
_COMMON_SCRIPTS = ("base.js",)


def page(template: str, title: str, content: Mapping[str, Any], scripts: Sequence[str], data: Mapping[str, Any]) -> str:
    """The page of a template with the scripts (file names in `assets/`) and the data blocks (JSON data by id)."""
    from markupsafe import Markup

    style = _asset("style.css")
    sources = [_asset(name) for name in (*_COMMON_SCRIPTS, *scripts)]
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            title=clean(title, 200),
            version=__version__,
            policy=_policy(style, sources),
            style=Markup(style),
            scripts=[Markup(source) for source in sources],
            blocks=[_block(name, value) for name, value in data.items()],
        )
    )


def _policy(style: str, scripts: Sequence[str]) -> str:
    allowed = " ".join(map(_hash, scripts))
    rules = ("default-src 'none'", f"script-src {allowed}", f"style-src {_hash(style)}", "img-src data:")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _block(name: str, value: Any) -> dict[str, Any]:
    """Data as text that cannot end its `<script>`: JSON with `<` escaped, or base64 of it deflated (RFC 1950)."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    packed = len(text) >= _PACKED_FROM
    if packed:
        text = base64.b64encode(zlib.compress(text.encode("ascii"), 6)).decode("ascii")
    return {"id": name, "packed": packed, "text": Markup(text.replace("<", "\\u003c"))}


@cache
def _asset(name: str) -> str:
    text = (resources.files("pytest_blcperf") / "report" / "assets" / name).read_text("utf-8")
    assert "</s" not in text.lower(), f"{name} would end the element it is put in"
    return text


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_blcperf", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = name_text
    return environment


def name_text(text: str, limit: int = NAME_LIMIT) -> str:
    """A name as a page shows it: visible, one line, bounded. Not yet escaped."""
    return clean(text, limit)


def markup(text: str) -> Markup:
    """HTML made by this package, from numbers and escaped text only."""
    from markupsafe import Markup

    return Markup(text)
