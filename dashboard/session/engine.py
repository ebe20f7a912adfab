"""What carries jobs out: what the study says, or what was chosen in this session."""

import importlib.util

from dashboard.session.resources import study
from dashboard.session.state import session
from klas.study import ENGINES, EngineName, EngineSpec, Study


def engine() -> EngineSpec:
    """What jobs about the study at hand are carried out by."""
    return session().engine or study().engine


def choose(name: EngineName, address: str = "") -> None:
    """Let another engine carry jobs out.

    Args:
        address: of a Ray cluster; empty for the one that Ray finds.
    """
    wanted = study().engine.model_copy(update={"name": name, "address": address.strip() or None})
    session().engine = None if wanted == study().engine else wanted


def offered() -> list[EngineName]:
    """The engines that there are here; what the study names is always among them."""
    installed = importlib.util.find_spec("ray") is not None
    return [name for name in ENGINES if name != "ray" or installed or engine().name == "ray"]


def with_engine(one: Study) -> Study:
    """A study as jobs take it: with the engine that was chosen, if one was."""
    chosen = session().engine
    return one if chosen is None else one.model_copy(update={"engine": chosen})
