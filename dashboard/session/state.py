"""Everything that a session holds, with its types. Nothing else is kept between two runs of a page.

==================== ==============================================================================
``study_name``       which study is open, as the chooser names it
``page``             the title of the page that was shown last
``choices``          what was chosen on any page, where it differs from the study's own; what of it
                     the address carries is in :mod:`dashboard.session.address`
``address``          the address as this session wrote it last
``address_written``  when that changed, as ``time.monotonic`` counts
``emptied``          by page, the address that was its own when Streamlit's way to it emptied it
``widgets``          by choice, which of its widgets is the present one, and what that one rests on
``cost_axis``        the axis of cost whose numbers the chosen range and budget are
``typed_budget``     what the field says where that is no budget
``map``              what the map of a pair was drawn with
``tradeoff``         what the chart of accuracy against cost was drawn with
``engine``           what carries jobs out, where it is not what the study says
``by_hand``          by pair, the row of the stitch that is offered next to be listed
``recipe``           the settings of a training that are not the study's
``draft``            the study that is being made on the Anchors page
``uploaded_list``    the list from a file beside one's own, and the uploader that it came through
``studies_row``      the row that is marked on the Studies page
``tour``             how far the tour of the built-in study is
``notices``          by page, what it says once in its next run
``health``           what was found when the store was verified last, until it is repaired
``toasts``           what the next run announces of jobs that are done
==================== ==============================================================================

Beside these, Streamlit's session state has the values of widgets under their own keys. Those of
:func:`dashboard.session.choices.bound` begin with ``bound:``; those that begin with ``widget:``
belong to the study and go with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import streamlit as st

from dashboard.model.list_entries import Entry
from dashboard.model.training_budgets import BudgetFigure
from dashboard.model.trainings import Edits
from klas.results.costs import CostName
from klas.results.documents.stitches import StitchList
from klas.results.health import Health
from klas.selection.buckets import Binning, TauMode
from klas.selection.space import Place
from klas.study import EngineSpec, Metric, Tier

KEY = "session"
PictureFormat = Literal["png", "svg"]


class Choices(TypedDict, total=False):
    """What was chosen; a key that is absent stands for the study's own, or for the page's first.

    The address carries all but the last five.
    """

    pair: str
    metric: Metric
    tau: float
    tau_mode: TauMode
    buckets: int
    binning: Binning
    tier: Tier
    show: str
    cell: Place
    cost: CostName
    range: tuple[float, float]
    rival: Metric
    curves: tuple[Metric, ...]
    budget: float
    list: tuple[Entry, ...]
    undo: tuple[tuple[Entry, ...], ...]
    score: Metric
    budget_figure: BudgetFigure
    bucket_numbers: bool
    picture: PictureFormat


class Widget(NamedTuple):
    """The present widget of a choice.

    Attributes:
        number: how many there were before it; part of its key.
        identity: the page and the limits that it was made with.
    """

    number: int = 0
    identity: tuple[Any, ...] | None = None


class MapDrawing(NamedTuple):
    """What the map was drawn with.

    Attributes:
        number: how many drawings there were before it; part of the chart's key.
        drawn_with: the stitch that had its ring from the start.
        ringed: the one that has it now: a click moves the ring in the browser alone.
    """

    number: int = 0
    drawn_with: Place | None = None
    ringed: Place | None = None


class TradeoffDrawing(NamedTuple):
    """What the chart of accuracy against cost was drawn with.

    Attributes:
        appearance: all that it depends on but the ring.
        ringed: the stitch with a ring around it.
    """

    appearance: str
    ringed: Place | None


class AnchorPick(TypedDict):
    """An anchor as a study file has it."""

    name: str
    model: str
    weights: str | None
    image_size: NotRequired[list[int]]
    fused: NotRequired[bool]


@dataclass(kw_only=True)
class Draft:
    """A study that is being made.

    Attributes:
        base: the study that it starts from, as plain values; empty for the defaults.
        anchors: those that are picked so far.
        renewals: by widget, how often it had to take the draft's values; part of its key.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    anchors: list[AnchorPick] = field(default_factory=list)
    renewals: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class UploadedList:
    """Another list, from a file.

    Attributes:
        uploader: how many uploaders there were before the present one; part of its key.
        file_id: the file that was read last.
        name, form: the list, in the ``klas-stitches`` form; None while no file is open.
    """

    uploader: int = 0
    file_id: str | None = None
    name: str = ""
    form: StitchList | None = None


class StudiesRow(NamedTuple):
    """The row that is marked on the Studies page; it counts while the same study is open.

    Attributes:
        open_study: which study was open when it was marked.
        identity: of the study in the row; None for no row.
    """

    open_study: str | None
    identity: str | None


@dataclass(kw_only=True)
class Session:
    """One visitor's state, as the module's docstring lists it."""

    study_name: str | None = None
    page: str | None = None
    choices: Choices = field(default_factory=Choices)
    address: dict[str, str] = field(default_factory=dict)
    address_written: float = 0.0
    emptied: dict[str, dict[str, str]] = field(default_factory=dict)
    widgets: dict[str, Widget] = field(default_factory=dict)
    cost_axis: CostName | None = None
    typed_budget: tuple[tuple[CostName, int | str], float] | None = None
    map: MapDrawing = field(default_factory=MapDrawing)
    tradeoff: TradeoffDrawing | None = None
    engine: EngineSpec | None = None
    by_hand: dict[str, int] = field(default_factory=dict)
    recipe: Edits = field(default_factory=Edits)
    draft: Draft = field(default_factory=Draft)
    uploaded_list: UploadedList = field(default_factory=UploadedList)
    studies_row: StudiesRow | None = None
    tour: Literal["ahead", "begun", "over"] = "ahead"
    notices: dict[str, str] = field(default_factory=dict)
    health: Health | None = None
    toasts: list[str] = field(default_factory=list)


def session() -> Session:
    """The state of the session that this run belongs to."""
    present: Session = st.session_state.setdefault(KEY, Session())
    return present


def choices() -> Choices:
    """What was chosen in this session; :func:`dashboard.session.choices.keep` changes it."""
    return session().choices
