"""Run a study's stages into the store. What the command and a worker process call."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import DivergedError, SelectionError
from klas.pipeline.context import Context
from klas.pipeline.engines.choice import engine_for
from klas.pipeline.engines.engine import Engine, missing, units, units_of
from klas.pipeline.engines.here import Here
from klas.pipeline.recipes.latency import machine
from klas.pipeline.scores_document import scores_document
from klas.progress import Progress
from klas.results.accuracies import Racing, continuations, full_validation, tier_layers
from klas.results.documents.scores import ScoresDocument
from klas.results.pair import Pair
from klas.results.per_class import pictures
from klas.results.plan import Step, stages_until, steps
from klas.results.refs import scores_ref
from klas.results.result import Finetuned, Latency, Layers, Result, TestOutcomes, outcomes_of
from klas.results.timings import note_timings
from klas.results.trainings import joint_training, method_trainings
from klas.selection.space import Place
from klas.storage.arrays import Arrays
from klas.storage.store import Store
from klas.study import STAGES, EngineSpec, Stage, Study, Tier


class Pipeline:
    """A study, ready to be computed.

    Attributes:
        study, store: what is computed, and where it is kept.
        context: what results are made from; nothing is opened before it is needed.
        engine: what carries results out, or its name and settings; the study's own unless another
            is given.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        *,
        device: str = "auto",
        devices: Sequence[str] = (),
        allow_code: bool = False,
        progress: Progress | None = None,
        engine: EngineSpec | Engine | None = None,
    ) -> None:
        """Prepare a study; most arguments are those of :class:`Context`."""
        self.study = study
        self.store = store
        self.context = Context(
            study,
            store,
            device=device,
            devices=devices,
            allow_code=allow_code,
            progress=progress,
        )
        self.engine: EngineSpec | Engine = engine or study.engine
        self._at_work: Engine | None = None
        self._memory_bytes = 0

    @property
    def workers(self) -> int:
        """How many workers are at work now, this process included if it is all there is."""
        return self._at_work.workers if self._at_work else 1

    @property
    def memory_bytes(self) -> int:
        """The most memory that workers took together, beside this process, so far."""
        now = self._at_work.memory_bytes if self._at_work else 0
        return max(self._memory_bytes, now)

    def steps(self, stage: Stage) -> list[Step]:
        """A stage's work, in order."""
        context = self.context
        samples = context.objective.task.samples
        return steps(stage, list(context.anchors), context.pairs, context.headless, samples=samples)

    def run(self, until: Stage = STAGES[-1]) -> ScoresDocument:
        """Compute every stage up to ``until`` that is not cached; return the scores document.

        The document is also kept under the study's own name in the store, for the dashboard.

        Raises:
            KlasError: anything about the study, its anchors or its data that does not fit.
        """
        first, *_ = stages = stages_until(until)
        with self._working(self.results(until)) as engine:
            for stage in stages:
                try:
                    made = [self._carry_out(step, engine) for step in self.steps(stage)]
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

    def results(self, until: Stage) -> list[Result]:
        """All that the stages up to ``until`` consist of."""
        every = (step for stage in stages_until(until) for step in self.steps(stage))
        return [result for step in every for result in step.results]

    def finetune(
        self, pair: Pair, chosen: NDArray[np.bool_], racing: Racing = None
    ) -> dict[str, Any]:
        """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

        The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}`` on the
        validation samples, of a race of those that are kept, and its ``"rungs"``. How they do on
        every sample is stored too, also on the test split.

        Args:
            racing: (N,) the buckets in which the stitches race, if they do.

        Raises:
            SelectionError: nothing is chosen.
            DivergedError: the loss is no longer a number.
        """
        if not chosen.any():
            raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to train")
        training = joint_training(pair, chosen, self.study.finetuning, racing)
        self._make("finetuned", "steps", self.training_results(training), label=pair.name)
        accuracies: dict[str, Any] = self.context.read(training)
        return accuracies

    def finetune_methods(self, pairs: Sequence[Pair]) -> list[str]:
        """Train what every method chooses, and the anchors alone, at every budget of a comparison.

        A method whose training diverges is left out; the others go on.

        Returns:
            A sentence for each that diverged.
        """
        context, diverged = self.context, []
        trainings = {pair.name: method_trainings(pair, self.study) for pair in pairs}
        of_pairs = {
            name: [r for training in each for r in self.training_results(training.result)]
            for name, each in trainings.items()
        }
        with self._working([result for each in of_pairs.values() for result in each]) as engine:
            for name, every in of_pairs.items():
                labels: dict[Result, str] = {
                    result: f"{name}: {training.name}, {training.steps:,} steps"
                    for training in trainings[name]
                    for result in missing(self.training_results(training.result), context)
                }
                context.progress.start("finetuned", "steps", units(every, context))
                if not labels:
                    continue  # nothing is missing
                ended = engine().carry_out(
                    every, context, labels=labels, tolerated=(DivergedError,)
                )
                diverged += [
                    f"{name}, {training.name}: {ended[training.result]}"
                    for training in trainings[name]
                    if training.result in ended
                ]
        context.record()
        return diverged

    def full_validation(
        self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier, racing: Racing = None
    ) -> dict[str, Any]:
        """Measure a pair's chosen stitches at a tier on every validation sample.

        Returns:
            ``{"samples": …, "accuracy": {"i-j": …}}``.

        Raises:
            SelectionError: nothing is chosen, or that tier was not computed.
        """
        if not chosen.any():
            raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to measure")
        self.stored_layers(pair, chosen, tier, racing)
        wanted = full_validation(pair, chosen, self.study, tier, racing)
        self._make("full_val", self.context.objective.task.samples, (wanted,), label=pair.name)
        accuracies: dict[str, Any] = self.context.read(wanted)
        return accuracies

    def pictures(self, pair: Pair, layers: Layers, place: Place) -> Arrays:
        """What a stitch, at the tier of its layers, and its anchors predict for a few images.

        Returns:
            As :mod:`klas.pipeline.recipes.pictures` gives them.

        Raises:
            SelectionError: the study is not of segmentation, or that tier was not computed.
        """
        if pair.task.name != "segmentation":
            raise SelectionError(f"{pair.name}: pictures are for segmentation alone")
        if not self.context.has(layers):
            raise SelectionError(f"{pair.name}: that tier is not computed yet; compute it first")
        wanted = pictures(pair, layers, place)
        self._make("pictures", "images", (wanted,), label=pair.name)
        arrays: Arrays = self.context.read(wanted)
        return arrays

    def continuations(
        self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier, racing: Racing = None
    ) -> dict[str, list[float]]:
        """Let a pair's decoders, and its chosen stitches at a tier, continue validation prompts.

        Returns:
            The mean ROUGE-1, ROUGE-2 and ROUGE-L by ``"i-j"`` or the anchor's name.

        Raises:
            SelectionError: that tier was not computed.
            DataError: the validation texts have no references.
        """
        self.stored_layers(pair, chosen, tier, racing)
        wanted = continuations(pair, chosen, self.study, tier, racing)
        self._make("rouge", self.context.objective.task.samples, (wanted,), label=pair.name)
        scores: Arrays = self.context.read(wanted)
        return {name: each.mean(0).tolist() for name, each in scores.items()}

    def latency(self, pair: Pair) -> dict[str, Any]:
        """Time every candidate of a pair and its anchors (with a head) on this machine.

        Returns:
            As :mod:`klas.pipeline.recipes.latency` gives it.

        Raises:
            KlasError: there is not enough memory for one sample.
        """
        context, (source, target) = self.context, pair.names
        wanted = Latency(source=source, target=target, machine=machine(context.device))
        step = Step(name="latency", unit="turns", results=(wanted,))
        self._carry_out(step, Here, label=pair.name)  # alone on the machine, or it says nothing
        note_timings(self.store, self.study, pair, wanted.machine)
        times: dict[str, Any] = context.read(wanted)
        return times

    def stored_layers(
        self, pair: Pair, chosen: NDArray[np.bool_], tier: Tier, racing: Racing = None
    ) -> Arrays:
        """What the store holds of a pair at a tier.

        ``i-j.weight``, ``i-j.bias`` and, finetuned, the anchors under ``source/`` and ``target/``.

        Raises:
            SelectionError: that tier was not computed.
        """
        layers = tier_layers(pair, chosen, self.study, tier, racing)
        if not self.context.has(layers):
            command = {
                "zero_shot": "`klas run --until zero_shot`",
                "tuned": "`klas run`",
                "finetuned": "`klas finetune` with the same selection",
            }[tier]
            raise SelectionError(f"{pair.name}: tier {tier} is not computed yet; run {command}")
        return self.context.layers(layers)

    def train(self, training: Finetuned) -> None:
        """Make a joint training's results, if they are missing.

        Raises:
            DivergedError: the loss is no longer a number.
        """
        results = self.training_results(training)
        self._make("finetuned", "steps", results, label=" → ".join(training.names))

    def training_results(self, training: Finetuned) -> tuple[Result, ...]:
        """A joint training's results, those on the test split included."""
        if self.context.test is None:
            return (training,)
        tested = (TestOutcomes(anchor=name) for name in training.names)
        return (training, outcomes_of(training.weights, "test"), *tested)

    @contextlib.contextmanager
    def _working(self, results: Sequence[Result]) -> Iterator[Callable[[], Engine]]:
        """Gives the engine that suits some results, until they are made.

        To choose it the machine is timed, so that waits until something is to be made. From the
        first moment the results are noted as the study's, and nobody deletes any.
        """

        def engine() -> Engine:
            if self._at_work is None:
                chosen = self.engine
                if isinstance(chosen, EngineSpec):
                    absent = list(missing(results, self.context))
                    chosen = engine_for(chosen, self.context, absent)
                self._at_work = chosen
            return self._at_work

        key = self.study.results_key()
        try:
            with self.store.at_work(f"computing study {self.study.name}", key):
                self.context.note(results)
                yield engine
        finally:
            if self._at_work is not None:
                self._at_work.close()
            self._memory_bytes, self._at_work = self.memory_bytes, None

    def _make(self, name: str, unit: str, results: tuple[Result, ...], *, label: str) -> None:
        """Make a step's missing results with an engine of their own."""
        with self._working(results) as engine:
            self._carry_out(Step(name=name, unit=unit, results=results), engine, label=label)

    def _carry_out(
        self, step: Step, engine: Callable[[], Engine], *, label: str | None = None
    ) -> bool:
        """Make a step's missing results; returns whether there were any."""
        absent = list(missing(step.results, self.context))
        self.context.progress.start(step.name, step.unit, units_of(absent, self.context))
        if absent:
            labels = {} if label is None else dict.fromkeys(absent, label)
            engine().carry_out(step.results, self.context, labels=labels)
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
