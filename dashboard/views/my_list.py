"""My list: stitches chosen by a rule and edited by hand, beside a list from a file."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts.lists import lists_chart
from dashboard.charts.methods import STYLES
from dashboard.controls import picture_format as pictures
from dashboard.controls.add_to_list import fill_list
from dashboard.controls.downloads import Picked
from dashboard.controls.heading import (
    heading,
    metric_at_hand,
    pick_tier,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.model import list_difference as lists
from dashboard.model.list_difference import Listed
from dashboard.model.list_entries import picks
from dashboard.report.build import study_report, unscored
from dashboard.report.page import Page, Paragraph, render
from dashboard.session import my_list
from dashboard.session.resources import store, study
from dashboard.session.state import session
from dashboard.tables.columns import BUCKET, TIER_COLUMNS, even
from dashboard.text.markdown import plain
from dashboard.text.quantities import QUANTITIES
from klas.errors import FormatError, KlasError
from klas.results.accuracies import finetuned_accuracy
from klas.results.documents.stitches import StitchList
from klas.results.formats import dumps, parse
from klas.results.formatting import METHODS
from klas.results.pair import Document, cost_unit, number
from klas.results.selections import choose
from klas.results.stitch_list import as_csv, stitch_list
from klas.study import TIERS, SelectionSpec

MINE, OTHER = STYLES["kl"], STYLES["snnet"]
MOST_MEGABYTES = 5  # a list of ten thousand stitches
HALF_A_HUNDREDTH = 0.005  # less is printed as nothing


def _judged(picked: Sequence[Picked]) -> tuple[list[Picked], SelectionSpec]:
    """The picks whose scores are computed, and the selection that gives their scores and buckets.

    That is the selection of **Stitches**, but with Γ where its own score is not computed. The
    page says which.
    """
    scored = [(pair, mask) for pair, mask in picked if pair.is_scored("kl")]
    if len(scored) < len(picked):
        out = plain(", ".join(pair.name for pair, _ in picked if not pair.is_scored("kl")))
        st.info(
            f"The scores of {out} are not computed yet, so its stitches are left out here. The "
            "**Study** page computes them.",
            icon=":material/info:",
        )
    metric = metric_at_hand()
    lacking = [pair.name for pair, _ in scored if not pair.is_scored(metric)]
    if lacking:
        st.info(
            f"{METHODS[metric]}, the score on **Stitches**, is not computed for "
            f"{plain(', '.join(lacking))}, so the list has Γ.",
            icon=":material/info:",
        )
        metric = "kl"
    return scored, selection().model_copy(update={"metric": metric})


def _own(found: Document, picked: Sequence[Picked], spec: SelectionSpec) -> StitchList | None:
    """One's list in the form that is exported; None if it is empty."""
    if not picked:
        return None
    by_rule = all((choose(pair, spec).chosen == mask).all() for pair, mask in picked)
    return stitch_list(
        found,
        spec,
        pairs=[pair for pair, _ in picked],
        by_hand=None if by_rule else [mask for _, mask in picked],
        finetuned=lambda p, chosen: finetuned_accuracy(store(), p, chosen, study()),
    )


def _table(found: Document, own: StitchList) -> None:
    """The list; lines that are marked can be taken out."""
    unit = cost_unit(found)
    listed, rule = own["stitches"], own["selection"]
    score = QUANTITIES[rule["metric"]]
    tiers = [t for t in TIERS if any(s["accuracy"][t] is not None for s in listed)]
    rows = pd.DataFrame(
        {
            "pair": f"{s['source']} → {s['target']}",
            "stitch": f"{s['source_block']} → {s['target_block']}",
            "bucket": s["bucket"],
            unit.name: s["macs"] / unit.scale,
            "parameters": s["params"],
            score.label: number(s["score"]),
            **{f"{tier} (%)": 100 * number(s["accuracy"][tier]) for tier in tiers},
        }
        for s in listed
    )
    event = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="–",
        key=f"list:{len(my_list.entries())}",
        column_config={
            unit.name: even(rows[unit.name].to_numpy()),
            score.label: even(rows[score.label].to_numpy(), score.words),
            "bucket": st.column_config.NumberColumn(help=BUCKET),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **TIER_COLUMNS,
        },
    )
    marked = [lists.entries_in(own)[row] for row in event["selection"]["rows"]]
    method = METHODS[rule["metric"]]
    chosen = f"what {method} chooses with τ = {rule['tau']:g} ({rule['tau_mode']})"
    same = rule["metric"] == metric_at_hand()
    ours = ", the score that chooses on **Stitches**," if same else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Remove the {len(marked)} marked" if marked else "Remove",
            icon=":material/remove:",
            disabled=not marked,
            on_click=my_list.remove,
            args=(marked,),
            help="Mark lines at the left of the table.",
        )
        st.caption(
            f"The list is {'edited by hand, not ' if rule.get('edited') else ''}{chosen}. "
            f"{score.label}{ours} and the buckets are worked out for every stitch here, whatever "
            "picked it."
        )


