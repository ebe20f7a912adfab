"""The recipe of a training: the few settings that matter, to be edited; the others, to be seen."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.model.trainings import differing
from dashboard.session.choices import bound
from dashboard.session.resources import study
from dashboard.session.state import session
from dashboard.session.trainings import edit, forget_edits, recipe_at_hand
from dashboard.text.trainings import RECIPE_HELP, other_settings
from klas.recipe import TrainingSpec


def recipe_fields() -> TrainingSpec:
    """The fields; returns the recipe as they have it.

    Raises:
        StudyError: one of them makes no sense.
    """
    own, edits = study().training, session().recipe
    numbers, choices = st.columns(4), st.columns([1, 1, 1, 1], vertical_alignment="bottom")
    _number(numbers[0], "Steps", "steps", edits.get("steps", own.steps), least=1)
    _number(numbers[1], "Batch size", "batch", edits.get("batch", own.batch), least=1)
    _number(numbers[2], "Learning rate", "lr", edits.get("lr", own.lr), least=0.0)
    validate = edits.get("validate_every", own.validate_every)
    _number(numbers[3], "Validate every … steps", "validate_every", validate, least=0)
    taught = edits.get("distillation", own.distillation)
    _choice(choices[0], "Distillation", "distillation", taught)
    _choice(choices[1], "Precision", "precision", edits.get("precision", own.precision))
    _number(choices[2], "Seed", "seed", edits.get("seed", own.seed), least=0)
    choices[3].toggle(
        "Mixup and cutmix",
        help=RECIPE_HELP["mixes"],
        **_follows("mixes", edits.get("mixes", own.mixes)),
    )
    recipe = recipe_at_hand()
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("The other settings", icon=":material/tune:"):
            st.code(other_settings(recipe), language="toml")
            st.caption("A study file changes them, in its section `[training]`.")
        if differing(study(), recipe):
            st.button("Back to the study's recipe", icon=":material/undo:", on_click=forget_edits)
    return recipe


def _number(place: DeltaGenerator, label: str, name: str, value: float, *, least: float) -> None:
    step, form = (1, "%d") if isinstance(least, int) else (1e-4, "%.6g")
    place.number_input(
        label,
        min_value=least,
        step=step,
        format=form,
        help=RECIPE_HELP[name],
        **_follows(name, value),
    )


def _choice(place: DeltaGenerator, label: str, name: str, value: str) -> None:
    options: Sequence[str] = get_args(TrainingSpec.model_fields[name].annotation)
    place.segmented_control(
        label,
        options,
        required=True,
        help=RECIPE_HELP[name],
        **_follows(name, value, argument="default"),
    )


def _follows(
    name: str, value: Any, *, argument: Literal["value", "default"] = "value"
) -> dict[str, Any]:
    """Arguments for a widget that edits one of the recipe's settings.

    Args:
        argument: what the widget calls its value.
    """
    return bound(f"recipe_{name}", value, argument=argument, change=partial(edit, name))
