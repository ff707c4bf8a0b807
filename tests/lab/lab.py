"""A lab: its network, its hosts, its folder with key, inventory and secrets, and the way to get rid of it."""

import contextlib
import json
import os
import secrets
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import yaml

from tests.lab.disks import make_disk, remove_disks
from tests.lab.engine import CACHE, LabError, docker, ensure_engine, locked, run
from tests.lab.host import Host, dump, files_archive
from tests.lab.image import ensure_image
from tests.lab.network import Faults
from tests.lab.playbook_run import ROOT, PlaybookRun, run_playbook

LABS = CACHE / "labs"
LABEL = "hearth-lab"
KEPT = "kept"
NETWORKS = range(0, 250)
FIRST_HOST = 10
MOVED_BY = 100  #: a host whose address changes gets the old one plus this

#: Flags under which Debian's systemd boots as in a machine of its own.
BOOT_FLAGS = (
    *("--cgroupns", "private"),
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--stop-signal", "SIGRTMIN+3"),
)

#: What a lab's hosts are told beyond a site's own settings: they share one machine's memory and bring
#: programs that this machine built.
LAB_VARS: dict[str, Any] = {
    "consul_install_method": "go",
    "nomad_install_method": "go",
    "nomad_client_memory_total_mb": 3000,
    "preflight_checks_air_gapped": True,
}


