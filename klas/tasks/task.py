"""The tasks that networks are for: what files and people call them, and their metric. No torch."""

from dataclasses import dataclass

from klas.errors import FormatError
from klas.study import TaskName
from klas.tasks.metric import MIOU, TOKEN_ACCURACY, TOP1, AccuracyMetric


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a study's networks are for.

    Attributes:
        name: in files.
        metric: what an accuracy is.
        samples: what people call the samples, in the plural.
    """

    name: TaskName
    metric: AccuracyMetric
    samples: str


CLASSIFICATION = Task(name="classification", metric=TOP1, samples="images")

SEGMENTATION = Task(name="segmentation", metric=MIOU, samples="images")

LANGUAGE = Task(name="language", metric=TOKEN_ACCURACY, samples="texts")

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, SEGMENTATION, LANGUAGE)}


def task_named(name: str) -> Task:
    """A task by its name in files.

    Raises:
        FormatError: there is none of that name here.
    """
    try:
        return TASKS[name]
    except (KeyError, TypeError):
        known = ", ".join(TASKS)
        raise FormatError(
            f"task {name!r} is not known here; a newer klas may know it, this one has {known}"
        ) from None
