"""The head of every page: its title, the choosers of study, pair, score and tier, the selection."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from dashboard.controls.tour import lead_on
from dashboard.model.trainings import Edits
from dashboard.session.address import EVERY_PAIR, as_code, complaint, pair_parameter
from dashboard.session.choices import (
    bound,
    follow,
    forget,
    forget_all,
    keep,
    new_address,
    write_address,
)
from dashboard.session.resources import (
    document,
    named_study,
    store,
    study,
    study_name,
    without_place,
)
from dashboard.session.state import choices, session
from dashboard.text.markup import plain
from dashboard.text.quantities import HELD_BEST, QUANTITIES
from klas.errors import KlasError
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair, pairs_of
from klas.storage.saved_studies import saved_studies
from klas.study import (
    METRICS,
    SETS,
    TIERS,
    Metric,
    SelectionSpec,
    Tier,
    built_in_studies,
    change,
)

P = ParamSpec("P")
ALL_PAIRS = "All pairs"
SELECTION_KEYS = ("tau", "tau_mode", "buckets", "binning")


def heading(title: str) -> None:
    """A page's title, and beside it the chooser of the study that every page is about.

    The page then shows what the address asks for, and says what in it makes no sense.
    """
    names = list(dict.fromkeys([*named_study(), *built_in_studies(), *saved_studies(store())]))
    asked = new_address(title)
    wanted = session().study_name if asked is None else asked.get("study", names[0])
    if wanted not in names:
        asked = None  # the rest of the address belongs to that study
        _open(names[0])
    elif wanted != session().study_name:
        _open(wanted)
    left, right = st.columns([3, 1], vertical_alignment="bottom", gap="large")
    left.title(title)
    if store().read_only:
        st.info(
            f"The cache {plain(store().root.name)} is read-only: what it holds is shown, but "
            "nothing can be computed, saved or deleted.",
            icon=":material/lock:",
        )
    right.selectbox(
        "Study",
        help="The built-in studies, and those made on the **Anchors** page.",
        **bound("study", study_name(), options=names, change=open_study),
    )
    if wanted is not None and wanted not in names:
        st.warning(f"There is no study {as_code(wanted)} here.", icon=":material/link_off:")
    if asked is not None:
        follow(asked)
    write_address()
    lead_on(title)


def open_study(name: str) -> None:
    """Show this study from the next run on. What was chosen with another one is forgotten."""
    _open(name)
    write_address()


def _open(name: str) -> None:
    session().study_name = name
    session().engine = None
    session().recipe = Edits()
    forget_all()


def scored_document() -> Document:
    """The document once its scores are there; otherwise says what to do and ends the page."""
    scores = document()
    if scores is None or all(pair["theta"] is None for pair in scores["pairs"]):
        st.info(
            "There are no scores yet. Compute them on the **Study** page.", icon=":material/info:"
        )
        if st.button("Go to Study", icon=":material/science:"):
            st.switch_page("views/study.py")
        st.stop()
    return scores


def pick_pair(scores: Document, *, or_all: bool = False) -> Pair | None:
    """A selector of the pair, shared by the pages; None stands for all of them, if offered."""
    pairs = pairs_of(scores)
    # At first the pair with the most to choose from.
    own = pair_parameter(max(pairs, key=lambda p: int(p.in_space.sum())))
    parameters = {pair_parameter(p): p.name for p in pairs}
    if or_all and len(pairs) > 1:
        parameters[EVERY_PAIR] = ALL_PAIRS
    chosen = choices().get("pair", own)
    if chosen not in [*parameters, EVERY_PAIR]:
        sentence = complaint("pair", chosen, "this study has no such pair")
        st.warning(sentence, icon=":material/link_off:")
        forget("cell")
        keep("pair", None)
    names = list(parameters.values())

    def change_pair(name: str) -> None:
        parameter = next(p for p, n in parameters.items() if n == name)
        forget("cell")  # it belongs to the other pair
        keep("pair", None if parameter == own else parameter)

    shown = parameters.get(chosen, parameters[own])
    name = st.selectbox(
        "Pair (source → target)", **bound("pair", shown, options=names, change=change_pair)
    )
    return None if name == ALL_PAIRS else pairs[names.index(name)]


def pick_metric() -> Metric:
    """A selector of the score, shared by the pages. A set is none: there KLAS's is."""
    scored = [metric for metric in METRICS if metric not in SETS]
    start = metric_at_hand()
    metric: Metric = st.selectbox(
        "Score",
        format_func=METHODS.__getitem__,
        help="What chooses: in every bucket the stitches with the lowest score. "
        + f"{QUANTITIES[start].explanation}\n\n{HELD_BEST}",
        **bound("metric", start, options=scored),
    )
    return metric


def metric_at_hand() -> Metric:
    """The score that chooses, as :func:`pick_metric` shows it."""
    own = study().selection.metric
    return choices().get("metric", "kl" if own in SETS else own)


def pick_tier(start: Tier) -> Tier:
    """A selector of whose accuracies are shown, shared by the pages."""
    tier: Tier = st.segmented_control(
        "Accuracy",
        TIERS,
        required=True,
        help="zero_shot: the stitch layer is fitted by least squares. tuned: only the stitch layer "
        "is trained. finetuned: stitches and anchors are trained jointly. A curve never mixes "
        "tiers.",
        **bound("tier", choices().get("tier", start), argument="default"),
    )
    return tier


def selection() -> SelectionSpec:
    """The study's selection with what was changed in this session, but for the score."""
    values = {name: choices().get(name) for name in SELECTION_KEYS}
    return change(study(), "selection", **values).selection


def says_errors(part: Callable[P, None]) -> Callable[P, None]:
    """Turn a KlasError into one sentence where the problem is; the page goes on around it."""

    @wraps(part)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            part(*args, **kwargs)
        except KlasError as error:
            st.error(without_place(str(error)), icon=":material/error:")

    return shown
