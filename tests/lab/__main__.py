"""`python -m tests.lab …`: the lab for people and for Molecule."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from tests.lab.engine import LabError, ensure_engine, install_packages
from tests.lab.host import dump
from tests.lab.lab import KEPT, Lab, list_labs, ssh_argv, sweep
from tests.lab.programs import build_programs


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit status is 0, 1 for a failure, 2 for a wrong word."""
    options, rest = _parser().parse_known_args(arguments)
    try:
        return _do(options, rest)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _do(options: argparse.Namespace, rest: Sequence[str]) -> int:
    match options.command:
        case "setup":
            install_packages()
            ensure_engine()
            build_programs()
        case "up":
            _up(options)
        case "list":
            ensure_engine()
            sys.stdout.write("".join(f"{name}\n" for name in list_labs()))
        case "sweep":
            ensure_engine()
            sys.stdout.write("".join(f"removed {name}\n" for name in sweep()))
        case "down":
            ensure_engine()
            Lab(options.lab).down()
        case _:
            return _with_lab(options, rest)
    return 0


def _up(options: argparse.Namespace) -> None:
    lab = Lab(
        options.lab,
        hosts=options.hosts,
        controllers=options.controllers,
        variables={name: yaml.safe_load(value) for name, _, value in (v.partition("=") for v in options.var)},
        disks={path: int(size) for path, _, size in (disk.partition("=") for disk in options.disk)},
        memory=options.memory,
        owner=options.owner,
    ).up()
    if options.json:
        sys.stdout.write(dump(describe(lab)))
        return
    for host in lab.machines.values():
        sys.stdout.write(f"{host.name}  {host.address}  {host.group}\n")
    variables = " ".join(f"{name}={value}" for name, value in lab.environment.items())
    command = f".venv/bin/ansible-playbook {' '.join(lab.inventory_arguments)} playbook.yaml"
    sys.stdout.write(
        f"\nA playbook:  {variables} {command}"
        f"\n        or:  .venv/bin/python -m tests.lab ansible {lab.name} playbook.yaml"
        f"\nA shell:     .venv/bin/python -m tests.lab shell {lab.name} n1"
        f"\nThe end:     .venv/bin/python -m tests.lab down {lab.name}\n"
    )


def describe(lab: Lab) -> dict[str, Any]:
    """What another program needs to use a lab."""
    return {
        "name": lab.name,
        "folder": str(lab.folder),
        "inventory": str(lab.inventory_file),
        "environment": lab.environment,
        "hosts": {name: host.address for name, host in lab.machines.items()},
    }


def _with_lab(options: argparse.Namespace, rest: Sequence[str]) -> int:
    lab = Lab.load(options.lab)
    match options.command:
        case "exec":
            done = subprocess.run(["docker", "exec", lab.host(options.host).container, *rest], check=False)
            return done.returncode
        case "shell":
            argv = ssh_argv(lab, options.host, rest)
            os.execvp(argv[0], argv)
        case "ansible":
            return lab.ansible(options.playbook, *rest, timeout=7200, echo=True).returncode
        case "show":
            sys.stdout.write(dump(describe(lab)))
        case "add":
            sys.stdout.write(f"{lab.add_host(options.group).name}\n")
        case "forget":
            lab.forget_host(options.host)
        case "readdress":
            sys.stdout.write(f"{lab.readdress(options.host)}\n")
        case _:
            _break(lab, options)
    return 0


def _break(lab: Lab, options: argparse.Namespace) -> None:
    faults: dict[str, Callable[[], object]] = {
        "cut": lambda: lab.cut(options.host, options.other),
        "cut-one-way": lambda: lab.cut_one_way(options.host, options.other),
        "isolate": lambda: lab.isolate(options.host),
        "loss": lambda: lab.loss(options.host, options.percent),
        "heal": lab.heal_network,
        "kill": lambda: lab.host(options.host).kill(options.pattern, options.signal),
        "freeze": lambda: lab.host(options.host).freeze(options.pattern),
        "thaw": lambda: lab.host(options.host).thaw(options.pattern),
        "fill-disk": lambda: lab.host(options.host).fill_disk(options.path),
        "free-disk": lambda: lab.host(options.host).free_disk(options.path),
        "power-off": lambda: lab.host(options.host).power_off(),
        "boot": lambda: lab.host(options.host).boot(),
    }
    faults[options.command]()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, *words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        for word in words:
            made.add_argument(word)
        return made

    command("setup", "install and build what the lab and the tests need (as root)")
    up = command("up", "make a lab and boot its hosts", "lab")
    up.add_argument("--hosts", type=int, default=3)
    up.add_argument("--controllers", type=int, help="how many of them are servers (default: all)")
    up.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="a variable for Ansible")
    up.add_argument("--disk", action="append", default=[], metavar="PATH=MB", help="a disk of its own")
    up.add_argument("--memory", help="bound of each host, as docker takes it (2g)")
    up.add_argument("--owner", default=KEPT, help="PROCESS:START; the lab is swept once it has ended")
    up.add_argument("--json", action="store_true", help="describe it to a program")
    command("down", "remove a lab", "lab")
    command("list", "the labs that are up")
    command("sweep", "remove labs whose process has ended")
    command("show", "describe a lab as JSON", "lab")
    command("exec", "run a command on a host: exec LAB HOST COMMAND …", "lab", "host")
    command("shell", "open a shell on a host over ssh", "lab", "host")
    command("ansible", "run a playbook: ansible LAB PLAYBOOK [ANSIBLE'S OPTIONS]", "lab", "playbook")
    command("add", "boot one more host", "lab").add_argument("--group", default="workers")
    command("forget", "take a host away for good", "lab", "host")
    command("readdress", "give a host that is off another address", "lab", "host")
    command("cut", "let nothing pass between two hosts", "lab", "host", "other")
    command("cut-one-way", "lose what HOST sends to OTHER", "lab", "host", "other")
    command("isolate", "cut a host from all others", "lab", "host")
    command("loss", "lose a share of a host's packets", "lab", "host").add_argument("percent", type=float)
    command("heal", "end every cut and loss", "lab")
    kill = command("kill", "send a signal to processes by pattern", "lab", "host", "pattern")
    kill.add_argument("--signal", default="KILL")
    for name, text in (("freeze", "stop processes by pattern, or the host"), ("thaw", "let them go on")):
        command(name, text, "lab", "host").add_argument("pattern", nargs="?")
    command("fill-disk", "leave no space under a folder", "lab", "host", "path")
    command("free-disk", "give it back", "lab", "host", "path")
    command("power-off", "cut a host's power", "lab", "host")
    command("boot", "turn it on again", "lab", "host")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
