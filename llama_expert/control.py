"""What can be asked and told about experts: how they are, look again, load, unload."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from clusterkit.http.openai_wire import ApiError
from llama_expert.expert_state import ExpertState
from llama_expert.model_servers import ModelServers, PinnedError

BASE_PATH = "/experts"


class Experts(BaseModel):
    """Every expert as it is."""

    experts: list[dict[str, Any]]


class Unloading(BaseModel):
    """A model that leaves memory."""

    expert: str
    shared_with: list[str] = Field(description="Other experts that have the same model.")


def expert_routes(servers: ModelServers) -> APIRouter:
    """`GET /experts` and the commands below it."""
    router = APIRouter(tags=["experts"])

    def known(expert: str) -> ExpertState:
        try:
            return servers.state(expert)
        except KeyError as error:
            raise unknown_expert(servers, expert) from error

    @router.get(BASE_PATH)
    async def get_experts() -> Experts:
        """Every expert served here: its active model, and why the models before it were refused."""
        return Experts(experts=[expert_data(state) for state in servers.states])

    @router.post(f"{BASE_PATH}/refresh")
    async def refresh() -> Experts:
        """Look at the lists and the model files now; only what has changed is touched."""
        await servers.refresh()
        return Experts(experts=[expert_data(state) for state in servers.states])

    @router.post(f"{BASE_PATH}/{{expert}}/load", status_code=202)
    async def load(expert: str) -> dict[str, Any]:
        """Load the expert's model now, trying again what did not load before; others may leave for it."""
        known(expert)
        return expert_data(servers.load(expert))

    @router.post(f"{BASE_PATH}/{{expert}}/unload", status_code=202)
    async def unload(expert: str) -> Unloading:
        """Let the expert's model leave memory once nothing runs on it; the next request loads it again."""
        known(expert)
        try:
            sharing = servers.unload(expert)
        except PinnedError as error:
            raise ApiError(f"{error}.", status=409, code=error.code) from error
        return Unloading(expert=expert, shared_with=[name for name in sharing if name != expert])

    return router


def unknown_expert(servers: ModelServers, expert: str) -> ApiError:
    """The 404 for an expert that is not served here."""
    served = ", ".join(one.expert for one in servers.states)
    return ApiError(
        f"There is no expert {expert!r} here (here are: {served}).", status=404, code="unknown_expert"
    )


def expert_data(state: ExpertState) -> dict[str, Any]:
    """One expert as `GET /experts` shows it."""
    server = state.server
    return {
        "expert": state.expert,
        "state": state.state,
        "model": state.model,
        "next_model": state.next_model,
        "pid": server.pid if server else None,
        "port": server.port if server else None,
        "restarts": state.restarts,
        "waiting": state.waiting,
        "detail": state.detail,
        "refused": [asdict(refusal) for refusal in state.refused],
    }
