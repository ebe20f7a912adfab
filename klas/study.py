"""What to compute: the study, read from TOML, validated, with every default spelled out.

A study names the anchors, the data and the settings of every stage. It is a value: frozen,
compared by content, and nothing in it depends on the machine.
"""

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomli_w
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from klas.errors import StudyError
from klas.foreign import read_at_most, reading
from klas.recipe import TrainingSpec
from klas.section import Positive, PrecisionRule, Rate, Section, Seed

TaskName = Literal["classification", "segmentation", "language"]

Stage = Literal["anchors", "probes", "scores", "zero_shot", "tuned"]
STAGES: tuple[Stage, ...] = get_args(Stage)

Tier = Literal["zero_shot", "tuned", "finetuned"]
TIERS: tuple[Tier, ...] = get_args(Tier)

Metric = Literal["kl", "theta", "theta_ce", "cka", "mse", "ce", "dm", "random", "snnet", "race"]
METRICS: tuple[Metric, ...] = get_args(Metric)
SETS: tuple[Metric, ...] = ("snnet", "race")
"""The methods without a score: SN-Net's set, and the stitches of a race, which training decides."""

DOCUMENT = 4  # raised when a scores document says more: an older one is made again, not shown

LARGEST_IMAGE = 10_000  # pixels a side; more can only be a typing error
LONGEST_TEXT = 2**20  # tokens; likewise

MOST_ANCHORS = 1_000  # half a million pairs
MOST_BYTES = 2**21  # of a study's file; a table of ImageNet-21k's classes takes a fifth
DEEPEST = 6  # tables and lists within each other; a study has four
LARGEST_NUMBER = 2**63 - 1  # TOML's own limit, which Python's reader doesn't keep

# Python's reader takes a time that grows with the square of such a key's length.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){100}""")


class AnchorSpec(Section):
    """One anchor.

    Attributes:
        name: what the study calls it.
        model: the timm model, or ``package.module:factory`` for a function of the user's; for
            texts a decoder of the Hugging Face hub.
        weights: a local file, or a folder with one; None for timm's own, or the hub's. Of a decoder
            a folder with its tokenizer too.
        image_size: (height, width) in pixels, or one number for both; None for the network's own.
        fused: whether it runs in timm's fused form, with parallel branches and batch normalisation
            folded into single convolutions, and is trained so.

    Examples:
        >>> AnchorSpec(name="small images", model="resnet18.a1_in1k", image_size=160).image_size
        (160, 160)
    """

    name: str = Field(min_length=1)
    model: str = Field(min_length=1)
    weights: str | None = None
    image_size: tuple[int, int] | None = None
    fused: bool = False

    @field_validator("image_size", mode="before")
    @classmethod
    def _height_and_width(cls, value: Any) -> Any:
        if value is None:
            return None
        sides = value if isinstance(value, list | tuple) else (value, value)
        if len(sides) != 2 or not all(type(s) is int and 0 < s <= LARGEST_IMAGE for s in sides):
            given = json.dumps(value, default=str)[:60]
            raise ValueError(
                f"anchors: image_size = {given}: give a number of pixels up to {LARGEST_IMAGE:,}, "
                "or two as [height, width]"
            )
        return tuple(sides)

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Options that came later are written where they are set: older studies stay as they are.

        What is written goes into the digests by which results are found.
        """
        plain: dict[str, Any] = serialize(self)
        return {k: v for k, v in plain.items() if k not in ("image_size", "fused") or v}


class DataSpec(Section):
    """Where the images are, and which of them are used.

    Attributes:
        train, val: references to data sets (:func:`klas.data.images.open_images`).
        test: images that no choice saw, if there are any; jointly trained networks are measured
            on them too.
        train_samples, val_samples, test_samples: how many images are used of each.
        crop: the share of a resized image's side that is kept, in the middle.
        interpolation: how images are resized.
        classes: of label maps, the text file of their names, a class per line, the first being
            number 0.
        void: of label maps, the number of the pixels that count nowhere.
        length: of texts, how many tokens a sample has.
        class_map: which output of the anchors each class is, as a table or a file of one; needed
            if the classes' names don't say (:mod:`klas.data.labels`).
    """

    train: str
    val: str
    test: str | None = None
    train_samples: Positive = 100_000
    val_samples: Positive = 5_000
    test_samples: Positive = 50_000
    crop: Annotated[float, Field(gt=0, le=1)] = 0.9
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    classes: str | None = None
    void: Annotated[int, Field(ge=0, le=255)] = 255
    length: Annotated[int, Field(ge=1, le=LONGEST_TEXT)] = 256
    class_map: str | dict[str, Annotated[int, Field(ge=0)]] | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What label maps and texts have is written where it is set: so older studies stay."""
        plain: dict[str, Any] = serialize(self)
        usual = {"classes": None, "void": 255, "length": 256}
        return {k: v for k, v in plain.items() if k not in usual or v != usual[k]}


