"""An HTTP endpoint of ours that opens a window when it is called, for tests and load generators elsewhere."""

from __future__ import annotations

import hmac
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.window.trigger import Reading

_IDLE_TIMEOUT = 5.0


class Endpoint:
    """Whether the endpoint has been called since the last reading. `argument` is PORT or ADDRESS:PORT, loopback unless
    an address is given; port 0 takes a free one.

    A call is `POST /trigger` with the header `Authorization: Bearer TOKEN`; anything else is refused and triggers
    nothing: a page in a browser must not be able to start a profiler.
    """

    def __init__(self, argument: str, token: str = "") -> None:
        host, _, port = argument.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise UsageError(
                f"trigger: http:{argument}: not a port", "http:8125, or http:0.0.0.0:8125 for all networks"
            )
        self.token = token or secrets.token_urlsafe(16)
        self._called = threading.Event()
        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), self._handler())
        except OSError as error:
            raise TargetError(
                f"trigger: cannot listen on {argument}: {error.strerror}", "choose another port"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="blcperf-endpoint", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What to call, such as `http://127.0.0.1:8125/trigger`."""
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/trigger"

    def read(self) -> Reading:
        """See `levels.Reader`."""
        called = self._called.is_set()
        self._called.clear()
        return called

    def close(self) -> None:
        """See `levels.Reader`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        expected, called = f"Bearer {self.token}".encode(), self._called

        class Handler(BaseHTTPRequestHandler):
            timeout = _IDLE_TIMEOUT
            server_version, sys_version = "blcperf", ""

            def do_POST(self) -> None:
                given = (self.headers.get("Authorization") or "").encode("utf-8", "replace")
                if self.path != "/trigger":
                    self._answer(404, "POST /trigger\n")
                elif not hmac.compare_digest(given, expected):
                    self._answer(403, "Authorization: Bearer TOKEN is missing or wrong\n")
                else:
                    called.set()
                    self._answer(202, "triggered\n")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *arguments: object) -> None:
                del format, arguments

        return Handler
