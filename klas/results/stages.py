"""How far a study is computed, as its scores document says. No torch here."""

from typing import Any

from klas.study import Stage


def stages_done(document: Any) -> dict[Stage, tuple[int, int]]:
    """For each stage how many anchors or pairs have it, and of how many.

    Args:
        document: a scores document; for anything else the answer is empty.
    """
    try:
        anchors, pairs = document["anchors"], document["pairs"]
        probed = sum(a["probe_accuracy"] is not None for a in anchors)
        done: dict[Stage, tuple[int, int]] = {
            # A document is first put together when the anchors have run.
            "anchors": (len(anchors), len(anchors)),
            "probes": (probed, len(anchors)),
            "scores": (sum(p["theta"] is not None for p in pairs), len(pairs)),
        }
        tiers: tuple[Stage, ...] = ("zero_shot", "tuned")
        for tier in tiers:
            measured = [p["theta"] is not None and _is_measured(p, tier) for p in pairs]
            done[tier] = (sum(measured), len(pairs))
    except (KeyError, TypeError, AttributeError):
        return {}
    return done


def _is_measured(pair: Any, tier: Stage) -> bool:
    """Whether every candidate that can have an accuracy has it: what diverged has none."""
    absent = sum(c["accuracy"][tier] is None for c in pair["candidates"])
    diverged = pair.get("diverged", []) if tier == "tuned" else []
    return bool(absent == len(diverged))
