"""Which programs make up Hearth on one machine, and with what they are started."""

import sys
from collections.abc import Mapping

from clusterkit.ports.jobs import JobSpec
from hearth.one_machine.layout import Layout

SERVICES = ("llama_expert", "moe_gateway", "pipecatapp")  #: in the order in which they come up
INSTANCE_ID = "local"  #: of every service: one of each runs here, and a restarted one replaces itself


def job_specs(layout: Layout, environment: Mapping[str, str]) -> tuple[JobSpec, ...]:
    """The services as programs to run. Variables that a person has set win over ours."""
    variables: dict[str, str] = {}
    for service in SERVICES:
        variables[f"{service}_home".upper()] = str(layout.home)
        variables[f"{service}_instance_id".upper()] = INSTANCE_ID
    for service in ("llama_expert", "moe_gateway"):
        variables[f"{service}_models_file".upper()] = str(layout.models_file)
    variables["LLAMA_EXPERT_OWN_MODELS_FILE"] = str(layout.own_models_file)
    variables["PIPECATAPP_WORKFLOWS_DIR"] = str(layout.workflows_dir)
    # Spinning OpenMP threads slow a shared machine down more than they gain.
    variables["OMP_WAIT_POLICY"] = "passive"
    everything = {**variables, **environment}
    return tuple(
        JobSpec(name=service, command=(sys.executable, "-m", service), environment=everything)
        for service in SERVICES
    )