class ProbesSpec(Section):
    """How the linear probes are trained.

    Attributes:
        pool: what a unit's features are, the mean over all positions or over the prefix tokens.
        l2: the weight of ½‖W‖² beside the mean loss.
        temperature: what logits are divided by: one number, or ``"fitted"`` for each probe.
        trainer: ``"lbfgs"`` trains all probes to the optimum on features that are taken once;
            ``"probenet"`` is the paper's way, for comparison: gradient steps with one probe active
            in every forward pass.
        steps, batch, lr: of decoders' probes, which are trained by AdamW: how many steps, texts of
            a step, the peak learning rate.
    """

    pool: Literal["mean", "prefix"] = "mean"
    l2: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    temperature: Rate | Literal["fitted"] = 1.0
    trainer: Literal["lbfgs", "probenet"] = "lbfgs"
    steps: Positive = 250
    batch: Positive = 32
    lr: Rate = 1e-3

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What decoders' probes have is written where it is set: older studies stay as they are."""
        plain: dict[str, Any] = serialize(self)
        usual = {"steps": 250, "batch": 32, "lr": 1e-3}
        return {k: v for k, v in plain.items() if k not in usual or v != usual[k]}

    def inputs(self) -> dict[str, Any]:
        """What keys are made of; results from before there were two trainers are of the first."""
        usual = {"trainer"} if self.trainer == "lbfgs" else None
        return self.model_dump(mode="json", exclude=usual)

    def of_decoders(self) -> dict[str, Any]:
        """What keys of decoders' probes are made of: all that decides how they are trained."""
        return {"trained": "translators", "steps": self.steps, "batch": self.batch, "lr": self.lr}


class FitSpec(Section):
    """Least squares: how many class-balanced training images it uses (SN-Net uses 100)."""

    samples: Positive = 100


class TuningSpec(Section):
    """Tier ``tuned``: AdamW on the stitch layer alone.

    Attributes:
        steps: how many.
        batch: images of a step.
        lr: the peak learning rate.
        seed: for the order of images alone.
    """

    steps: Positive = 100
    batch: Positive = 128
    lr: Rate = 1e-3
    seed: Seed = 0


class FinetuningSpec(Section):
    """Tier ``finetuned``: steps of one random member each, for one pair's whole selection.

    Attributes:
        steps: how many; with 0 the fitted layers are measured as they are.
        batch: images of a step.
        lr: the anchors' peak learning rate; the stitch layers, which start untrained, get three
            times that.
        distillation: whether the predictions of the anchor that is best on validation (the
            costlier of two equals) are hard targets too, as in SN-Net.
        seed: for the order of images and members alone.
    """

    steps: Annotated[int, Field(ge=0, le=10**7)] = 2_000
    batch: Positive = 128
    lr: Rate = 1e-4
    distillation: bool = False
    seed: Seed = 0


class SelectionSpec(Section):
    """How the stitches are chosen: buckets and tolerance (paper, step 3).

    Attributes:
        metric: the score.
        tau: the tolerance.
        tau_mode: whether τ is relative to a bucket's lowest score or an absolute score.
        buckets: how many.
        binning: buckets of equal width or of equal count.
        full: whether the buckets cover all candidates, not only those between the anchors.
        space: whether stitches into the target's stem (j = 0) are candidates too.
    """

    metric: Metric = "kl"
    tau: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    tau_mode: Literal["relative", "absolute"] = "relative"
    buckets: Annotated[int, Field(gt=0, le=1000)] = 20
    binning: Literal["width", "count"] = "width"
    full: bool = False
    space: Literal["paper", "with-stem"] = "paper"


