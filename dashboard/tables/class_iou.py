"""The table of a stitch's intersection over union of every class, beside its anchors'."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.model.tradeoff import Floats

HELP = (
    "Intersection over union of the class on the validation images, in percent: of all pixels "
    "that are of it or predicted to be, the share that is both."
)


def class_iou_table(
    class_names: Sequence[str], columns: Mapping[str, Floats], networks: Mapping[str, str]
) -> None:
    """A row for every class.

    Args:
        columns: by its heading (K,) of a network; NaN for a class that is neither there nor
            predicted.
        networks: by the same heading, what network that is.
    """
    rows = {"class": class_names} | {name: 100 * iou for name, iou in columns.items()}
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(
                f"{name} (IoU %)", format="%.1f", help=f"{networks[name]}. {HELP}"
            )
            for name in columns
        },
    )
