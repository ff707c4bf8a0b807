"""Which model each expert gets on this machine. Pure: the facts come in, an assignment goes out."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from clusterkit.config.catalogue import ExpertSpec, ModelSpec

#: A model is never believed to need less than its file plus this share of it.
SIZE_MARGIN = 1.1


class Reason(StrEnum):
    """Why a model is not used."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    NOT_A_MODEL = "not_a_model"
    WRONG_HASH = "wrong_hash"
    UNREADABLE = "unreadable"
    DOES_NOT_FIT = "does_not_fit"
    DID_NOT_LOAD = "did_not_load"


@dataclass(frozen=True)
class FileFacts:
    """What is known about a model's file; `reason` is None when it can be used."""

    path: str = ""
    size_mb: float = 0
    reason: Reason | None = None
    detail: str = ""
    version: str = ""  #: another one when the file at `path` has changed


@dataclass(frozen=True)
class Refusal:
    """One model that was passed over, and why."""

    model: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Assignment:
    """What an expert gets: a model and its file, or None when none of its list can be used."""

    expert: str
    model: ModelSpec | None
    path: str
    needed_mb: int  #: 0 when another expert's server has the file loaded already
    refused: tuple[Refusal, ...]
    split: bool = False  #: too big for this machine alone; other hosts lend their memory
    version: str = ""  #: of the file, see `FileFacts`


@dataclass(frozen=True)
class _Candidate:
    model: ModelSpec
    path: str
    version: str
    cost: int


def needed_mb(model: ModelSpec, facts: FileFacts) -> int:
    """Main memory in MB to set aside for `model`: what the list says, at least its size and a margin."""
    return max(model.memory_mb, math.ceil(facts.size_mb * SIZE_MARGIN))


def choose(
    experts: Sequence[ExpertSpec],
    facts: Mapping[ModelSpec, FileFacts],
    free_mb: int,
    *,
    failed: Mapping[str, str],
    running: Mapping[str, Assignment],
    pool_mb: int = 0,
) -> tuple[Assignment, ...]:
    """Give every expert the first model of its list that is whole and fits, in the order of `experts`.

    Experts that come to the same file share one server, so the second costs nothing. What the experts
    further down need at least is held back, so that none of them goes empty-handed for a larger model
    above. `failed` maps paths to what was said when the file that is there now did not load. `running`
    maps experts to what they have now, which they keep unless it failed. `free_mb` counts the memory of
    running servers as free. `pool_mb` is what other hosts lend; one model at most is split over them.
    """
    kept = {
        name: assignment
        for name, assignment in running.items()
        if assignment.model and not _has_failed(assignment, facts, failed)
    }
    usable = {expert.name: _usable(expert, facts, failed) for expert in experts}
    loaded: set[str] = set()
    left = free_mb
    for assignment in kept.values():
        if assignment.model is not None and assignment.path not in loaded:
            loaded.add(assignment.path)
            left -= needed_mb(assignment.model, facts.get(assignment.model, FileFacts()))
    pool = 0 if any(assignment.split for assignment in kept.values()) else pool_mb
    assignments: list[Assignment] = []
    for index, expert in enumerate(experts):
        if expert.name in kept:
            assignments.append(kept[expert.name])
            continue
        rest = [usable[other.name] for other in experts[index + 1 :] if other.name not in kept]
        taken, unfit = _pick(usable[expert.name], rest, loaded, left, pool)
        cost = 0 if taken is None or taken.path in loaded else taken.cost
        split = cost > left
        if split:
            cost, pool = left, 0
        if taken is not None:
            loaded.add(taken.path)
            left -= cost
        refused = _refusals(expert, facts, failed, unfit, stop_at=taken.model if taken else None)
        if taken is None:
            assignments.append(Assignment(expert.name, None, "", cost, refused, split))
        else:
            assignments.append(
                Assignment(expert.name, taken.model, taken.path, cost, refused, split, taken.version)
            )
    return tuple(assignments)


def choose_in_turn(
    experts: Sequence[ExpertSpec],
    facts: Mapping[ModelSpec, FileFacts],
    free_mb: int,
    *,
    failed: Mapping[str, str],
    running: Mapping[str, Assignment],
    pinned: Collection[str],
    pool_mb: int = 0,
) -> tuple[Assignment, ...]:
    """As `choose`, for models that take turns: each has to fit only beside those of `pinned` experts."""
    staying = [expert for expert in experts if expert.name in pinned]
    kept = {name: one for name, one in running.items() if name in pinned}
    chosen = {
        one.expert: one
        for one in choose(staying, facts, free_mb, failed=failed, running=kept, pool_mb=pool_mb)
    }
    settled = dict(chosen)
    for expert in experts:
        if expert.name not in pinned:
            own = {name: one for name, one in running.items() if name == expert.name}
            (chosen[expert.name],) = choose(
                [expert], facts, free_mb, failed=failed, running={**settled, **own}, pool_mb=pool_mb
            )
    return tuple(chosen[expert.name] for expert in experts)


