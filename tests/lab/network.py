"""Faults of the network between the hosts of one lab, made on the machine's side of the bridge.

A host's own firewall neither sees nor clears them, and the machine itself always reaches every host.
"""

from tests.lab.engine import run

HOOK = "DOCKER-USER"


class Faults:
    """The chain of one lab in the machine's packet filter."""

    def __init__(self, number: int) -> None:
        """`number` tells the labs of this machine apart."""
        self._chain = f"HEARTH-LAB-{number}"

    def install(self) -> None:
        """Make the chain, empty."""
        self.remove()
        _iptables("-N", self._chain)
        _iptables("-I", HOOK, "-j", self._chain)

    def remove(self) -> None:
        """Take the chain away, if it is there."""
        while _iptables("-D", HOOK, "-j", self._chain, check=False):
            pass
        if _iptables("-F", self._chain, check=False):
            _iptables("-X", self._chain)

    def drop(self, source: str, target: str) -> None:
        """Lose every packet from one address to another."""
        _iptables("-A", self._chain, "-s", source, "-d", target, "-j", "DROP")

    def lose(self, address: str, network: str, percent: float) -> None:
        """Lose this share of the packets between one address and the rest of its network, each way."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{percent / 100:.4f}")
        _iptables("-A", self._chain, "-s", address, "-d", network, *chance, "-j", "DROP")
        _iptables("-A", self._chain, "-s", network, "-d", address, *chance, "-j", "DROP")

    def heal(self) -> None:
        """Forget every fault."""
        _iptables("-F", self._chain)


def _iptables(*arguments: str, check: bool = True) -> bool:
    return run(["iptables", "-w", "10", *arguments], check=check).returncode == 0
