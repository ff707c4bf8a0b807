"""Bringing the answers of messages to where they were asked to go."""

from collections.abc import Mapping
from typing import Any

import httpx
import structlog

from clusterkit.clock import Clock
from clusterkit.telemetry.tracing import child_traceparent
from pipecatapp.turns.inbox import Callback, Deliver

TRY_SECONDS = 10.0
ATTEMPTS = 3
BACK_OFF_SECONDS = 1.0

log = structlog.get_logger()


def deliver_over(http: httpx.AsyncClient, clock: Clock) -> Deliver:
    """Posts answers with `http`; a receiver that stumbles is tried again after a pause on `clock`."""

    async def deliver(callback: Callback, answer: Mapping[str, Any]) -> None:
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await clock.sleep(BACK_OFF_SECONDS * 2**attempt)
            try:
                response = await _post(http, callback, answer)
            except httpx.HTTPError as error:
                problem = str(error)
                continue
            about = {"response_id": callback.response_id, "status": response.status_code}
            if response.is_success:
                log.info("message_answered", **about)
                return
            if not response.is_server_error:
                # The receiver's decision, for example because the reply came too late.
                log.warning("message_answer_refused", **about)
                return
            problem = f"status {response.status_code}"
        log.error("message_answer_lost", response_id=callback.response_id, problem=problem)

    return deliver


async def _post(http: httpx.AsyncClient, callback: Callback, answer: Mapping[str, Any]) -> httpx.Response:
    return await http.post(
        callback.url,
        json={"response_id": callback.response_id, **answer},
        headers={"authorization": f"Bearer {callback.secret}", "traceparent": child_traceparent()},
        timeout=TRY_SECONDS,
    )