@dataclass
class Lab:
    """Hosts that live until `down`; as a context manager, until the block is left.

    `hosts` become n1, n2, …; the first `controllers` of them (all by default) are servers, the others
    workers. `disks` gives folders of every host a disk of so many MB. A lab ends with its owner, this process
    (`process_owner()`) unless another is named; one whose owner is `KEPT` stays until `down`.
    """

    name: str
    hosts: int = 3
    controllers: int | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    disks: dict[str, int] = field(default_factory=dict)
    memory: str | None = None
    owner: str | None = None
    number: int = -1
    machines: dict[str, Host] = field(default_factory=dict)

    # --- life --------------------------------------------------------------------------------------

    def __enter__(self) -> "Lab":
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> "Lab":
        """Make the network and boot all hosts; leaves nothing behind when that fails."""
        ensure_engine()
        sweep()
        if self.name in _names():
            raise LabError(f"a lab {self.name!r} is there already: python -m tests.lab down {self.name}")
        try:
            image = ensure_image()
            self._make_folder()
            self._make_network()
            Faults(self.number).install()
            controllers = self.hosts if self.controllers is None else self.controllers
            for number in range(1, self.hosts + 1):
                self._create(number, "controllers" if number <= controllers else "workers", image)
            self._start(self.machines.values())
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Remove everything that belongs to this lab; nothing happens when it is gone."""
        _remove(self.name, self.folder)
        self.machines.clear()

    @classmethod
    def load(cls, name: str) -> "Lab":
        """A lab that is up, made by another process."""
        state_file = LABS / name / "lab.json"
        if not state_file.is_file():
            raise LabError(f"there is no lab {name!r} (known: {', '.join(_names()) or 'none'})")
        state = json.loads(state_file.read_text())
        machines = {host["name"]: Host(**host) for host in state.pop("machines")}
        return cls(**state, machines=machines)

    # --- hosts -------------------------------------------------------------------------------------

    def host(self, name: str) -> Host:
        """The host of this name."""
        if name not in self.machines:
            raise LabError(f"lab {self.name} has no host {name!r} (known: {', '.join(self.machines)})")
        return self.machines[name]

    def add_host(self, group: str = "workers") -> Host:
        """Boot one more, blank host."""
        number = max((host.number for host in self.machines.values()), default=0) + 1
        host = self._create(number, group, ensure_image())
        self._start([host])
        return host

    def forget_host(self, name: str) -> None:
        """Take a host away for good, from the inventory too."""
        docker("rm", "--force", "--volumes", self.host(name).container)
        remove_disks(self.folder / "disks", f"{name}-")
        for key in self.folder.glob(f"{name}.host-key*"):
            key.unlink()
        del self.machines[name]
        self._save()

    def readdress(self, name: str) -> str:
        """Give a host that is off another address for its next boot."""
        host = self.host(name)
        if host.runs:
            raise LabError(f"{name} runs; power it off before it gets another address")
        last = int(host.address.rpartition(".")[2])
        host.address = self._address(last + MOVED_BY if last < MOVED_BY else last - MOVED_BY)
        docker("network", "disconnect", self.network, host.container)
        docker("network", "connect", "--ip", host.address, self.network, host.container)
        self._save()
        return host.address

    def tell(self, variables: Mapping[str, Any]) -> None:
        """Set more variables, from the next run of a playbook on."""
        self.variables |= variables
        self._save()

    # --- network -----------------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """Let nothing pass between two hosts."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, source: str, target: str) -> None:
        """Lose what `source` sends to `target`; the other way stays open."""
        Faults(self.number).drop(self.host(source).address, self.host(target).address)

    def isolate(self, name: str) -> None:
        """Cut a host from all others."""
        for other in self.machines:
            if other != name:
                self.cut(name, other)

    def loss(self, name: str, percent: float) -> None:
        """Lose this share of the packets between one host and all others, each way."""
        Faults(self.number).lose(self.host(name).address, f"{self._address(0)}/24", percent)

    def heal_network(self) -> None:
        """End every cut and loss."""
        Faults(self.number).heal()

    # --- Ansible -----------------------------------------------------------------------------------

    def ansible(
        self,
        playbook: str,
        *arguments: str,
        limit: str | None = None,
        extra: Mapping[str, Any] | None = None,
        timeout: float = 1800,
        echo: bool = False,
    ) -> PlaybookRun:
        """Run a playbook of the repository on this lab's hosts."""
        argv = [*self.inventory_arguments, playbook, *arguments]
        argv += ["--limit", limit] if limit else []
        argv += ["--extra-vars", json.dumps(dict(extra))] if extra else []
        return run_playbook(
            argv, self.environment, log_file=self.folder / "ansible.log", timeout=timeout, echo=echo
        )

    @property
    def inventory_arguments(self) -> list[str]:
        """The repository's inventory first, for its group_vars, then the lab's.

        The lab's variables come as extra ones: no place of an inventory wins over the group_vars beside
        the playbook on localhost, and the secrets of a lab must never mix with a site's.
        """
        inventories = ["-i", str(ROOT / "inventory.yaml"), "-i", str(self.inventory_file)]
        return [*inventories, "-e", f"@{self.folder / 'variables.yaml'}"]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for programs that run playbooks on this lab."""
        password = str(self.folder / "vault-password")
        return {"HEARTH_VAULT_PASSWORD_FILE": password, "ANSIBLE_VAULT_PASSWORD_FILE": password}

    # --- places ------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where the lab keeps its key, inventory, secrets and state."""
        return LABS / self.name

    @property
    def inventory_file(self) -> Path:
        """The inventory of this lab's hosts."""
        return self.folder / "inventory.yaml"

    @property
    def network(self) -> str:
        """The name of the engine's network."""
        return f"{LABEL}-{self.name}"

    @property
    def gateway(self) -> str:
        """The address by which the hosts reach this machine."""
        return self._address(1)

    def _address(self, last: int) -> str:
        return f"10.77.{self.number}.{last}"

    # --- making ------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "controller").mkdir(mode=0o700)
        _keygen(self.folder / "key", f"{LABEL}-{self.name}")
        password = self.folder / "vault-password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16) + "\n")

    def _make_network(self) -> None:
        with locked("network"):
            taken = _taken_numbers()
            for number in NETWORKS:
                if number in taken:
                    continue
                self.number = number
                made = docker(
                    *(
                        "network",
                        "create",
                        "--subnet",
                        f"{self._address(0)}/24",
                        *self._labels(),
                        self.network,
                    ),
                    check=False,
                )
                if made.returncode == 0:
                    return
                if "overlap" not in made.stderr:
                    raise LabError(f"the engine made no network {self.network}: {made.stderr.strip()}")
        raise LabError("no free network 10.77.x.0/24 on this machine")

    def _labels(self) -> list[str]:
        return [
            *("--label", f"{LABEL}={self.name}"),
            *("--label", f"{LABEL}-owner={self.owner or process_owner()}"),
            *("--label", f"{LABEL}-number={self.number}"),
        ]

    def _create(self, number: int, group: str, image: str) -> Host:
        name = f"n{number}"
        host = Host(name, f"{self.network}-{name}", self._address(FIRST_HOST + number), group, number)
        binds: list[str] = []
        for index, (path, megabytes) in enumerate(self.disks.items()):
            place = make_disk(self.folder / "disks", f"{name}-{index}", megabytes)
            host.disks[path] = str(place)
            binds += ["--volume", f"{place}:{path}"]
        bound = ["--memory", self.memory] if self.memory else []
        docker(
            *(
                "create",
                "--name",
                host.container,
                "--hostname",
                name,
                *self._labels(),
                *BOOT_FLAGS,
                *bound,
                *binds,
            ),
            *("--network", self.network, "--ip", host.address, image, "/sbin/init"),
        )
        host_key = self.folder / f"{name}.host-key"
        _keygen(host_key, name)
        files = {
            "etc/machine-id": (uuid.uuid4().hex + "\n", 0o444),
            "etc/ssh/ssh_host_ed25519_key": (host_key.read_text(), 0o600),
            "etc/ssh/ssh_host_ed25519_key.pub": (host_key.with_suffix(".host-key.pub").read_text(), 0o644),
            "root/.ssh/authorized_keys": ((self.folder / "key.pub").read_text(), 0o600),
        }
        docker("cp", "-", f"{host.container}:/", given=files_archive(files))
        self.machines[name] = host
        self._save()
        return host

    def _start(self, hosts: Iterable[Host]) -> None:
        started = list(hosts)
        for host in started:
            host.boot(wait=False)
        for host in started:
            host.wait_until_booted()

    # --- files -------------------------------------------------------------------------------------

    def _save(self) -> None:
        state = {**vars(self), "machines": [host.as_dict() for host in self.machines.values()]}
        (self.folder / "lab.json").write_text(dump(state))
        known = [
            f"{host.address} {' '.join((self.folder / f'{name}.host-key.pub').read_text().split()[:2])}\n"
            for name, host in self.machines.items()
        ]
        (self.folder / "known_hosts").write_text("".join(known))
        self.inventory_file.write_text(yaml.safe_dump(self._inventory(), sort_keys=False))
        variables = {"controller_dir": str(self.folder / "controller"), **LAB_VARS, **self.variables}
        (self.folder / "variables.yaml").write_text(yaml.safe_dump(variables, sort_keys=False))

    def _inventory(self) -> dict[str, Any]:
        groups: dict[str, Any] = {"controllers": {"hosts": {}}, "workers": {"hosts": {}}}
        for name, host in self.machines.items():
            groups[host.group]["hosts"][name] = {"ansible_host": host.address}
        known_hosts = self.folder / "known_hosts"
        shared = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": (
                f"-o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes -o ConnectTimeout=10"
                " -o IdentitiesOnly=yes -o ServerAliveInterval=5 -o ServerAliveCountMax=6"
            ),
            "ansible_control_path_dir": str(self.folder / "cp"),
        }
        return {"all": {"vars": shared, "children": groups}}


