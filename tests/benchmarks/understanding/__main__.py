"""`python -m tests.benchmarks.understanding [--model FILE] [--half report] [--every N]`: prints the figures.

A whole Hearth is started for it; each message is a conversation of its own through the agent's API, and what
the agent did is read from its log of actions.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from clusterkit.http.tokens import ensure_token
from tests.benchmarks.understanding.report import Outcome, report
from tests.benchmarks.understanding.scoring import Message, ToolCall, read_messages, score
from tests.houses import House, end_house, make_house

TOOLS = {one.tool for message in read_messages() for one in message.either if one.tool is not None}
ANSWER_S = 600.0  #: a small machine may take long over one message; one that takes longer counts as failed


def main(arguments: Sequence[str] = ()) -> None:
    """Ask, score, print."""
    options = _parser().parse_args(arguments)
    wanted = [one for one in read_messages() if options.half in ("both", one.half)]
    with tempfile.TemporaryDirectory() as folder:
        house = make_house(Path(folder) / "hearth")
        try:
            if options.model is not None:
                added = house.hearth("model", "add", str(options.model), "--expert", "main")
                assert added.returncode == 0, added.stderr
            started = house.hearth("up", "--detach")
            assert started.returncode == 0, started.stderr
            outcomes = [_ask(house, message) for message in wanted[:: options.every]]
        finally:
            end_house(house)
    name = options.model.name if options.model is not None else "the built-in model"
    sys.stdout.write(report(name, options.half, outcomes))
    if options.misses is not None:
        options.misses.write_text(yaml.safe_dump([one.miss() for one in outcomes if not one.is_right]))


def _ask(house: House, message: Message) -> Outcome:
    said = [{"role": who, "content": text} for who, text in message.before]
    body = {"model": "hearth", "messages": [*said, {"role": "user", "content": message.text}]}
    key = ensure_token(house.home / "secrets", "pipecatapp")
    with httpx.Client(
        base_url=house.agent, timeout=ANSWER_S, headers={"authorization": f"Bearer {key}"}
    ) as http:
        last = _events(http, 0)[1]
        began = time.monotonic()
        answer = http.post("/v1/chat/completions", json=body)
        seconds = time.monotonic() - began
        events, _ = _events(http, last)
    calls = [
        ToolCall(event["tool_name"], event["tool_parameters"] or {}, event["tool_output"])
        for event in events
        if event["action_type"] == "tool_call" and event["phase"] == "outcome"
    ]
    asked = sum(event["action_type"] == "llm_inference" and event["phase"] == "outcome" for event in events)
    failed = answer.status_code != httpx.codes.OK
    reply = answer.text if failed else answer.json()["choices"][0]["message"]["content"]
    return Outcome(message, score(message, calls, reply, TOOLS), calls, reply, asked, seconds, failed)


def _events(http: httpx.Client, after: int) -> tuple[list[dict[str, Any]], int]:
    """The actions since `after`, and the cursor behind them."""
    events: list[dict[str, Any]] = []
    while True:
        page = http.get("/api/events", params={"after": after, "limit": 1000}).raise_for_status().json()
        events, after = events + page["events"], page["next"]
        if not page["events"]:
            return events, after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.understanding", description=__doc__)
    parser.add_argument("--model", type=Path, help="GGUF file; the built-in model without it")
    parser.add_argument("--half", choices=("report", "tuning", "both"), default="report")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth message")
    parser.add_argument("--misses", type=Path, help="write what was not understood to this file")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
