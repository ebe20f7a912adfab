"""How `klas train` trains: the section ``[training]`` of a study. No torch here."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from klas.section import Positive, PrecisionRule, Rate, Section, Seed, Share

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = tuple[Rate, Rate]

Schedule = Literal["cosine", "tanh", "wsd", "constant"]


class TrainingSpec(Section):
    """The recipe of a training of all members of a list, in timm's words where it has them.

    The defaults are DeiT's recipe, as far as it suits weights that are pretrained.

    Attributes:
        steps: how many; each trains one member, drawn at random.
        batch: images of a step, over all processes together.
        accumulate: in how many parts a process takes its share of a batch, one after another.
        lr: the anchors' peak learning rate.
        stitch_lr: how many times that the stitch layers get, which start untrained.
        opt: an optimiser of timm's.
        weight_decay: of weights; biases and what normalises have none.
        sched: how the rate falls.
        warmup: the share of the steps in which it rises, from ``warmup_lr``.
        warmup_lr, min_lr: where it begins and ends.
        clip: the greatest norm of the gradient; 0 for none.
        precision: what forward passes compute in; ``auto`` is bfloat16 on CUDA devices built for
            it, else float32.
        smoothing: of labels.
        mixup, cutmix: α of both; 0 for none.
        mixup_prob: how often a batch is mixed at all.
        switch_prob: how often by cutmix, where both are on.
        aa: RandAugment or AutoAugment as timm writes it; empty for none.
        color_jitter: its strength; timm leaves it out where ``aa`` is on.
        scale, ratio: area and aspect of the random crop.
        hflip: how often an image is mirrored.
        reprob: how often a rectangle of it is erased.
        ema_decay: of the moving average of the weights, which is then what is kept; 0 for none.
            It pays in long trainings whose rate stays high.
        distillation: whether the best anchor teaches: its classes (``hard``, as in SN-Net) or its
            probabilities (``soft``).
        temperature: what ``soft`` divides both logits by.
        distillation_weight: the share of the teacher's part in the loss.
        seed: for the order of images and members, augmentation and dropout.
        validate_every: steps between two measurements of every member; 0 for none on the way.
        log_every: steps between two lines of the log.
        checkpoint_seconds: between two checkpoints.

    Examples:
        >>> TrainingSpec(steps=500, mixup=0.0, cutmix=0.0).mixes
        False
    """

    steps: Positive = 10_000
    batch: Positive = 256
    accumulate: Annotated[int, Field(gt=0, le=10_000)] = 1
    lr: Rate = 1e-4
    stitch_lr: Rate = 3.0
    opt: str = Field(default="adamw", min_length=1, max_length=40)
    weight_decay: Amount = 0.05
    sched: Schedule = "cosine"
    warmup: Share = 0.05
    warmup_lr: Rate = 1e-6
    min_lr: Amount = 0.0
    clip: Amount = 1.0
    precision: PrecisionRule = "auto"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mixup: Amount = 0.8
    cutmix: Amount = 1.0
    mixup_prob: Share = 1.0
    switch_prob: Share = 0.5
    aa: str = Field(default="rand-m9-mstd0.5-inc1", max_length=200)
    color_jitter: Annotated[float, Field(ge=0, le=1)] = 0.4
    scale: Range = (0.08, 1.0)
    ratio: Range = (0.75, 1.3333)
    hflip: Share = 0.5
    reprob: Share = 0.25
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    distillation: Literal["none", "hard", "soft"] = "none"
    temperature: Rate = 1.0
    distillation_weight: Share = 0.5
    seed: Seed = 0
    validate_every: Annotated[int, Field(ge=0, le=10**7)] = 0
    log_every: Positive = 10
    checkpoint_seconds: Amount = 60.0

    @field_validator("scale", "ratio")
    @classmethod
    def _from_low_to_high(cls, value: Range) -> Range:
        if value[0] > value[1]:
            raise ValueError(f"training: {list(value)}: the first number must not be the greater")
        return value

    @model_validator(mode="after")
    def _a_crop_lies_within_the_image(self) -> Self:
        if self.scale[1] > 1:
            raise ValueError(f"training.scale = {list(self.scale)}: is a share of the image's area")
        return self

    @property
    def mixes(self) -> bool:
        """Whether images are mixed."""
        return bool(self.mixup or self.cutmix) and self.mixup_prob > 0

    def decisive(self) -> dict[str, Any]:
        """All that decides which weights come out, up to rounding: what a checkpoint agrees with.

        In how many parts a batch is taken is left open, as the number of processes is.
        """
        looking_on = {"accumulate", "validate_every", "log_every", "checkpoint_seconds"}
        return self.model_dump(mode="json", exclude=looking_on)
