"""Hearth on the hosts of a lab, made by the root playbook and used as people and programs use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openai import APIError, OpenAI

from tests.lab.engine import LabError
from tests.lab.lab import Lab
from tests.lab.playbook_run import PlaybookRun
from tests.lab.prober import Prober
from tests.lab.site import Instance, Site
from tests.lab.timings import Timings

EXPERT = "main"


@dataclass
class Cluster:
    """A formed cluster, and how it came to be."""

    site: Site
    first_run: PlaybookRun

    @classmethod
    def form(cls, lab: Lab, timings: Timings, extra: Mapping[str, Any] | None = None) -> "Cluster":
        """Run the playbook on blank hosts."""
        run = lab.ansible("playbook.yaml", extra=extra)
        timings.note_run(f"{len(lab.machines)} blank hosts to all healthy", run)
        run.expect_success()
        return cls(Site(lab), run)

    @property
    def lab(self) -> Lab:
        """The hosts."""
        return self.site.lab

    @property
    def gateway(self) -> str:
        """The gateway's service."""
        return str(self.site.variables["moe_gateway_service"])

    @property
    def agent(self) -> str:
        """The agent's service."""
        return str(self.site.variables["pipecatapp_service"])

    @property
    def expert(self) -> str:
        """The service of the expert that everything else needs."""
        return f"{self.site.variables['__expert_service_prefix']}{EXPERT}"

    def gateways(self) -> list[Instance]:
        """The healthy gateways."""
        return self.site.passing(self.gateway)

    def experts(self) -> list[Instance]:
        """The healthy instances of the main expert."""
        return self.site.passing(self.expert)

    def gateway_apart_from_expert(self) -> tuple[Instance, Instance]:
        """A gateway, and the expert it must reach on another host."""
        experts = self.experts()
        for gateway in self.gateways():
            if experts and all(gateway.node != expert.node for expert in experts):
                return gateway, experts[0]
        raise LabError("every gateway shares its host with an expert")

    def chat(self, gateway: Instance, model: str, question: str, max_tokens: int = 16) -> str:
        """One answer through a gateway, asked by OpenAI's own client."""
        with OpenAI(base_url=f"{gateway.url}/v1", api_key=self.site.client_key, timeout=120) as client:
            answer = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=max_tokens
            )
        return answer.choices[0].message.content or ""

    def answers(self) -> bool:
        """Whether the main expert answers through a gateway at this moment."""
        try:
            gateways = self.gateways()
            return bool(gateways and self.chat(gateways[0], EXPERT, "The capital of France is").strip())
        except APIError:
            return False

    def prober(self) -> Prober:
        """A steady client of the gateways."""
        key = {"Authorization": f"Bearer {self.site.client_key}"}
        return Prober(self.site, self.gateway, "/v1/models", key)

    def hearth(self, host: str, *arguments: str) -> Any:
        """What `hearth … --json` says on a host."""
        done = self.lab.host(host).exec(["hearth", *arguments, "--json"], check=False, timeout=60)
        if not done.stdout.strip():
            raise LabError(f"hearth {' '.join(arguments)} on {host}: {done.stderr.strip()}")
        return json.loads(done.stdout)
