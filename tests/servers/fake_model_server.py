"""A model server without a model: `python fake_model_server.py MODEL_FILE`.

What it does is written in the model file at the moment it starts: `ok` serves, `broken` ends with an
error, `mute` never gets ready, `speechless` gets ready and answers no question, `fatal` dies of the first,
`slow` takes until the file `MODEL_FILE.go` is there to get ready.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAUSE_SECONDS = 0.02


class Handler(BaseHTTPRequestHandler):
    """Answers every path with 200 and, as JSON, its process and its behaviour."""

    behaviour = ""

    def do_GET(self) -> None:
        """The health check."""
        self._answer(200)

    def do_POST(self) -> None:
        """A question."""
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        if self.behaviour == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        self._answer(500 if self.behaviour == "speechless" else 200, streamed=asked.get("stream", False))

    def _answer(self, status: int, *, streamed: bool = False) -> None:
        body = json.dumps({"pid": os.getpid(), "behaviour": self.behaviour}).encode()
        self.send_response(status)
        if streamed:
            self.send_header("content-type", "text/event-stream")
            body = b"data: " + body + b"\n\n"
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Behave as the model file says."""
    path = Path(sys.argv[1])
    Handler.behaviour = path.read_text().strip()
    if Handler.behaviour == "broken":
        sys.exit("the tensors are upside down")
    if Handler.behaviour == "mute":
        signal.pause()
    while Handler.behaviour == "slow" and not path.with_suffix(".gguf.go").exists():
        threading.Event().wait(PAUSE_SECONDS)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(json.dumps({"listening": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
