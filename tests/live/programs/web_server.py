"""A web service as there are many: every request is parsed, validated with regular expressions, and answered in JSON."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAIL = re.compile(r"[A-Za-z0-9.+_-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
PEOPLE = json.dumps([{"id": i, "mail": f"person.{i}@example.org", "tags": ["a", "b", str(i)]} for i in range(2000)])


class Handler(BaseHTTPRequestHandler):
    """Answers everything with the people whose mail address is one."""

    def do_GET(self) -> None:
        people = json.loads(PEOPLE)
        valid = [person for person in people if MAIL.fullmatch(person["mail"])]
        body = json.dumps(valid).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
