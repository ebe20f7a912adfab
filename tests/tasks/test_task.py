"""Tasks by their names in files."""

import subprocess
import sys

import pytest

from klas.errors import FormatError
from klas.results.pair import Pair
from klas.tasks.metric import TOP1
from klas.tasks.task import CLASSIFICATION, TASKS, task_named
from tests.results.written_study import DOCUMENT


def test_a_task_is_known_by_its_name():
    assert task_named("classification") is CLASSIFICATION
    assert CLASSIFICATION.metric is TOP1
    assert all(task_named(name).name == name for name in TASKS)


@pytest.mark.parametrize("name", ["speech", "", None, 3, ["classification"], {}])
def test_a_task_that_is_not_known_may_be_a_newer_klass(name):
    with pytest.raises(FormatError, match="a newer klas may know it") as caught:
        task_named(name)
    assert repr(name) in str(caught.value)
    assert "classification" in str(caught.value)  # what this one knows


def test_a_document_of_another_task_is_refused_when_its_figures_are_asked_for():
    pair = Pair(document={**DOCUMENT, "task": "speech"}, index=0)
    with pytest.raises(FormatError, match="task 'speech' is not known here"):
        _ = pair.task


def test_what_is_said_of_a_task_needs_no_torch():
    code = "import sys, klas.tasks.task, klas.tasks.metric; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
