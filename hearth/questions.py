"""What `hearth doctor` asks of the whole, in every place alike."""

from collections.abc import AsyncIterator, Awaitable, Callable

from clusterkit.errors import HearthError
from hearth.asking import ask_gateway
from hearth.findings import Finding, broken, good
from hearth.place import FrontDoor

ANSWER_SECONDS = 60.0
QUESTIONS = (("hearth", "what is 6 * 7", "42"), ("main", "Say hello.", ""))  #: model, question, answer


async def check_answers(find_door: Callable[[], Awaitable[FrontDoor]]) -> AsyncIterator[Finding]:
    """Whether agent and main expert answer at the gateway that `find_door` finds."""
    for model, question, expected in QUESTIONS:
        part = f"an answer from {model}"
        try:
            answer = await ask_gateway(await find_door(), question, model=model, timeout=ANSWER_SECONDS)
        except HearthError as error:
            yield broken(part, str(error), "hearth status; hearth logs")
            continue
        if answer.strip() and expected in answer:
            yield good(part, f"{question!r} was answered")
        else:
            yield broken(part, f"{question!r} was answered {answer!r}", "hearth logs")
