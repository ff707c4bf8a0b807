"""Which place the command is about: decided once, here."""

from pathlib import Path

from clusterkit.config.environment import DEFAULT_HOME, variables
from hearth.one_machine.layout import find_layout
from hearth.one_machine.place import OneMachine
from hearth.place import Place

PREFIX = "HEARTH_"


def choose_place() -> Place:
    """The place that the environment names. Raises `SettingsError`."""
    values = variables(PREFIX)
    if values.keys() <= {"HOME", "GROW"}:
        # Nothing else is set that could be wrong, and the class that would check takes longer than an answer.
        # Whether the brain grows is read by what starts Hearth alone, which checks it.
        return OneMachine(find_layout(Path(values.get("HOME", DEFAULT_HOME))))

    from clusterkit.config.settings import load_settings
    from hearth.settings import HearthSettings

    settings = load_settings(HearthSettings)
    if settings.consul_url is None:
        return OneMachine(find_layout(settings.home))

    from hearth.cluster.place import ClusterPlace

    return ClusterPlace(settings)
