"""Γ of every stitch of a pair, as a map."""

import pandas as pd
import streamlit as st

from dashboard import figures
from dashboard.state import heading, pick_pair, says_errors, scored_document, selection
from klas.results import choose


@says_errors
def page() -> None:
    """The page."""
    heading("Stitch scores")
    found = scored_document()
    pair = pick_pair(found)
    spec = selection()
    picked = choose(pair, spec)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("Γ(i, j), lower is better")
        st.plotly_chart(figures.gamma_heatmap(pair, picked), config=figures.CONFIG)
        outside = int((picked.bucket[pair.in_space] < 0).sum())
        note = f" – marks the {outside} outside the anchors' costs." if outside else ""
        st.caption(
            f"Numbers are buckets of cost, from the cheap anchor's to the costly one's.{note} "
            f"Framed: chosen with τ = {spec.tau:g} ({spec.tau_mode}); change it on **Stitches**."
        )
    with right:
        st.subheader("How to read it")
        st.latex(
            r"\Gamma(i,j)=\frac{\Omega}{\Sigma}="
            r"\frac{\Theta(P_i^f,\,P_j^g)}{\Theta(P_j^g,\,P_{j+1}^g)}"
        )
        st.markdown(
            "- **Ω** is the distance across the stitch: how far the source's probe after block "
            "*i* is from the target's after block *j*, in nats.\n"
            "- **Σ** is the capacity of the block that follows: how much the target's next block "
            "changes its own probe.\n"
            "- A stitch is promising where the next block can make up for the distance."
        )
        st.subheader("Best of the pair")
        order = pair.scores("kl")[pair.in_space].argsort()[:8]
        rows = [
            {
                "stitch": "{} → {}".format(*pair.stitches[pair.in_space][k]),
                "Γ": pair.scores("kl")[pair.in_space][k],
                "Ω (nats)": pair.scores("theta")[pair.in_space][k],
                pair.unit.name: pair.macs[pair.in_space][k] / pair.unit.scale,
                "tuned (%)": 100 * pair.accuracy("tuned")[pair.in_space][k],
            }
            for k in order
        ]
        three = st.column_config.NumberColumn(format="%.3g")
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={
                "Γ": three,
                "Ω (nats)": three,
                pair.unit.name: three,
                "tuned (%)": st.column_config.NumberColumn(format="%.1f"),
            },
        )


page()
