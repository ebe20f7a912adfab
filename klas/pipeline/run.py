"""Run a study's stages into the store. What a worker process executes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import SelectionError
from klas.pipeline.context import Bench
from klas.pipeline.finetuning import finetune_methods, finetune_selection
from klas.pipeline.scores_document import scores_document
from klas.pipeline.stages import Stages
from klas.progress import Progress, Silent
from klas.results.pair import Pair, finetuned_pair_key, layers_key
from klas.storage.store import Arrays, Store
from klas.study import STAGES, Stage, Study, Tier


class Pipeline:
    """A study, ready to be computed.

    Args:
        device: ``auto`` (CUDA, else MPS, else the CPU) or what torch calls it.
        allow_code: whether an anchor may be a Python function of the user's
            (``"package.module:factory"``), which is then run.
        progress: told how far the work is.

    Raises:
        KlasError: anything about the study, its anchors or its data that does not fit.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        *,
        device: str = "auto",
        allow_code: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.study = study
        self.store = store
        self.progress: Progress = progress or Silent()
        self.bench = Bench(study, store, self.progress, device=device, allow_code=allow_code)
        self.stages = Stages(self.bench, self.progress)

    def run(self, until: Stage = "tuned") -> dict[str, Any]:
        """Compute every stage up to ``until`` that is not cached; return the scores document.

        The document is also kept under the study's own name in the store, for the dashboard.
        """
        for stage in STAGES[: STAGES.index(until) + 1]:
            # What is finished is shown, however the next stage ends.
            if self._compute(stage) and stage != until:
                self._publish()
        return self._publish()

    def _compute(self, stage: Stage) -> bool:
        """Have a stage's results; whether any was missing."""
        anything = False
        for name, unit, tasks in self.stages.tasks(stage):
            missing = [t for t in tasks if not self.store.has(t.key)]
            self.progress.start(name, unit, sum(t.units for t in missing))
            for task in missing:
                self.progress.label(task.key.label)
                self.stages.have(task)
            anything = anything or bool(missing)
        return anything

    def _publish(self) -> dict[str, Any]:
        """The scores document of what there is, kept for the dashboard."""
        document = scores_document(self.stages)
        self.store.set_ref(f"scores-{self.study.results_key()}", document)
        self.record()
        return document

    def record(self) -> None:
        """Note which results of the store are this study's."""
        name = f"used-{self.study.results_key()}"
        with self.store.lock(name):
            known = set(self.store.get_ref(name) or ())
            self.store.set_ref(name, sorted(known | self.store.used))

    def finetune(self, pair: Pair, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

        The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}``.

        Raises:
            SelectionError: nothing is chosen.
            DivergedError: the loss is no longer a number.
        """
        settings = self.study.finetuning
        cached = self.store.has(finetuned_pair_key(pair, chosen, self.study))
        self.progress.start("finetuned", "steps", 0 if cached else settings.steps)
        self.progress.label(pair.name)
        found = finetune_selection(self.stages, pair, chosen, settings)
        self.record()
        return found

    def finetune_methods(self, pairs: Sequence[Pair]) -> list[str]:
        """Train what every method of the comparison chooses, at every budget.

        Returns:
            A sentence for each training that diverged.
        """
        diverged = finetune_methods(self.stages, pairs)
        self.record()
        return diverged

    def stored_layers(self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier) -> Arrays:
        """What the store holds of a pair at a tier.

        ``i-j.weight``, ``i-j.bias`` and, finetuned, the anchors under ``source/`` and ``target/``.

        Raises:
            SelectionError: that tier was not computed.
        """
        arrays: Arrays | None = self.store.get(layers_key(pair, chosen, self.study, tier))
        if arrays is None:
            command = {
                "zero_shot": "`klas run --until zero_shot`",
                "tuned": "`klas run`",
                "finetuned": "`klas finetune` with the same selection",
            }[tier]
            raise SelectionError(f"{pair.name}: tier {tier} is not computed yet; run {command}")
        return arrays
