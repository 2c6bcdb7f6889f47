"""A Datadog agent on loopback that only writes down what arrives: one line a request, `PATH BYTES`.

usage: fake_agent.py FILE
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INFO = {
    "version": "7.0.0",
    "endpoints": ["/v0.4/traces", "/v0.5/traces", "/telemetry/proxy/"],
    "client_drop_p0s": False,
    "config": {},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(INFO)

    def do_POST(self) -> None:
        body = self.read_body()
        with Path(sys.argv[1]).open("a", encoding="utf-8") as notes:
            # Span names and services are plain text within msgpack.
            marks = [mark for mark in ("redis", "graphiti") if mark.encode() in body]
            notes.write(f"{self.path} {len(body)} {','.join(marks)}\n")
        self.answer({"rate_by_service": {}})

    do_PUT = do_POST

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8126), Handler).serve_forever()