def _open_file() -> Listed | None:
    """Another list, from a file; it stays until it is closed."""
    st.subheader("Another list", anchor=False)
    upload = session().uploaded_list
    given = st.file_uploader(
        "From `klas select --out`, or a download from here",
        type="json",
        max_upload_size=MOST_MEGABYTES,
        key=f"uploader:{upload.uploader}",
    )
    # What is larger the browser refuses with a red mark alone.
    st.caption(f"JSON, up to {MOST_MEGABYTES} MB; a larger file is marked red and not read.")
    if given is not None and given.file_id != upload.file_id:
        try:
            form = parse(given.getvalue(), given.name, "klas-stitches")
        except FormatError as error:
            st.error(f"{plain(str(error))}.", icon=":material/error:")
        else:
            upload.name, upload.form, upload.file_id = given.name, form, given.file_id
    if upload.form is None:
        return None
    return Listed(upload.name, upload.form, OTHER.colour, OTHER.symbol)


def _close_file() -> None:
    upload = session().uploaded_list
    upload.form = None
    upload.uploader += 1  # another uploader, an empty one


def _other(found: Document, other: Listed) -> None:
    """What the other list is, and whether its figures are this study's."""
    rule = other.form["selection"]
    made = "edited by hand" if rule.get("edited") else f"by {METHODS.get(rule['metric'], '?')}"
    st.markdown(f"**{plain(other.name)}**: {len(other.stitches)} stitches, {made}.")
    if not other.stitches:
        st.info("The list in this file is empty.", icon=":material/info:")
    apart = lists.differences(found, other.form)
    if apart:
        st.warning(f"It has {plain('; '.join(apart))}.", icon=":material/difference:")
    known = lists.known_entries(found, other.form)
    new = set(known) - set(my_list.entries())
    with st.container(horizontal=True):
        if other.stitches:
            st.button(
                _offer(len(known), any_new=bool(new)),
                icon=":material/playlist_add:",
                disabled=not new,
                on_click=my_list.add,
                args=(known,),
            )
        st.button("Close the file", icon=":material/close:", on_click=_close_file)
    gone = lists.left_out(found, other.form)
    if gone:
        st.caption(f"Of its {len(other.stitches)} stitches, {'; '.join(gone)}.")


def _offer(known: int, *, any_new: bool) -> str:
    """What the button that takes over a list says."""
    if not known:
        return "None of its stitches is known"
    stitches = f"{known} stitch{'es' * (known > 1)}"
    return f"Add its {stitches} to mine" if any_new else f"Its {stitches} are in mine"


def _beside(found: Document, shown: list[Listed]) -> None:
    """The lists as curves and figures."""
    every = [s["accuracy"] for listed in shown for s in listed.stitches]
    measured = [t for t in TIERS if any(top1[t] is not None for top1 in every)]
    tier = pick_tier("tuned" if "tuned" in measured else (measured or TIERS)[0])
    st.plotly_chart(
        lists_chart(found, shown, tier),
        config=pictures.config(),
        alt=f"Top-1 at tier {tier} of the listed stitches and of the anchors against their MACs",
    )
    if tier not in measured:
        st.info(f"Tier {tier} is not measured for any of these stitches.", icon=":material/info:")
    unit, rows = cost_unit(found), pd.DataFrame(lists.comparison_rows(found, shown, tier))
    one = st.column_config.NumberColumn(format="%.1f")
    costs = [f"{end} {unit.name}" for end in ("least", "most")]
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            **{f"{which} {tier} (%)": one for which in ("mean", "best")},
            **dict.fromkeys(costs, even(rows[costs].to_numpy(dtype=float))),
        },
    )
    if len(shown) == 2:
        mine, theirs = shown
        _against(*lists.gain_and_saving(found, mine, theirs, tier))


