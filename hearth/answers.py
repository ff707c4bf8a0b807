"""What `hearth doctor` asks of the whole, on one machine and in a cluster alike."""

from collections.abc import AsyncIterator, Awaitable, Callable

from clusterkit.errors import HearthError
from hearth.ask import Front, ask_front
from hearth.findings import Finding, broken, good

ANSWER_SECONDS = 60.0
QUESTIONS = (("hearth", "what is 6 * 7", "42"), ("main", "Say hello.", ""))  #: model, question, answer


async def check_answers(find: Callable[[], Awaitable[Front]]) -> AsyncIterator[Finding]:
    """Whether agent and main expert answer at the gateway that `find` finds."""
    for model, question, expected in QUESTIONS:
        part = f"an answer from {model}"
        try:
            answer = await ask_front(await find(), question, model=model, echo=False, timeout=ANSWER_SECONDS)
        except HearthError as error:
            yield broken(part, str(error), "hearth status; hearth logs")
            continue
        if answer.strip() and expected in answer:
            yield good(part, f"{question!r} was answered")
        else:
            yield broken(part, f"{question!r} was answered {answer!r}", "hearth logs")
