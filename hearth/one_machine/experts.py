"""Tells the running model servers of this machine what a person wants of them."""

import asyncio
from typing import Any

import orjson

from clusterkit.errors import HearthError
from clusterkit.http.tokens import ensure_token
from clusterkit.proxy.exchange import Deadlines, UpstreamRequest
from clusterkit.proxy.upstream import UpstreamPool
from hearth.asking import problem_of
from hearth.one_machine.control import Control
from hearth.one_machine.layout import Layout

SERVICE = "llama_expert"
ANSWER_SECONDS = 120.0  #: a large model's file may have to be read whole, to check its hash


class ExpertsError(HearthError):
    """The model servers did not do as they were told; the message is what they said."""

    code = "experts_refused"


class ExpertsNotStartedError(ExpertsError):
    """The model servers are not there yet."""

    code = "experts_not_started"


async def command_experts(layout: Layout, path: str) -> Any:
    """POST to `path` of the service that runs the model servers; returns its answer.

    Raises `NotRunningError`, `ExpertsError`, `UpstreamError`.
    """
    announced = (await Control(layout).state()).of(SERVICE)
    if not announced:
        raise ExpertsNotStartedError(f"{SERVICE} has not started yet; see: hearth status")
    token = await asyncio.to_thread(ensure_token, layout.home / "secrets", SERVICE)
    request = UpstreamRequest(
        host=announced[0].address,
        port=announced[0].port,
        method="POST",
        target=path.encode(),
        headers=((b"authorization", b"Bearer " + token.encode()),),
    )
    pool = UpstreamPool(Deadlines(connect=5.0, first_byte=ANSWER_SECONDS, idle=ANSWER_SECONDS))
    try:
        response = await pool.request(request)
        body = await response.read_all()
    finally:
        await pool.close()
    if response.status >= 400:
        raise ExpertsError(problem_of(body) or f"{path}: {SERVICE} answered {response.status}")
    return orjson.loads(body)
