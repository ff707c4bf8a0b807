"""Where things are on one machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files and folders of one Hearth on this machine."""

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


def find_layout(home: Path) -> Layout:
    """The layout whose state is in `home`; shipped files come from the checkout, else from the wheel."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent
    shared = checkout if (checkout / "group_vars" / "all").is_dir() else package / "data"
    return Layout(home.resolve(), shared)
