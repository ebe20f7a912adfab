"""The tables of what the store holds."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.text.job_titles import STAGE_ACTIVITY
from dashboard.text.markup import plain
from dashboard.text.study_titles import titles
from klas.results.formatting import size
from klas.results.usage import Usage

SIZE, OWN_SIZE = "size (MB)", "only its own (MB)"


def usage_by_stage(usage: Usage) -> None:
    """A row for every stage, the largest first."""
    rows = [
        {
            "stage": stage,
            "what": STAGE_ACTIVITY.get(stage, ""),
            "results": count,
            SIZE: taken / 1e6,
        }
        for stage, (count, taken) in sorted(usage.stages.items(), key=lambda s: -s[1][1])
    ]
    networks = {
        "exports": ("Exported networks, made again from results", *usage.exports),
        "trained": ("Elastic networks, trained from a list", *usage.trained),
    }
    for name, (what, count, taken) in networks.items():
        if taken:
            rows.append({"stage": name, "what": what, "results": count, SIZE: taken / 1e6})
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={SIZE: _share(usage.bytes), "what": st.column_config.TextColumn()},
    )


def usage_by_study(usage: Usage) -> None:
    """A row for every study with results, the largest first; what belongs to none; what is none."""
    rows = [
        {
            "study": title,
            "results": study_usage.results,
            SIZE: study_usage.bytes / 1e6,
            OWN_SIZE: study_usage.freeable / 1e6,
        }
        for study_usage, title in sorted(
            zip(usage.studies, titles(usage.studies)), key=lambda row: -row[0].bytes
        )
        if study_usage.results
    ]
    if rows:
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={
                SIZE: _share(usage.bytes),
                OWN_SIZE: st.column_config.NumberColumn(format="%.1f"),
            },
        )
    note = "What several studies use counts with each of them." if len(rows) > 1 else ""
    if usage.unclaimed:
        note += f" {size(usage.unclaimed)} belong to no known study."
    st.caption(note.strip())
    for study_usage in usage.studies:
        if study_usage.known.problem:
            st.warning(plain(study_usage.known.problem), icon=":material/error:")


def _share(total: int) -> Any:
    return st.column_config.ProgressColumn(
        format="%.1f", min_value=0.0, max_value=max(total / 1e6, 1e-6)
    )
