"""`python -m spelling`: serve on a free port of the loopback interface, and print that port first.

`GET /suggest?word=WORD` answers with a JSON list. Requests are served one after another, in the main thread.
"""

from __future__ import annotations

import builtins
import json
import keyword
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from spelling.suggest import suggest

VOCABULARY = sorted({*keyword.kwlist, *dir(builtins), *dir(str), *dir(dict)})
LONGEST_WORD = 64


class Handler(BaseHTTPRequestHandler):
    """One request: 200 with the suggestions, 400 without a usable word, 404 for any other path."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        address = urlsplit(self.path)
        word = parse_qs(address.query).get("word", [""])[0]
        if address.path != "/suggest":
            self._answer(404, {"error": "the only path is /suggest"})
        elif not 0 < len(word) <= LONGEST_WORD:
            self._answer(400, {"error": f"word= must have 1 to {LONGEST_WORD} characters"})
        else:
            self._answer(200, suggest(word, VOCABULARY))

    def log_message(self, format: str, *args: object) -> None:
        """Keep no access log."""

    def _answer(self, status: int, data: object) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until killed."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