EngineName = Literal["auto", "here", "processes", "ray"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


class EngineSpec(Section):
    """What carries results out. The results are the same, so no key depends on it.

    Attributes:
        name: ``here`` (one after another in this process), ``processes`` (as many as there are
            cores, or GPUs), ``ray`` (on a Ray cluster), or ``auto``: processes where the work is
            long enough and there is more than one core or GPU, else here.
        workers: at most so many processes, or workers of a cluster.
        address: of the Ray cluster, as ``HOST:PORT``; without one it is what ``RAY_ADDRESS``
            names, else the cluster that `ray start` began on this machine, else a new one here.
    """

    name: EngineName = "auto"
    workers: Annotated[int, Field(gt=0, le=10_000)] | None = None
    address: Annotated[str, Field(min_length=1, max_length=300)] | None = None


PairRule = Literal["cheaper-first", "both-directions"]


class Study(Section):
    """A whole study. Frozen: derive others with :func:`change`.

    Attributes:
        name: what files and pages call it.
        task: what its networks are for.
        seed: for everything that is drawn at random.
        anchors: the pretrained networks, at least two; a bare name is a timm model.
        pairs: which are stitched: a rule, or (source, target) by name.
        precision: what forward passes compute in; ``auto`` is bfloat16 on CUDA devices built for
            it, else float32. Sums and probes are float32 or wider in any case.
        data: where the images are.
        probes, fit, tuning, finetuning, selection: the settings of each stage.
        engine: what carries the work out.
        training: the recipe of `klas train`, on which no stored result depends.

    Examples:
        >>> study = Study(
        ...     name="two",
        ...     anchors=["resnet18.a1_in1k", "resnet50.a1_in1k"],
        ...     data=DataSpec(train="train", val="val"),
        ... )
        >>> study.tuning.steps, study.selection.tau
        (100, 0.05)
        >>> change(study, "selection", tau=0.1).selection.tau
        0.1
    """

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w .+-]+$")
    task: TaskName = "classification"
    seed: Seed = 0
    anchors: Annotated[tuple[AnchorSpec, ...], Field(max_length=MOST_ANCHORS)]
    pairs: PairRule | tuple[tuple[str, str], ...] = "cheaper-first"
    precision: PrecisionRule = "auto"
    data: DataSpec
    probes: ProbesSpec = ProbesSpec()
    fit: FitSpec = FitSpec()
    tuning: TuningSpec = TuningSpec()
    finetuning: FinetuningSpec = FinetuningSpec()
    selection: SelectionSpec = SelectionSpec()
    engine: EngineSpec = EngineSpec()
    training: TrainingSpec = TrainingSpec()

    @field_validator("anchors", mode="before")
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple({"name": a, "model": a} if isinstance(a, str) else a for a in value)

    @field_validator("pairs", mode="before")
    @classmethod
    def _lists_to_tuples(cls, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(tuple(p) if isinstance(p, list) else p for p in value)
        return value

    @model_validator(mode="after")
    def _anchors_and_pairs(self) -> Self:
        names = [a.name for a in self.anchors]
        if len(names) < 2:
            raise ValueError(
                f"anchors: at least two are needed to stitch, but the study names {names}"
            )
        if len(set(names)) < len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ValueError(f"anchors: {twice} named twice; give each anchor a name of its own")
        if self.task == "segmentation" and self.probes.pool == "prefix":
            raise ValueError(
                'probes: pool = "prefix" is for images of one class; the units of segmentation are '
                'cells of the map, so leave pool at "mean"'
            )
        if self.task == "language":
            self._refuse_what_is_for_images()
        if not isinstance(self.pairs, str):
            known = set(names)
            if not self.pairs:
                raise ValueError("pairs: the list is empty; name pairs or use 'cheaper-first'")
            for source, target in self.pairs:
                for name in (source, target):
                    if name not in known:
                        raise ValueError(
                            f"pairs: {name!r} is not an anchor of this study ({names})"
                        )
                if source == target:
                    raise ValueError(f"pairs: {source!r} cannot be stitched to itself")
            if len(set(self.pairs)) < len(self.pairs):
                raise ValueError("pairs: the same pair is named twice")
        return self

    def _refuse_what_is_for_images(self) -> None:
        usual, set_here = ProbesSpec(), self.probes.inputs()
        odd = [name for name, value in usual.inputs().items() if set_here.get(name) != value]
        if odd or self.probes.trainer != usual.trainer:
            raise ValueError(
                f"probes: {(odd or ['trainer'])[0]} is for probes of images; those of decoders "
                "are trained through their own unembedding, by [probes] steps, batch and lr"
            )
        for name in ("classes", "class_map"):
            if getattr(self.data, name) is not None:
                raise ValueError(f"data: {name} is for images; texts have no classes")
        for anchor in self.anchors:
            if anchor.image_size is not None or anchor.fused:
                what = "fused" if anchor.fused else "image_size"
                raise ValueError(f"anchors: {anchor.name}: {what} is for networks of images")

    @model_serializer(mode="wrap")
    def _without_usual_task(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Studies from before there were tasks stay as they are, and so do their keys."""
        plain: dict[str, Any] = serialize(self)
        return {k: v for k, v in plain.items() if k != "task" or v != "classification"}

    def order_seed(self, section: TuningSpec | FinetuningSpec) -> int:
        """What seeds the order of images in a training: the study's seed and the section's."""
        return (self.seed + 1_000_003 * section.seed) % 2**32

    def results_key(self) -> str:
        """SHA-256 of all that the scores document depends on: not how stitches are chosen."""
        raw = self.model_dump(mode="json", exclude={"name", "finetuning", "engine", "training"})
        raw["selection"] = raw["selection"]["space"]
        raw["probes"] = self.probes.inputs()
        raw["document"] = DOCUMENT
        text = json.dumps(raw, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """Plain values of all that documents depend on, whoever computed them and trains later."""
        return self.model_dump(mode="json", exclude={"engine", "training"})

    def to_toml(self) -> str:
        """The study as a file that :func:`load_study` reads back to an equal study."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


DIGITS = Study(
    name="digits",
    anchors=tuple(
        AnchorSpec(name=name, model=name)
        for name in ("digits_vit_tiny", "digits_vit_small", "digits_convnet", "digits_vit_base")
    ),
    data=DataSpec(
        train="klas/digits:train",
        val="klas/digits:val",
        test="klas/digits:test",
        train_samples=10_000,
        val_samples=5_000,
        test_samples=5_000,
        crop=1.0,
        interpolation="bilinear",
    ),
    # Networks this narrow learn at rates far above those for ImageNet. 2,000 steps are a sixth of
    # the anchors' own training.
    tuning=TuningSpec(steps=200, lr=1e-2),
    finetuning=FinetuningSpec(steps=2_000, lr=2e-3),
    selection=SelectionSpec(buckets=8),
    # The scenes are drawn without end and differ as much as augmentation could make them; a
    # mirrored digit is none, and half of one is another.
    training=TrainingSpec(
        steps=2_000,
        batch=128,
        lr=2e-3,
        warmup=0.1,
        smoothing=0.0,
        mixup=0.0,
        cutmix=0.0,
        aa="",
        color_jitter=0.0,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        hflip=0.0,
        reprob=0.0,
    ),
)
"""The built-in study: real data and trained networks that ship with the package."""

DIGITS_SEGMENTATION = Study(
    name="digits-segmentation",
    task="segmentation",
    anchors=tuple(
        AnchorSpec(name=name, model=name)
        for name in ("digits_seg_vit_tiny", "digits_seg_convnet_small", "digits_seg_convnet")
    ),
    data=DataSpec(
        train="klas/digits-segmentation:train",
        val="klas/digits-segmentation:val",
        test="klas/digits-segmentation:test",
        train_samples=2_000,
        val_samples=1_000,
        test_samples=1_000,
        crop=1.0,
        interpolation="bilinear",
    ),
    tuning=TuningSpec(steps=50, batch=32, lr=1e-2),
    finetuning=FinetuningSpec(steps=500, batch=32, lr=2e-3),
    selection=SelectionSpec(buckets=6),
)
"""The built-in study of networks that say of every pixel which digit's it is."""


TALES = Study(
    name="tales",
    task="language",
    anchors=tuple(
        AnchorSpec(name=name, model=f"klas/{name}")
        for name in ("tales-tiny", "tales-small", "tales-base")
    ),
    data=DataSpec(
        train="klas/tales:train",
        val="klas/tales:val",
        test="klas/tales:test",
        train_samples=4_000,
        val_samples=500,
        test_samples=500,
        length=64,
    ),
    # Decoders this narrow learn at rates far above those for the hub's.
    probes=ProbesSpec(lr=1e-2),
    tuning=TuningSpec(steps=200, batch=16, lr=1e-2),
    finetuning=FinetuningSpec(steps=500, batch=16, lr=2e-3),
    selection=SelectionSpec(buckets=6),
)
"""The built-in study of decoders, which continue tales."""


def built_in_studies() -> dict[str, Study]:
    """Every built-in study by its name, the usual one first.

    Examples:
        >>> list(built_in_studies())
        ['digits', 'digits-segmentation', 'tales']
    """
    return {study.name: study for study in (DIGITS, DIGITS_SEGMENTATION, TALES)}


def built_in_named(name: str | Path) -> Study | None:
    """The built-in study of a name; None if there is none, or a file is called so."""
    known = built_in_studies().get(str(name))
    return None if known is None or os.path.exists(name) else known


def load_study(path: str | Path | None) -> Study:
    """Read a study file; ``None`` gives the built-in digits study, a name another built-in one.

    Relative ``weights``, ``class_map`` and data folders are taken from the file's own folder, so
    a study means the same from wherever it is run.

    Raises:
        StudyError: the file is missing or not TOML, or has an unknown key or a bad value.

    Examples:
        >>> study = load_study(None)
        >>> study.name, [anchor.name for anchor in study.anchors][:2]
        ('digits', ['digits_vit_tiny', 'digits_vit_small'])
        >>> load_study("digits-segmentation").task
        'segmentation'
        >>> load_study("tales").task
        'language'
        >>> _ = Path("mine.toml").write_text(study.to_toml(), encoding="utf-8")
        >>> load_study("mine.toml") == study
        True
    """
    if path is None:
        return DIGITS
    if (built_in := built_in_named(path)) is not None:
        return built_in
    path = Path(path)
    data = read_at_most(path, MOST_BYTES, StudyError)
    try:
        text = data.decode("utf-8-sig")  # editors on Windows put a mark before it
    except UnicodeDecodeError:
        raise StudyError(f"{path}: is not UTF-8 text; a study is a TOML file") from None
    if (key := _LONG_KEY.search(text)) is not None:
        raise StudyError(f"{path}: {key[0][:20]}… is a key of more than 100 parts, but {_KEYS}")
    with reading(StudyError, f"{path}: is not valid TOML", "mend it"):
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise StudyError(f"{path}: is not valid TOML: {error}") from None
    return _with_absolute_paths(parse_study(raw, str(path)), path.resolve().parent)


def parse_study(raw: dict[str, Any], where: str) -> Study:
    """Validate a study given as plain values; ``where`` names it in the error's sentence.

    Raises:
        StudyError: they are no study.
    """
    with reading(StudyError, f"{where}: is not a study", _KEYS):
        _refuse_monsters(raw, where)
        try:
            # JSON mode: TOML and JSON have lists where the study has tuples.
            return Study.model_validate_json(json.dumps(raw, default=str))
        except ValidationError as error:
            raise StudyError(f"{where}: {_sentence(error)}") from None


_KEYS = "`klas study show` prints every key there is"


def _refuse_monsters(value: Any, where: str, place: tuple[str, ...] = ()) -> None:
    """Refuse what no setting is like and what no parser is made for."""
    named = f"{where}: {'.'.join(place)}"
    if isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise StudyError(f"{named}: is a number of more than 64 bits, but no setting is so large")
    if isinstance(value, dict | list | tuple):
        if len(place) > DEEPEST:
            raise StudyError(f"{named}: is nested deeper than any setting; {_KEYS}")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_monsters(inner, where, (*place, str(key)))


def change(study: Study, section: str, **values: Any) -> Study:
    """A copy with some settings of one section changed and validated; ``None`` keeps a value."""
    wanted = {k: v for k, v in values.items() if v is not None}
    raw = study.model_dump(mode="json")
    raw[section] |= wanted
    return parse_study(raw, "settings")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function"))
    given = json.dumps(first["input"], default=str, ensure_ascii=False)[:60]
    match first["type"]:
        case "extra_forbidden":
            return f"unknown key {place!r}; {_KEYS}"
        case "missing":
            return f"the key {place!r} is missing"
        case "value_error":
            return str(first["ctx"]["error"])
        case "too_long":
            return f"{place}: has more than {first['ctx']['max_length']:,} entries"
        case _ if not place:
            return f"is not a table of settings; {_KEYS}"
        case "string_pattern_mismatch":  # only a study's name has a pattern
            return f"{place} = {given}: use letters, digits, spaces and the signs . + - _ alone"
        case _:
            return f"{place} = {given}: {first['msg'].lower()}"


def _with_absolute_paths(study: Study, folder: Path) -> Study:
    def absolute(ref: str) -> str:
        # "klas/digits:train", "hfds/…" name a collection, not a folder beside the file.
        try:
            return str(folder / ref) if (folder / ref).exists() else ref
        except OSError:  # not a possible file name; whoever opens the data says so
            return ref

    data = study.data
    return study.model_copy(
        update={
            "anchors": tuple(
                a.model_copy(update={"weights": absolute(a.weights)}) if a.weights else a
                for a in study.anchors
            ),
            "data": data.model_copy(
                update={
                    "train": absolute(data.train),
                    "val": absolute(data.val),
                    "test": None if data.test is None else absolute(data.test),
                    "classes": None if data.classes is None else absolute(data.classes),
                    "class_map": absolute(data.class_map)
                    if isinstance(data.class_map, str)
                    else data.class_map,
                }
            ),
        }
    )
