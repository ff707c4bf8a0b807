"""A model server without a model: `python fake_model_server.py MODEL_FILE`.

What it does is written in the model file at the moment it starts: `ok` serves, `broken` ends with an
error, `mute` never gets ready.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Answers every path with 200."""

    def do_GET(self) -> None:
        """The health check."""
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Behave as the model file says."""
    behaviour = Path(sys.argv[1]).read_text()
    if behaviour == "broken":
        sys.exit("the tensors are upside down")
    if behaviour == "mute":
        signal.pause()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(json.dumps({"listening": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
