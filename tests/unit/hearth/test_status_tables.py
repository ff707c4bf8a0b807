"""What `hearth status` prints where no terminal says how wide it is."""

import json
import subprocess
import sys
from typing import Any

URL = "http://a-host-with-a-rather-long-name.in-a-network-with-an-even-longer-one.example.org:8080"
STATUS: dict[str, Any] = {
    "services": [
        {
            "name": "moe_gateway",
            "state": "running",
            "pid": 1,
            "restarts": 0,
            "healthy": False,
            "detail": "the registry has not answered since this service was started by the supervisor",
            "urls": [URL],
        }
    ],
    "experts": {},
}


def test_in_a_pipe_nothing_is_folded() -> None:
    told = "import json, sys; from hearth.status import print_status; print_status(json.load(sys.stdin))"
    done = subprocess.run(
        [sys.executable, "-c", told], input=json.dumps(STATUS), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    [row] = [line for line in done.stdout.splitlines() if "moe_gateway" in line]
    assert URL in row
    assert STATUS["services"][0]["detail"] in row
