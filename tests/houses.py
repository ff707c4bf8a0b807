"""A whole Hearth on free ports, with the real model, commanded as a person would."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from clusterkit.config.environment import environment
from tests.servers.free_ports import free_ports


@dataclass
class House:
    """One Hearth in a folder of its own."""

    home: Path
    gateway_port: int
    agent_port: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **environment(),
            "HEARTH_HOME": str(self.home),
            "MOE_GATEWAY_PORT": str(self.gateway_port),
            "PIPECATAPP_PORT": str(self.agent_port),
            "COLUMNS": "200",
            "HEARTH_GROW": "off",  # a gigabyte for each test would be too much
            **self.extra,
        }

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def agent(self) -> str:
        return f"http://127.0.0.1:{self.agent_port}"

    def hearth(self, *arguments: str, timeout: float = 150, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the command and wait for it."""
        return subprocess.run(
            [sys.executable, "-m", "hearth", *arguments],
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and go on."""
        return subprocess.Popen(
            [sys.executable, "-m", "hearth", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def json(self, *arguments: str) -> Any:
        """What the command prints with --json."""
        done = self.hearth(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def pids(self) -> dict[str, int]:
        """Process ids of the services."""
        return {service["name"]: service["pid"] for service in self.json("status")["services"]}

    def log(self, service: str) -> list[Mapping[str, Any]]:
        """The structured lines that a service logged."""
        lines = (self.home / "logs" / f"{service}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this Hearth, found by its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LLAMA_EXPERT_HOME") == str(self.home):
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def all_gone(self, timeout: float = 20) -> bool:
        """Whether no process is left after at most `timeout` seconds."""
        _, alive = psutil.wait_procs(self.processes(), timeout=timeout)
        return not alive


def make_house(folder: Path) -> House:
    """A Hearth on free ports that does not run yet."""
    gateway, agent = free_ports(2)
    return House(folder, gateway, agent)


def end_house(house: House) -> None:
    """Stop everything that belongs to a Hearth."""
    house.hearth("down")
    for process in house.processes():
        process.send_signal(signal.SIGKILL)
