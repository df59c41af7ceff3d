"""A loopback server that speaks the documented endpoints of GitHub's and GitLab's APIs, errors and paging included.

Written from GitHub's REST reference (2022-11-28) and GitLab's REST reference (v4). It pages by `Link` headers with pages of
two, redirects artifact downloads to another host as both platforms do, checks credentials, and keeps comments.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 2


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None


@dataclass
class Reply:
    """An answer: JSON data, or bytes, or a redirect."""

    status: int = 200
    data: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[Request], Any]


class Platform:
    """Routes by method and path; what a route returns is the data, or a Reply. Lists are paged."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Any] = {}
        self.requests: list[Request] = []
        self.root = ""
        self.failing: list[int] = []
        """Status codes to answer with first, one a request."""

    def on(self, path: str, answer: Any, method: str = "GET", key: str | None = None) -> None:
        """Answers a path; `key` wraps a list as `{total_count, key: […]}`."""
        self.routes[method, path] = (answer, key)

    def answer(self, request: Request) -> Reply:
        """What the platform says."""
        self.requests.append(request)
        if self.failing:
            return Reply(self.failing.pop(0), {"message": "Server Error"})
        found = self.routes.get((request.method, request.path))
        if found is None:
            return Reply(404, {"message": "Not Found"})
        answer, key = found
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, Reply):
            return answer
        return self._page(request, answer, key) if isinstance(answer, list) else Reply(data=answer)

    def _page(self, request: Request, answer: list[Any], key: str | None) -> Reply:
        number = int(request.query.get("page", "1"))
        size = min(int(request.query.get("per_page", "30")), PAGE)
        part = answer[(number - 1) * size : number * size]
        reply = Reply(data=part if key is None else {"total_count": len(answer), key: part})
        if number * size < len(answer):
            query = "&".join(f"{name}={value}" for name, value in {**request.query, "page": number + 1}.items())
            reply.headers["Link"] = f'<{self.root}{request.path}?{query}>; rel="next"'
        return reply

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests to a path."""
        return [one for one in self.requests if (one.method, one.path) == (method, path)]


@contextmanager
def serving(platform: Platform) -> Iterator[Platform]:
    """The platform on a free port of the loopback; its `root` is the address."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = platform.answer(Request(self.command, parts.path, query, headers, body))
            data = reply.raw if reply.raw is not None else json.dumps(reply.data).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = _handle  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    platform.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield platform
    finally:
        server.shutdown()
        server.server_close()


def redirect(target: str) -> Reply:
    """What both platforms answer to a download when artifacts are in object storage."""
    return Reply(302, {}, headers={"Location": target})