def _against(won: float | None, spared: float | None) -> None:
    """How my list does against the other one: points at equal cost, cost ratio at equal accuracy.

    What would be printed as no difference is called the same.
    """
    said = []
    if won is not None:
        same = abs(won) < HALF_A_HUNDREDTH
        said.append(
            "At equal cost both lists reach the **same** accuracy."
            if same
            else f"At equal cost my list is on average **{won:+.2f} points** against it."
        )
    if spared is not None:
        same = abs(spared - 1) < HALF_A_HUNDREDTH
        said.append(
            "At equal accuracy both cost the **same**."
            if same
            else f"At equal accuracy it costs on average **{spared:.2f} ×** what mine costs."
        )
    if said:
        st.markdown("  \n".join(said))
        st.caption("Each list reaches what the best of its stitches and of the anchors reaches.")


def _take_away(found: Document, own: StitchList | None) -> None:
    """The files."""
    # The session's own, asked for here: the report is made outside any run of the page.
    at_hand, spec, results = study(), selection(), store()

    def report() -> bytes:
        try:
            return study_report(found, at_hand, spec, own, results)
        except KlasError as error:
            why = Paragraph(text=f"The report could not be made: {error}.")
            return render(Page(title=at_hand.name, lead=[why]))

    st.subheader("Take away", anchor=False)
    with st.container(horizontal=True):
        if own is not None:
            name = f"stitches-{study().name.replace(' ', '-')}"
            st.download_button(
                "List as JSON",
                dumps(own),
                file_name=f"{name}.json",
                mime="application/json",
                icon=":material/download:",
                help="`klas check` rebuilds it, `klas.load_stitch` loads a network of it.",
                on_click="ignore",
            )
            st.download_button(
                "List as CSV",
                as_csv(own),
                file_name=f"{name}.csv",
                mime="text/csv",
                icon=":material/table:",
                on_click="ignore",
            )
        st.download_button(
            "Report of the study as HTML",
            report,
            file_name=f"klas-{at_hand.name.replace(' ', '-')}.html",
            mime="text/html",
            icon=":material/description:",
            help="One file with the anchors, every pair, the comparison of the methods and this "
            "list, to open without this app.",
            on_click="ignore",
        )
    missing = unscored(found)
    if missing:
        st.caption(f"The report is without {plain(', '.join(missing))}: not scored yet.")
    pictures.pick_kind()


@says_errors
def page() -> None:
    """The page."""
    heading("My list")
    found = scored_document()
    job_panel(study().name)
    picked = picks(found, my_list.entries())
    scored, spec = _judged(picked)
    own = _own(found, scored, spec)
    unknown = len(my_list.entries()) - sum(int(mask.sum()) for _, mask in picked)
    fill_list(found, spec)
    if unknown:
        st.warning(
            f"{unknown} stitches of the list are none of this study's; they are left out here."
            if unknown > 1
            else "One stitch of the list is none of this study's; it is left out here.",
            icon=":material/link_off:",
        )
    if own is None and not picked:
        st.info(
            "Nothing is picked yet. Take what a rule chooses, add stitches on **Scores** and "
            "**Stitches**, or open a list from a file.",
            icon=":material/info:",
        )
    elif own is not None:
        _table(found, own)
    left, right = st.columns(2, gap="large")
    with left:
        other = _open_file()
        if other is not None:
            _other(found, other)
    with right:
        _take_away(found, own)
    mine = [] if own is None else [Listed("my list", own, *MINE)]
    theirs = [] if other is None else [lists.of_own_anchors(found, other)]
    shown = [listed for listed in (*mine, *theirs) if listed.stitches]
    if shown:
        _beside(found, shown)


page()
