"""Serves one file as the hub does, as fast as the system can: ``FILE SHA256 COMMIT``.

Prints its address. Only what a download of one file asks for is answered.
"""

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        """The metadata."""
        self._send(body=False)

    def do_GET(self) -> None:
        """The file, or the part that was asked for."""
        self._send(body=True)

    def _send(self, *, body: bool) -> None:
        path, digest, commit = sys.argv[1:]
        size = Path(path).stat().st_size
        if "/resolve/" not in self.path:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(size))
        self.send_header("ETag", f'"{digest}"')
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if body:
            self.wfile.flush()
            with open(path, "rb") as stream:
                self.connection.sendfile(stream, start)


def main() -> None:
    """Until it is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
