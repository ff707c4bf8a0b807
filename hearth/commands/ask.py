"""`hearth ask`."""

import asyncio
import json
import sys

import click

from hearth import asking
from hearth.commands import arguments
from hearth.place import Place
from hearth.places import choose_place


def _refuse_blank(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("the question is blank; put it in quotes, as hearth ask 'What is 6 * 7?'")
    return text


@click.command
@click.argument("text", callback=_refuse_blank)
@click.option("--model", "-m", default="hearth", show_default=True, help="`hearth` is the agent.")
@click.option(
    "--stream/--no-stream", default=True, show_default=True, help="Print the answer while it is made."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=300.0,
    show_default=True,
    help="Seconds to wait at most.",
)
@arguments.as_json
def ask(text: str, model: str, stream: bool, timeout: float, as_json: bool) -> None:
    """Ask the agent, or one expert, the question TEXT."""
    streamed = stream and not as_json
    answer = asyncio.run(_ask(choose_place(), text, model, timeout, streamed=streamed))
    if as_json:
        click.echo(json.dumps({"model": model, "answer": answer}, indent=2))
    else:
        click.echo("" if streamed else answer)


async def _ask(place: Place, text: str, model: str, timeout: float, *, streamed: bool) -> str:
    door = await place.front_door()
    if streamed:
        return await asking.ask_gateway(
            door, text, model=model, timeout=timeout, echo=_print_piece, notice=_print_notice
        )
    return await asking.ask_gateway(door, text, model=model, timeout=timeout, notice=_print_notice)


def _print_notice(text: str) -> None:
    click.secho(text, dim=True, err=True)


def _print_piece(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()
