"""Which model each expert is to have: the lists, the files, the memory and what failed, put together."""

from collections.abc import Mapping

import structlog

from clusterkit.config.catalogue import ModelSpec
from llama_expert.choose import Assignment, FileFacts, Reason, choose, choose_in_turn, held, needed_mb
from llama_expert.lists import Lists
from llama_expert.served_model import ServedModel, served_models

log = structlog.get_logger()

Facts = Mapping[ModelSpec, FileFacts]
Serving = Mapping[str, Assignment]  #: by expert, what a working server serves it with


class Plan:
    """The experts' assignments; every change of what they depend on makes them anew."""

    def __init__(self, lists: Lists, *, context: int, pool_mb: int) -> None:
        """`context` in tokens is for models that say none; `pool_mb` is what other hosts lend."""
        self.lists = lists
        self.assigned: dict[str, Assignment] = {}
        self.targets: Mapping[str, ServedModel] = {}  #: by expert; those without a model are left out
        self.budget_mb = 0
        self._context, self._pool_mb = context, pool_mb
        self._facts: Facts = {}
        self._failed: dict[tuple[str, str], str] = {}  #: by path and version of the file

    @property
    def without_model(self) -> frozenset[str]:
        """Experts for which nothing can be used."""
        return frozenset(name for name, one in self.assigned.items() if one.model is None)

    def knows(self, lists: Lists, facts: Facts) -> bool:
        """Whether the assignments were made for these, and every expert has a model."""
        return bool(self.assigned) and not self.without_model and (lists, facts) == (self.lists, self._facts)

    def renew(self, lists: Lists, facts: Facts, budget_mb: int, serving: Serving) -> None:
        """Assign for other lists, files or memory. Experts that had nothing try again what failed.

        An expert for which nothing has changed keeps its model, unless another one needs the room.
        """
        without = self.without_model
        same_rules = lists.memory == self.lists.memory
        listed = {expert.name: expert.models for expert in self.lists.experts}
        unchanged = {
            expert.name
            for expert in lists.experts
            if same_rules
            and listed.get(expert.name) == expert.models
            and all(self._facts.get(model) == facts[model] for model in expert.models)
        }
        self.lists, self._facts, self.budget_mb = lists, facts, budget_mb
        for expert in lists.experts:
            if expert.name in without:
                self._forget_failures(expert.name)
        staying = {name: one for name, one in self._current().items() if name in unchanged}
        self._assign(serving, running=staying)
        changed = [one for name, one in self.assigned.items() if name not in unchanged]
        if staying and any(
            refusal.reason is Reason.DOES_NOT_FIT for one in changed for refusal in one.refused
        ):
            self._assign(serving, running={})

    def strike(self, failed: Mapping[ServedModel, str], serving: Serving) -> None:
        """Assign anew after models failed; maps them to what was said."""
        self._failed |= {(model.path, model.version): why for model, why in failed.items()}
        self._assign(serving, running=self._current())

    def retry(self, expert: str, serving: Serving) -> None:
        """Assign anew as if no model of `expert` had failed before."""
        if self._forget_failures(expert):
            others = {name: one for name, one in self._current().items() if name != expert}
            self._assign(serving, running=others)

    def needs(self, model: ServedModel) -> int:
        """Main memory in MB to set aside for `model`."""
        specs = (one.model for one in self.assigned.values() if one.model and one.path == model.path)
        needed = max(needed_mb(spec, self._facts.get(spec, FileFacts())) for spec in specs)
        return min(needed, self.budget_mb) if model.split else needed

    def _forget_failures(self, expert: str) -> bool:
        listed = next(one.models for one in self.lists.experts if one.name == expert)
        again = {self._facts[model].path for model in listed if model in self._facts}
        kept = {file: why for file, why in self._failed.items() if file[0] not in again}
        forgotten = len(kept) < len(self._failed)
        self._failed = kept
        return forgotten

    def _current(self) -> dict[str, Assignment]:
        return {name: one for name, one in self.assigned.items() if one.model is not None}

    def _assign(self, serving: Serving, running: Mapping[str, Assignment]) -> None:
        chosen = self._choose(running)
        kept = held(chosen, serving, self.lists.experts)
        if kept:
            chosen = self._choose({**running, **kept})
        for assignment in chosen:
            if assignment != self.assigned.get(assignment.expert):
                _report(assignment, self.budget_mb)
        self.assigned = {assignment.expert: assignment for assignment in chosen}
        self.targets = served_models(chosen, self._context)

    def _choose(self, running: Mapping[str, Assignment]) -> tuple[Assignment, ...]:
        versions = {fact.path: fact.version for fact in self._facts.values()}
        failed = {
            path: why
            for (path, version), why in self._failed.items()
            if versions.get(path, version) == version
        }
        rules = self.lists.memory
        if rules.in_turn:
            return choose_in_turn(
                self.lists.experts,
                self._facts,
                self.budget_mb,
                failed=failed,
                running=running,
                pinned=rules.pinned,
                pool_mb=self._pool_mb,
            )
        return choose(
            self.lists.experts,
            self._facts,
            self.budget_mb,
            failed=failed,
            running=running,
            pool_mb=self._pool_mb,
        )


def _report(assignment: Assignment, budget_mb: int) -> None:
    for refusal in assignment.refused:
        # That a large model was never fetched is no news; that one is broken is.
        tell = log.info if refusal.reason is Reason.MISSING else log.warning
        tell(
            "model_refused",
            expert=assignment.expert,
            model=refusal.model,
            reason=refusal.reason.value,
            detail=refusal.detail,
        )
    if assignment.model is None:
        log.error("expert_without_model", expert=assignment.expert, free_mb=budget_mb)
    else:
        log.info("model_chosen", expert=assignment.expert, model=assignment.model.name, path=assignment.path)
