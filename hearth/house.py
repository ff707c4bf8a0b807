"""Where things are on one machine, and which programs make up the house."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clusterkit.ports.jobs import JobSpec

SERVICES = ("llama_expert", "moe_gateway", "pipecatapp")  #: in the order in which they come up
INSTANCE_ID = "local"  #: of every service: one of each runs here, and a restarted one replaces itself


@dataclass(frozen=True)
class House:
    """The places of one Hearth on this machine."""

    home: Path  #: state of this Hearth
    shared: Path  #: what is shipped: the checkout, or the data inside the installed wheel

    @property
    def run_dir(self) -> Path:
        """What lives only as long as one `hearth up`."""
        return self.home / "run"

    @property
    def logs_dir(self) -> Path:
        """One file per service."""
        return self.home / "logs"

    @property
    def registry_file(self) -> Path:
        """The registry that all services share."""
        return self.run_dir / "registry.db"

    @property
    def control_socket(self) -> Path:
        """Where the running `hearth up` takes commands."""
        return self.run_dir / "hearth.sock"

    @property
    def lock_file(self) -> Path:
        """Held, with its process id inside, by the running `hearth up`."""
        return self.home / "hearth.lock"

    @property
    def models_dir(self) -> Path:
        """Model files of this machine."""
        return self.home / "models"

    @property
    def own_models_file(self) -> Path:
        """A person's own models, in front of the shipped lists."""
        return self.home / "hearth.toml"

    @property
    def models_file(self) -> Path:
        """The shipped expert catalogue."""
        in_checkout = self.shared / "group_vars" / "all" / "models.yaml"
        return in_checkout if in_checkout.exists() else self.shared / "models.yaml"

    @property
    def workflows_dir(self) -> Path:
        """The shipped workflows."""
        return self.shared / "workflows"


def find_house(home: Path) -> House:
    """The house whose state is in `home`; shipped files come from the checkout, else from the wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    shared = checkout if (checkout / "group_vars" / "all").is_dir() else package / "data"
    return House(home.resolve(), shared)


def job_specs(house: House, environment: Mapping[str, str]) -> tuple[JobSpec, ...]:
    """The programs of the house. Variables that a person has set win over ours."""
    told: dict[str, str] = {}
    for service in SERVICES:
        told[f"{service}_home".upper()] = str(house.home)
        told[f"{service}_instance_id".upper()] = INSTANCE_ID
    for service in ("llama_expert", "moe_gateway"):
        told[f"{service}_models_file".upper()] = str(house.models_file)
    told["LLAMA_EXPERT_OWN_MODELS_FILE"] = str(house.own_models_file)
    told["PIPECATAPP_WORKFLOWS_DIR"] = str(house.workflows_dir)
    # Spinning OpenMP threads slow a shared machine down more than they gain.
    told["OMP_WAIT_POLICY"] = "passive"
    everything = {**told, **environment}
    return tuple(
        JobSpec(name=service, command=(sys.executable, "-m", service), environment=everything)
        for service in SERVICES
    )
