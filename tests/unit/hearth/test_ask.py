"""`hearth ask` against a scripted gateway: answers, failures and interruptions."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.http.tokens import ensure_token
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from clusterkit.testing import ScriptedAnswer, ScriptedLlm, scripted_llm
from hearth.ask import AskError, ask
from hearth.control import NotRunningError
from hearth.house import House, find_house
from hearth.lock import sole_holder


class Asking:
    """A house whose gateway follows a script."""

    def __init__(self, house: House, registry: LocalRegistry, stack: AsyncExitStack) -> None:
        self.house, self._registry, self._stack = house, registry, stack

    async def gateway_says(self, *turns: ScriptedAnswer) -> ScriptedLlm:
        model = self._stack.enter_context(scripted_llm(turns))
        await self._announce(model.address, model.port)
        return model

    async def _announce(self, address: str, port: int) -> None:
        gateway = Instance(service="moe-gateway", id="g", address=address, port=port)
        await self._registry.register(gateway, ttl=60)
        await self._registry.heartbeat("g", healthy=True)

    async def gateway_is_away(self) -> None:
        await self._announce("127.0.0.1", 9)

    async def ask(self, text: str = "hi", *, timeout: float = 20) -> str:
        return await ask(self.house, text, model="hearth", echo=False, timeout=timeout)


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    house = find_house(tmp_path)
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_holder(house.lock_file))
        registry = await stack.enter_async_context(LocalRegistry(house.registry_file, SystemClock()))
        yield Asking(house, registry, stack)


async def test_the_pieces_of_an_answer_are_joined(asking: Asking) -> None:
    await asking.gateway_says(ScriptedAnswer(text="The capital of France is Paris."))
    assert await asking.ask() == "The capital of France is Paris."


async def test_the_gateways_token_is_presented(asking: Asking) -> None:
    model = await asking.gateway_says(ScriptedAnswer(text="yes"))
    await asking.ask()
    token = ensure_token(asking.house.home / "secrets", "moe_gateway")
    assert model.requests()[0]["headers"]["authorization"] == f"Bearer {token}"


async def test_a_refusal_is_told_in_the_gateways_own_words(asking: Asking) -> None:
    await asking.gateway_says(ScriptedAnswer(status=503, retry_after=1))
    with pytest.raises(AskError, match="scripted failure"):
        await asking.ask()


async def test_a_stream_that_is_cut_is_an_error_and_no_answer(asking: Asking) -> None:
    await asking.gateway_says(ScriptedAnswer(text="one two three four", cut_after=2))
    with pytest.raises(AskError, match=r"incomplete|closed"):
        await asking.ask()


async def test_a_silent_gateway_is_given_up(asking: Asking) -> None:
    await asking.gateway_says(ScriptedAnswer(text="late", stall_seconds=60))
    with pytest.raises(AskError, match=r"did not answer within 0\.2 s"):
        await asking.ask(timeout=0.2)


async def test_a_gateway_that_cannot_be_reached_is_named(asking: Asking) -> None:
    await asking.gateway_is_away()
    with pytest.raises(AskError, match=r"http://127\.0\.0\.1:9/v1"):
        await asking.ask()


async def test_without_a_running_hearth_the_remedy_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="hearth up"):
        await ask(find_house(tmp_path), "hi", model="hearth", echo=False, timeout=1)
