"""Writes to Consul again and again, and measures the longest time in which no write was accepted."""

import json
import subprocess
from types import TracebackType

from tests.lab.engine import LabError
from tests.lab.site import TLS, Site

#: Ends when its input is closed. One connection per write: what is measured is the cluster, not a socket.
SCRIPT = """
import json, select, ssl, sys, time, urllib.request
r = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=r["ca"])
accepted = refused = 0
last = began = time.monotonic()
gap = 0.0
while not select.select([sys.stdin], [], [], 0.05)[0]:
    q = urllib.request.Request(r["url"], method="PUT", data=b"x", headers=r["headers"])
    try:
        ok = urllib.request.urlopen(q, timeout=2, context=context).read() == b"true"
    except OSError:
        ok = False
    now = time.monotonic()
    if ok:
        accepted, gap, last = accepted + 1, max(gap, now - last), now
    else:
        refused += 1
gap = max(gap, time.monotonic() - last)
print(json.dumps({"accepted": accepted, "refused": refused, "gap": gap}))
"""


class Writer:
    """A steady writer until the block is left; `gap` is then the longest time without a success."""

    def __init__(self, site: Site, host: str) -> None:
        """`host` must live through the fault."""
        self._site = site
        self._host = site.lab.host(host)
        self.gap = 0.0
        self.accepted = 0
        self.refused = 0

    def __enter__(self) -> "Writer":
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", self._host.container, "python3", "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        request = {
            "url": f"https://127.0.0.1:{self._site.variables['consul_https_port']}/v1/kv/hearth/lab-writer",
            "headers": {"X-Consul-Token": self._site.token("consul")},
            "ca": TLS,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            said, _ = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        if error is None:
            if not said:
                raise LabError(f"the writer on {self._host.name} ended early")
            seen = json.loads(said)
            self.gap, self.accepted, self.refused = seen["gap"], seen["accepted"], seen["refused"]
