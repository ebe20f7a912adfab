"""The choice of what carries jobs out: this process, several, or a Ray cluster."""

import streamlit as st

from dashboard.session import engine
from dashboard.session.choices import bound
from klas.study import EngineName

TITLES: dict[EngineName, str] = {
    "auto": "what is quicker here",
    "here": "one process",
    "processes": "several on this machine",
    "ray": "a Ray cluster",
}


def engine_choice() -> None:
    """A popover, named by the engine that is chosen."""
    chosen = engine.engine()
    with st.popover(f"Engine: {chosen.name}", icon=":material/memory:"):
        names = engine.offered()
        st.selectbox(
            "Who does the work",
            format_func=lambda name: f"{name}: {TITLES[name]}",
            **bound("engine", chosen.name, options=names, change=_choose_name),
        )
        st.caption("The results are the same, whoever makes them.")
        if chosen.name == "ray":
            st.text_input(
                "Address of the cluster",
                placeholder="HOST:PORT",
                max_chars=300,
                help="Empty: what RAY_ADDRESS names, else the cluster that runs on this machine, "
                "else one that is started for each job.",
                **bound("engine_address", chosen.address or "", change=_choose_address),
            )


def _choose_name(name: EngineName) -> None:
    engine.choose(name, engine.engine().address or "" if name == "ray" else "")


def _choose_address(address: str) -> None:
    engine.choose("ray", address)
