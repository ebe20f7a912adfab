"""The table of one's own list, from which marked lines can be removed."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from dashboard.controls.export import export_button
from dashboard.controls.heading import metric_at_hand
from dashboard.model.exports import Exportable, Training, exportable_stitch
from dashboard.model.list_comparison import entries_in
from dashboard.model.list_entries import Entry
from dashboard.session import my_list
from dashboard.tables.columns import (
    BUCKET_HELP,
    deployed_columns,
    deployed_help,
    number_column,
    tier_columns,
)
from dashboard.text.quantities import QUANTITIES
from klas.results.documents.stitches import StitchList
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair, cost_unit, number, pairs_of
from klas.study import TIERS
from klas.tasks.task import task_named


def list_table(
    document: Document, own: StitchList, training: Callable[[Pair], Training | None]
) -> None:
    """The list; lines that are marked can be taken out, and one that is marked exported.

    Args:
        training: of a pair, the joint training whose accuracies the list has, if it has any.
    """
    unit = cost_unit(document)
    listed, rule = own["stitches"], own["selection"]
    score = QUANTITIES[rule["metric"]]
    tiers = [t for t in TIERS if any(s["accuracy"][t] is not None for s in listed)]
    fused = any("deployed" in s for s in listed)
    rows = pd.DataFrame(
        {
            "pair": f"{s['source']} → {s['target']}",
            "stitch": f"{s['source_block']} → {s['target_block']}",
            "bucket": s["bucket"],
            unit.name: s["macs"] / unit.scale,
            "parameters": s["params"],
            **(deployed_columns(s, unit) if fused else {}),
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
            unit.name: number_column(rows[unit.name].to_numpy()),
            score.label: number_column(rows[score.label].to_numpy(), score.explanation),
            "bucket": st.column_config.NumberColumn(help=BUCKET_HELP),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **deployed_help(unit),
            **tier_columns(task_named(document["task"]).metric),
        },
    )
    marked = [entries_in(own)[row] for row in event["selection"]["rows"]]
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
        export_button(_marked_one(document, marked, training), unit, place="list")
        st.caption(
            f"The list is {'edited by hand, not ' if rule.get('edited') else ''}{chosen}. "
            f"{score.label}{ours} and the buckets are worked out for every stitch here, however it "
            "was picked."
        )


def _marked_one(
    document: Document, marked: Sequence[Entry], training: Callable[[Pair], Training | None]
) -> Exportable | None:
    """The marked stitch as it can be exported; None unless one line is marked."""
    if len(marked) != 1:
        return None
    ((source, target, *place),) = marked
    pair = next(pair for pair in pairs_of(document) if pair.names == (source, target))
    return exportable_stitch(pair, pair.everywhere.index((place[0], place[1])), training(pair))
