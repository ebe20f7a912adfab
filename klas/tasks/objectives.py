"""From a task's name to what it does with tensors."""

from klas.study import TaskName
from klas.tasks.classification import Classification
from klas.tasks.language import Language
from klas.tasks.objective import Objective
from klas.tasks.segmentation import Segmentation

_OBJECTIVES: dict[TaskName, Objective] = {
    "classification": Classification(),
    "segmentation": Segmentation(),
    "language": Language(),
}


def objective_of(task: TaskName) -> Objective:
    """A task's objective.

    Examples:
        >>> objective_of("classification").task.metric.name
        'top1'
    """
    return _OBJECTIVES[task]
