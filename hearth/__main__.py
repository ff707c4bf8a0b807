"""The `hearth` command.

What only one command needs is imported by that command, so that the others answer at once.
"""

import sys
from importlib.metadata import version as package_version
from typing import Annotated, Any

import typer

from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from hearth import ask as asking
from hearth import status
from hearth.console import (
    EXIT_FAILED,
    cluster_settings,
    console,
    explain,
    here,
    print_json,
    refuse_in_cluster,
    wait_for,
)
from hearth.control import Control
from hearth.settings import HearthSettings

app = typer.Typer(
    name="hearth",
    help="A private AI household, on this machine or on a cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
model_app = typer.Typer(help="Which models the experts use.", no_args_is_help=True)
app.add_typer(model_app, name="model")

AsJson = Annotated[bool, typer.Option("--json", help="Print data for programs.")]
MODELS_IN_CLUSTER = (
    "the experts' models are in group_vars/all/models.yaml, see `hearth status` for the active ones"
)

Expert = Annotated[str, typer.Option("--expert", help="Which expert it is for.")]


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """A private AI household, on this machine or on a cluster."""
    if version:
        console.print(package_version("hearth"))
        raise typer.Exit


@app.command("up")
def up_command(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once everything is healthy.")
    ] = False,
) -> None:
    """Start everything; without --detach, stay until Ctrl-C."""
    from hearth import up

    refuse_in_cluster("up", "use: ansible-playbook playbook.yaml")
    timeout = load_settings(HearthSettings).up_timeout_s
    wait_for((up.up_detached if detach else up.up_in_foreground)(here(), timeout))


@app.command("down")
def down_command() -> None:
    """Stop everything."""
    refuse_in_cluster("down", "use: nomad job stop JOB")
    stopped = wait_for(Control(here()).stop())
    console.print("Hearth has stopped." if stopped else "Hearth was not running.")


@app.command("status")
def status_command(as_json: AsJson = False) -> None:
    """What runs and how it is; exit status 1 when something is not healthy, 3 when nothing runs."""
    settings = cluster_settings()
    healthy = _cluster_status(settings, as_json) if settings else _house_status(as_json)
    if not healthy:
        raise typer.Exit(EXIT_FAILED)


def _house_status(as_json: bool) -> bool:
    state = wait_for(Control(here()).snapshot())
    data = status.as_data(state)
    if as_json:
        print_json(data)
    else:
        status.print_status(data)
    return state.healthy


def _cluster_status(settings: HearthSettings, as_json: bool) -> bool:
    from hearth import cluster_status

    state = wait_for(cluster_status.read_state(settings))
    if as_json:
        print_json(cluster_status.as_data(state))
    else:
        cluster_status.print_status(state)
    return state.healthy


@app.command("logs")
def logs_command(
    service: Annotated[str | None, typer.Argument(help="One service; all when left out.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 30,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the services wrote."""
    settings = cluster_settings()
    if settings is not None:
        from hearth import cluster_status

        wait_for(cluster_status.show_logs(settings, service, lines, follow, as_json))
        return
    wait_for(status.show_logs(here(), service, lines, follow, as_json))


@app.command("ask")
def ask_command(
    text: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[str, typer.Option("--model", "-m", help="`hearth` is the agent.")] = "hearth",
    stream: Annotated[bool, typer.Option(help="Print the answer while it is made.")] = True,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait at most.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Ask the agent, or one expert, a question."""
    streamed = stream and not as_json
    how: dict[str, Any] = {"model": model, "echo": streamed, "timeout": timeout}
    settings = cluster_settings()
    if settings is None:
        answer = wait_for(asking.ask(here(), text, **how))
    else:
        from hearth.cluster import ask_cluster

        answer = wait_for(ask_cluster(settings, text, **how))
    if as_json:
        print_json({"model": model, "answer": answer})
    else:
        console.out("" if streamed else answer, highlight=False)


@app.command("doctor")
def doctor_command(as_json: AsJson = False) -> None:
    """Check every part and say how to mend what is broken; exit status 1 when something is."""
    from hearth import cluster_doctor, doctor
    from hearth.findings import Verdict, print_findings

    settings = cluster_settings()
    findings = wait_for(cluster_doctor.examine(settings) if settings else doctor.examine(here()))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_findings(findings)
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@model_app.command("list")
def model_list_command(as_json: AsJson = False) -> None:
    """Every expert's models, in the order in which they are tried."""
    from hearth import models

    refuse_in_cluster("model list", MODELS_IN_CLUSTER)
    rows = wait_for(models.list_models(here()))
    if as_json:
        print_json(rows)
    else:
        models.print_models(rows)


@model_app.command("add")
def model_add_command(
    source: Annotated[str, typer.Argument(help="A GGUF file, or an http(s) address of one.")],
    expert: Expert = "main",
    sha256: Annotated[str | None, typer.Option(help="What the file's SHA-256 must be.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; from the file name by default.")] = None,
) -> None:
    """Make your own model the first choice of an expert."""
    from hearth import models

    refuse_in_cluster("model add", MODELS_IN_CLUSTER)
    wait_for(models.add(here(), source, expert, sha256, name))


@model_app.command("remove")
def model_remove_command(
    name: Annotated[str, typer.Argument(help="The model's name, as `hearth model list` shows it.")],
    expert: Expert = "main",
) -> None:
    """Take your own model off an expert's list."""
    from hearth import models

    refuse_in_cluster("model remove", MODELS_IN_CLUSTER)
    wait_for(models.remove(here(), name, expert))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except HearthError as error:
        sys.exit(explain(error))


if __name__ == "__main__":
    main()