def held(
    chosen: Sequence[Assignment], serving: Mapping[str, Assignment], experts: Sequence[ExpertSpec]
) -> dict[str, Assignment]:
    """What experts are to keep though `chosen` says otherwise, with the reasons; by name.

    An expert goes down its list only when the model that serves it has left the list or makes room for
    another: as long as its server works, it stays when the file behind it, or a newer one, cannot be used.
    """
    names = {expert.name: [model.name for model in expert.models] for expert in experts}
    kept = {}
    for assignment in chosen:
        before = serving.get(assignment.expert)
        if before is None or before.model is None or before.model.name not in names[assignment.expert]:
            continue
        listed = names[assignment.expert]
        after = listed.index(assignment.model.name) if assignment.model else len(listed)
        refusals = (one for one in assignment.refused if one.model == before.model.name)
        refusal = next(refusals, None)
        goes_down = after > listed.index(before.model.name)
        if goes_down and refusal is not None and refusal.reason is not Reason.DOES_NOT_FIT:
            kept[assignment.expert] = replace(before, refused=assignment.refused)
    return kept


def _has_failed(
    assignment: Assignment, facts: Mapping[ModelSpec, FileFacts], failed: Mapping[str, str]
) -> bool:
    """Whether it is the very file of `assignment` that did not load, not one that took its place."""
    versions = {fact.version for fact in facts.values() if fact.path == assignment.path}
    return assignment.path in failed and (not versions or assignment.version in versions)


def _usable(
    expert: ExpertSpec, facts: Mapping[ModelSpec, FileFacts], failed: Mapping[str, str]
) -> list[_Candidate]:
    return [
        _Candidate(model, fact.path, fact.version, needed_mb(model, fact))
        for model, fact in ((model, facts[model]) for model in expert.models)
        if fact.reason is None and fact.path not in failed
    ]


def _pick(
    candidates: Sequence[_Candidate],
    rest: Sequence[Sequence[_Candidate]],
    loaded: set[str],
    left: int,
    pool: int,
) -> tuple[_Candidate | None, dict[ModelSpec, str]]:
    """The candidate to take, and for those that do not fit what to say about it."""
    unfit: dict[ModelSpec, str] = {}
    for candidate in candidates:
        cost = 0 if candidate.path in loaded else candidate.cost
        held_back = _least(rest, loaded | {candidate.path})
        last = candidate is candidates[-1]  # nobody is helped by refusing the last resort as well
        if cost <= left - (0 if last else held_back):
            return candidate, unfit
        if left < cost <= left - held_back + pool:
            return candidate, unfit
        shortage = f"needs {cost} MB, {max(0, left)} MB free" + (f" and {pool} MB lent" if pool else "")
        unfit[candidate.model] = (
            f"{shortage} ({held_back} MB of it for other experts)" if held_back else shortage
        )
    return None, unfit


def _least(rest: Sequence[Sequence[_Candidate]], loaded: set[str]) -> int:
    """What the experts still to come need at the very least, in MB."""
    have = set(loaded)
    total = 0
    for candidates in rest:
        if candidates and not any(candidate.path in have for candidate in candidates):
            cheapest = min(candidates, key=lambda candidate: candidate.cost)
            have.add(cheapest.path)
            total += cheapest.cost
    return total


def _refusals(
    expert: ExpertSpec,
    facts: Mapping[ModelSpec, FileFacts],
    failed: Mapping[str, str],
    unfit: Mapping[ModelSpec, str],
    stop_at: ModelSpec | None,
) -> tuple[Refusal, ...]:
    refused = []
    for model in expert.models:
        if model == stop_at:
            break
        fact = facts[model]
        if fact.reason is not None:
            refused.append(Refusal(model.name, fact.reason, fact.detail))
        elif fact.path in failed:
            refused.append(Refusal(model.name, Reason.DID_NOT_LOAD, failed[fact.path]))
        elif model in unfit:
            refused.append(Refusal(model.name, Reason.DOES_NOT_FIT, unfit[model]))
    return tuple(refused)
