"""What the panel of a race says. Pure functions."""

from klas.results.accuracies import Raced
from klas.selection.race import ENTRANTS, RUNG_SAMPLES, RUNGS

SHARES = {1 / 4: "a quarter", 1 / 2: "half"}

RACE_HELP = (
    f"Up to {ENTRANTS} stitches of every bucket start the joint training: the best by Γ, by Ω and "
    "by CKA, and where these agree, those at the most different depths. After "
    f"{' and '.join(SHARES[rung.share] for rung in RUNGS)} of the steps all are measured on up to "
    f"{RUNG_SAMPLES:,} validation samples, and the worst of each bucket drop out. The steps are as "
    "many as for every other method."
)
"""How stitches race."""


def standing(race: Raced) -> str:
    """How many started and how many are left."""
    started, left = len(race["rungs"][0]["accuracy"]), len(race["left"])
    if race["accuracy"] is None:
        step = race["rungs"][-1]["step"]
        return f"{started} stitches started; {left} are left after the rung at step {step:,}."
    if left == started:
        return f"No bucket had two stitches to race, so all {started} that started were kept."
    return f"{started} stitches started, {left} {'was' if left == 1 else 'were'} kept."
