"""`python -m clusterkit.cluster.deploy COMMAND`, on a host of the cluster: a request as JSON on stdin.

The answer is JSON as well: `changed` (in `plan`: whether `apply` would change something), `lines` that say
what, and `problem`, lines that say why the job is not what its file says; empty when it is. None of them
holds a secret.
"""

import argparse
import asyncio
import json
import sys
from typing import TypedDict

from clusterkit.clock import SystemClock
from clusterkit.cluster.consul import Consul
from clusterkit.cluster.deploy.deployer import Deployer
from clusterkit.cluster.deploy.request import DeploymentError, DeploymentRequest, read_request
from clusterkit.cluster.nomad import Nomad
from clusterkit.errors import HearthError


class Answer(TypedDict):
    """What is printed."""

    changed: bool
    lines: list[str]
    problem: list[str]


async def answer(command: str, request: DeploymentRequest) -> Answer:
    """Do what `command` says, and tell what came of it."""
    async with Nomad(request.nomad.access) as nomad, Consul(request.consul.access) as consul:
        deployer = Deployer(request, nomad, consul, SystemClock())
        actions = {"plan": deployer.plan, "apply": deployer.apply, "verify": deployer.verify}
        problem = ""
        try:
            await actions[command]()
        except DeploymentError as error:
            problem = str(error)
        except HearthError as error:
            problem = f"{request.job}: {error}"
    return Answer(changed=deployer.changed, lines=deployer.lines, problem=problem.splitlines())


def main() -> None:
    """Ends with 0 whenever there is an answer."""
    parser = argparse.ArgumentParser(prog="clusterkit.cluster.deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("plan", help="say what apply would change; only reads")
    commands.add_parser(
        "apply", help="submit the job where it differs or is dead, and wait until it is healthy"
    )
    commands.add_parser("verify", help="wait until the job is healthy")
    command = parser.parse_args().command
    try:
        said = asyncio.run(answer(command, read_request(sys.stdin.read())))
    except HearthError as error:
        said = Answer(changed=False, lines=[], problem=str(error).splitlines())
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
