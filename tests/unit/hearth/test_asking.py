"""A question to a scripted gateway: answers, failures and interruptions."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clusterkit.testing import ScriptedAnswer, ScriptedLlm, scripted_llm
from hearth.asking import AskError, ask_gateway
from hearth.place import FrontDoor
from moe_gateway.settings import GatewaySettings
from tests.servers.gateway import running_gateway
from tests.servers.raw_upstream import Exchange, raw_upstream


class Asking:
    """A front door behind which a gateway follows a script."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._door = stack, FrontDoor("http://127.0.0.1:9", "the-key")

    def gateway_says(self, *turns: ScriptedAnswer) -> ScriptedLlm:
        model = self._stack.enter_context(scripted_llm(turns))
        self._door = FrontDoor(model.url, "the-key")
        return model

    async def ask(self, text: str = "hi", *, timeout: float = 20) -> str:
        return await ask_gateway(self._door, text, model="hearth", timeout=timeout)

    async def pieces(self, text: str = "hi") -> list[str]:
        seen: list[str] = []
        await ask_gateway(self._door, text, model="hearth", timeout=20, echo=seen.append)
        return seen


@pytest.fixture
def asking() -> Iterator[Asking]:
    with ExitStack() as stack:
        yield Asking(stack)


async def test_the_pieces_of_an_answer_are_joined(asking: Asking) -> None:
    asking.gateway_says(ScriptedAnswer(text="The capital of France is Paris."))
    assert await asking.ask() == "The capital of France is Paris."


async def test_each_piece_is_shown_as_it_comes(asking: Asking) -> None:
    asking.gateway_says(ScriptedAnswer(text="one zwei drei ü"))
    assert [piece for piece in await asking.pieces() if piece] == ["one", " zwei", " drei", " ü"]


async def test_the_gateways_key_is_presented(asking: Asking) -> None:
    model = asking.gateway_says(ScriptedAnswer(text="yes"))
    await asking.ask()
    assert model.requests()[0]["headers"]["authorization"] == "Bearer the-key"


async def test_a_refusal_is_told_in_the_gateways_own_words(asking: Asking) -> None:
    asking.gateway_says(ScriptedAnswer(status=503, retry_after=1))
    with pytest.raises(AskError, match="scripted failure"):
        await asking.ask()


async def test_a_stream_that_is_cut_is_an_error_and_no_answer(asking: Asking) -> None:
    asking.gateway_says(ScriptedAnswer(text="one two three four", cut_after=2))
    with pytest.raises(AskError, match=r"incomplete|closed"):
        await asking.ask()


async def test_a_silent_gateway_is_given_up(asking: Asking) -> None:
    asking.gateway_says(ScriptedAnswer(text="late", stall_seconds=60))
    with pytest.raises(AskError, match=r"did not answer within 0\.2 s"):
        await asking.ask(timeout=0.2)


async def test_a_gateway_that_cannot_be_reached_is_named(asking: Asking) -> None:
    with pytest.raises(AskError, match=r"http://127\.0\.0\.1:9/v1"):
        await asking.ask()


async def test_a_question_that_waits_for_a_model_says_so_and_is_answered(tmp_path: Path) -> None:
    told = asyncio.Event()
    notices: list[str] = []

    async def loads_until_told(exchange: Exchange) -> None:
        await told.wait()
        await exchange.stream(
            [b'data: {"choices":[{"delta":{"content":"Hello."}}]}\n\n', b"data: [DONE]\n\n"]
        )

    def notice(text: str) -> None:
        notices.append(text)
        told.set()

    async with (
        running_gateway(GatewaySettings(home=tmp_path)) as gateway,
        raw_upstream(loads_until_told) as upstream,
    ):
        await gateway.announce(
            "expert-main", upstream.port, healthy=False, detail="toy is starting", waits=True
        )
        door = FrontDoor(gateway.url, "")
        answer = await ask_gateway(door, "hi", model="main", timeout=20, notice=notice)
    assert (answer, notices) == ("Hello.", ["waiting: toy is starting"])
