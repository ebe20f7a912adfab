"""What the training of a list says: pure sentences, Markdown."""

from collections.abc import Collection

from dashboard.model.list_entries import Entry
from dashboard.model.trainings import Curves, Training
from dashboard.text.job_titles import stitches_of
from dashboard.text.markup import plain
from klas.jobs.status import Status
from klas.recipe import TrainingSpec
from klas.results.documents.networks import NetworkMember
from klas.results.formatting import duration, size
from klas.storage.files import file_name
from klas.storage.trained import FOLDER

EDITED = ("steps", "batch", "lr", "distillation", "precision", "validate_every", "seed")
"""The settings that the page has fields for, beside mixup and cutmix."""

RECIPE_HELP = {
    "steps": "Each trains one member of the network, drawn at random.",
    "batch": "Images of a step.",
    "lr": "The anchors' highest; stitch layers, which start untrained, get a multiple of it.",
    "seed": "Of the order of images and members, augmentation and dropout.",
    "distillation": "Whether the best anchor teaches: its classes (hard, as in SN-Net) or its "
    "probabilities (soft).",
    "mixes": "Whether images are mixed with each other, in two ways by turns.",
    "precision": "What forward passes compute in. auto: bfloat16 on GPUs built for it, else "
    "float32.",
    "validate_every": "Steps between two measurements of every member; 0 for none before the end.",
}
"""What the fields of the recipe are about."""


def other_settings(recipe: TrainingSpec) -> str:
    """All that a recipe has beside what can be edited here, as a study file has it."""
    shown = recipe.model_dump(mode="json", exclude=set(EDITED))
    return "\n".join(f"{name} = {_toml(value)}" for name, value in shown.items())


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def what_is_trained(stitches: Collection[Entry], recipe: TrainingSpec, taken: int) -> str:
    """How often each member gets its turn, and how large the network will be, about."""
    anchors = len({name for source, target, *_ in stitches for name in (source, target)})
    members = len(stitches) + anchors
    return (
        f"{stitches_of(tuple(stitches))} and {anchors} anchors in one network that shares their "
        f"blocks: {members} members, trained for about {recipe.steps / members:,.0f} of the "
        f"{recipe.steps:,} steps each. The network takes about {size(taken)}. *Estimate* loads it "
        "and times a step here."
    )


def training_title(training: Training) -> str:
    """What was trained, in a line."""
    stitches = [(s["source"], s["target"], 0, 0) for s in training.listed["stitches"]]
    recipe = training.recipe
    return (
        f"{stitches_of(stitches)}, {recipe.steps:,} steps of {recipe.batch:,} images"
        f"{'' if training.finished else ' (unfinished)'}"
    )


def standing(training: Training, curves: Curves, status: Status | None) -> str:
    """How far it is."""
    took = duration(curves.seconds)
    if training.finished:
        return f"Trained in {took}, with its measurements."
    at = f"step {curves.step:,} of {training.recipe.steps:,} after {took}"
    if status is not None and status.alive:
        return f"At {at}."
    return (
        f"Stopped, {at}. A checkpoint is written every "
        f"{duration(training.recipe.checkpoint_seconds)}: from the last one it goes on when it is "
        "started again, here or with the same stitches and the same recipe."
    )


def folder_name(study: str) -> str:
    """What the folder is called in the file that is downloaded."""
    return f"{file_name(study)}-trained"


def python_lines(folder: str, members: Collection[NetworkMember]) -> str:
    """The Python that loads the network and takes a member within a budget."""
    costs = sorted(member["macs"] for member in members)
    budget = costs[len(costs) // 2]
    return (
        "import klas\n"
        "from PIL import Image\n\n"
        f'network = klas.load("{folder}")\n'
        f"network.use(macs={budget:_})  # the best that costs no more\n"
        'image = network.prepare(Image.open("picture.jpg"))[None]\n'
        "logits = network(image)  # of network.class_names"
    )


def where_it_lies(training: Training) -> str:
    """Where its files are in the cache folder; where that is on the server, a page never says."""
    return f"In the cache folder it is {plain(f'{FOLDER}/{training.name}')}."
