"""What one model server serves, made from what the experts were assigned. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llama_expert.choose import Assignment


@dataclass(frozen=True)
class ServedModel:
    """A model as one server runs it; two that are equal are one server."""

    name: str
    path: str
    version: str  #: of the file, see `FileFacts`
    context: int  #: tokens
    repeat_penalty: float
    split: bool  #: over the hosts that lend memory


def served_models(assignments: Sequence[Assignment], default_context: int) -> Mapping[str, ServedModel]:
    """Each expert's model, by the expert's name; experts without one are left out.

    Experts with the same file share a server, with the longest context that one of them wants.
    """
    shared: dict[tuple[str, str], ServedModel] = {}
    for one in assignments:
        if one.model is None:
            continue
        context = one.model.context or default_context
        first = shared.setdefault(
            (one.path, one.version),
            ServedModel(
                one.model.name, one.path, one.version, context, one.model.repeat_penalty, split=False
            ),
        )
        shared[one.path, one.version] = replace(
            first, context=max(first.context, context), split=first.split or one.split
        )
    return {one.expert: shared[one.path, one.version] for one in assignments if one.model is not None}