# --- all labs of this machine ----------------------------------------------------------------------


def sweep() -> list[str]:
    """Remove labs whose process has ended without removing them; says which."""
    removed = []
    for name, owner in _owners().items():
        if owner != KEPT and not _alive(owner):
            _remove(name, LABS / name)
            removed.append(name)
    return removed


def list_labs() -> list[str]:
    """The names of all labs that are up."""
    return sorted(_owners())


def own_name(name: str) -> str:
    """A name for this process alone: labs of two test runs on one machine live beside each other."""
    return f"{name}-{os.getpid()}"


def process_owner() -> str:
    """This process, told apart from a later one of the same number."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def _owners() -> dict[str, str]:
    owners: dict[str, str] = {}
    form = f'{{{{.Label "{LABEL}"}}}} {{{{.Label "{LABEL}-owner"}}}}'
    for listed in (
        docker("network", "ls", "--filter", f"label={LABEL}", "--format", form),
        docker("ps", "--all", "--filter", f"label={LABEL}", "--format", form),
    ):
        owners |= dict(line.split() for line in listed.stdout.splitlines() if " " in line.strip())
    return owners


def _alive(owner: str) -> bool:
    pid, _, created = owner.partition(":")
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    return False


def _names() -> list[str]:
    return list_labs()


def _taken_numbers() -> set[int]:
    form = f'{{{{.Label "{LABEL}-number"}}}}'
    listed = docker("network", "ls", "--filter", f"label={LABEL}", "--format", form).stdout
    return {int(line) for line in listed.split()}


def _remove(name: str, folder: Path) -> None:
    for socket in (folder / "cp").glob("*"):
        run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "lab"], check=False)
    label = f"label={LABEL}={name}"
    containers = docker("ps", "--all", "--quiet", "--filter", label).stdout.split()
    if containers:
        docker("rm", "--force", "--volumes", *containers, timeout=120)
    numbers = docker(
        "network", "ls", "--filter", label, "--format", f'{{{{.Label "{LABEL}-number"}}}}'
    ).stdout.split()
    for number in numbers:
        Faults(int(number)).remove()
    networks = docker("network", "ls", "--quiet", "--filter", label).stdout.split()
    if networks:
        docker("network", "rm", *networks)
    remove_disks(folder / "disks")
    shutil.rmtree(folder, ignore_errors=True)


def _keygen(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def ssh_argv(lab: Lab, host: str, command: Sequence[str] = ()) -> list[str]:
    """The command line that opens a shell on a host over ssh."""
    options = [f"-oUserKnownHostsFile={lab.folder / 'known_hosts'}", "-oStrictHostKeyChecking=yes"]
    return ["ssh", "-i", str(lab.folder / "key"), *options, f"root@{lab.host(host).address}", *command]
