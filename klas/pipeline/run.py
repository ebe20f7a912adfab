"""Run a study's stages into the store. What the command and a worker process call."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import DivergedError, SelectionError
from klas.pipeline.context import Context
from klas.pipeline.engines import Engine, Here, missing, units, units_of
from klas.pipeline.recipes.latency import machine
from klas.pipeline.scores_document import scores_document
from klas.progress import Progress
from klas.results.accuracies import full_validation, tier_layers
from klas.results.documents.scores import ScoresDocument
from klas.results.pair import Pair
from klas.results.plan import Step, stages_until, steps
from klas.results.refs import scores_ref
from klas.results.result import Finetuned, Latency, Result, TestOutcomes, outcomes_of
from klas.results.timings import note_timings
from klas.results.trainings import joint_training, method_trainings
from klas.storage.arrays import Arrays
from klas.storage.store import Store
from klas.study import STAGES, Stage, Study, Tier


class Pipeline:
    """A study, ready to be computed.

    Attributes:
        study, store: what is computed, and where it is kept.
        context: what results are made from; nothing is opened before it is needed.
        engine: what carries results out.
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
        """Prepare a study; the arguments are those of :class:`Context`."""
        self.study = study
        self.store = store
        self.context = Context(
            study, store, device=device, allow_code=allow_code, progress=progress
        )
        self.engine: Engine = Here()

    def steps(self, stage: Stage) -> list[Step]:
        """A stage's work, in order."""
        context = self.context
        return steps(stage, list(context.anchors), context.pairs, context.headless)

    def run(self, until: Stage = STAGES[-1]) -> ScoresDocument:
        """Compute every stage up to ``until`` that is not cached; return the scores document.

        The document is also kept under the study's own name in the store, for the dashboard.

        Raises:
            KlasError: anything about the study, its anchors or its data that does not fit.
        """
        first, *_ = stages = stages_until(until)
        for stage in stages:
            try:
                made = [self._carry_out(step) for step in self.steps(stage)]
            except BaseException:
                # What it finished of a later stage is shown too; the error matters more.
                if stage != first:
                    with contextlib.suppress(Exception):
                        self._publish()
                raise
            # Finished stages are shown however the next one ends.
            if any(made) and stage != until:
                self._publish()
        return self._publish()

    def finetune(self, pair: Pair, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

        The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}`` on the
        validation samples. How they do on every sample is stored too, also on the test split.

        Raises:
            SelectionError: nothing is chosen.
            DivergedError: the loss is no longer a number.
        """
        if not chosen.any():
            raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to train")
        training = joint_training(pair, chosen, self.study.finetuning)
        results = self.training_results(training)
        self._carry_out(Step(name="finetuned", unit="steps", results=results), label=pair.name)
        accuracies: dict[str, Any] = self.context.read(training)
        return accuracies

    def finetune_methods(self, pairs: Sequence[Pair]) -> list[str]:
        """Train what every method of the comparison chooses, at every budget.

        A method whose training diverges is left out; the others go on.

        Returns:
            A sentence for each that diverged.
        """
        context, diverged = self.context, []
        for pair in pairs:
            trainings = method_trainings(pair, self.study)
            every = [r for t in trainings for r in self.training_results(t.result)]
            context.progress.start("finetuned", "steps", units(every, context))
            for training in trainings:
                label = f"{pair.name}: {training.metric}, {training.steps:,} steps"
                try:
                    self.train(training.result, label=label)
                except DivergedError as error:
                    diverged.append(f"{pair.name}, {training.metric}: {error}")
        context.record()
        return diverged

    def full_validation(self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier) -> dict[str, Any]:
        """Measure a pair's chosen stitches at a tier on every validation sample.

        Returns:
            ``{"samples": …, "accuracy": {"i-j": …}}``.

        Raises:
            SelectionError: nothing is chosen, or that tier was not computed.
        """
        if not chosen.any():
            raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to measure")
        self.stored_layers(pair, chosen, tier)
        wanted = full_validation(pair, chosen, self.study, tier)
        self._carry_out(Step(name="full_val", unit="images", results=(wanted,)), label=pair.name)
        accuracies: dict[str, Any] = self.context.read(wanted)
        return accuracies

    def latency(self, pair: Pair) -> dict[str, Any]:
        """Time every candidate of a pair and its anchors (with a head) on this machine.

        Returns:
            As :mod:`klas.pipeline.recipes.latency` gives it.

        Raises:
            KlasError: there is not enough memory for one sample.
        """
        context, (source, target) = self.context, pair.names
        wanted = Latency(source=source, target=target, machine=machine(context.device))
        self._carry_out(Step(name="latency", unit="turns", results=(wanted,)), label=pair.name)
        note_timings(self.store, self.study, pair, wanted.machine)
        times: dict[str, Any] = context.read(wanted)
        return times

    def stored_layers(self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier) -> Arrays:
        """What the store holds of a pair at a tier.

        ``i-j.weight``, ``i-j.bias`` and, finetuned, the anchors under ``source/`` and ``target/``.

        Raises:
            SelectionError: that tier was not computed.
        """
        layers = tier_layers(pair, chosen, self.study, tier)
        if not self.context.has(layers):
            command = {
                "zero_shot": "`klas run --until zero_shot`",
                "tuned": "`klas run`",
                "finetuned": "`klas finetune` with the same selection",
            }[tier]
            raise SelectionError(f"{pair.name}: tier {tier} is not computed yet; run {command}")
        return self.context.layers(layers)

    def train(self, training: Finetuned, *, label: str | None = None) -> None:
        """Make a joint training's results, if they are missing.

        Args:
            label: what progress shows for it.

        Raises:
            DivergedError: the loss is no longer a number.
        """
        self.engine.carry_out(self.training_results(training), self.context, label=label)

    def training_results(self, training: Finetuned) -> tuple[Result, ...]:
        """A joint training's results, those on the test split included."""
        if self.context.test is None:
            return (training,)
        tested = (TestOutcomes(anchor=name) for name in training.names)
        return (training, outcomes_of(training.weights, "test"), *tested)

    def _carry_out(self, step: Step, *, label: str | None = None) -> bool:
        """Make a step's missing results; returns whether there were any."""
        absent = list(missing(step.results, self.context))
        self.context.progress.start(step.name, step.unit, units_of(absent, self.context))
        if absent:
            self.engine.carry_out(step.results, self.context, label=label)
        self.context.record()
        return bool(absent)

    def _publish(self) -> ScoresDocument:
        """The scores document of what is computed so far, kept for the dashboard."""
        context = self.context
        document = scores_document(context)
        if not self.store.read_only:
            self.store.set_ref(scores_ref(self.study.results_key()), document)
        context.record()
        return document
