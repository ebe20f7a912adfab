"""A study as one HTML file with every figure and table, to open without the app."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dashboard.charts.anchors import anchors_chart, probe_chart
from dashboard.charts.lists import lists_chart
from dashboard.charts.methods import STYLES
from dashboard.charts.tradeoff import front_chart
from dashboard.model.list_difference import Listed
from dashboard.report import comparison as rivals
from dashboard.report.page import (
    Section,
    explained,
    figure,
    page,
    paragraph,
    table,
    verbatim,
)
from dashboard.report.pair import pair_parts
from dashboard.text.quantities import QUANTITIES
from klas.results.formatting import METHODS, percent
from klas.results.pair import Choice, Document, Pair, cost_unit, front, number, pairs_of
from klas.results.selections import choose
from klas.storage.store import Store
from klas.study import TIERS, SelectionSpec, Study, Tier

WORDS = (
    (
        "Stitch i → j",
        "The source's blocks 1 to i, a stitch layer, the target's blocks after j.",
    ),
    (
        "Γ = Ω / Σ, the stitch score, lower is better",
        "Ω, the distance in nats between the source's probe after block i and the target's after "
        "block j, over Σ, the capacity of the target's next block: how far that block moves its "
        "own network's probe.",
    ),
    (
        "Buckets and τ",
        "The costs between the two anchors are cut into buckets; in each the stitch with the "
        "lowest score is chosen, and those whose score is within the tolerance τ.",
    ),
    (
        "Tiers zero_shot, tuned, finetuned",
        "The stitch layer by least squares and nothing trained; only the stitch layer trained; "
        "all chosen stitches and both anchors trained jointly. A curve never mixes them.",
    ),
)


def unscored(found: Document) -> list[str]:
    """The pairs with candidates whose Γ is not computed: the report has to do without them."""
    return [
        pair.name for pair in pairs_of(found) if pair.in_space.any() and not pair.is_scored("kl")
    ]


def study_report(
    found: Document,
    study: Study,
    spec: SelectionSpec,
    own: Mapping[str, Any] | None,
    store: Store,
) -> bytes:
    """The file's bytes. What is not computed is named in it, and the rest is there.

    Args:
        found: the study's document.
        spec: the selection that its figures show; KLAS's score chooses whatever its metric.
        own: a stitch list that is shown too.
        store: the study's results: of joint training and for the comparison.
    """
    spec = spec.model_copy(update={"metric": "kl"})
    at_hand = study.model_copy(update={"selection": spec})
    pairs = [pair for pair in pairs_of(found) if pair.in_space.any() and pair.is_scored("kl")]
    compared, why_not = rivals.comparison_of(found, at_hand, pairs, store)
    sections = [
        Section(name="anchors-of-the-study", title="Anchors", html=list(_anchors(found))),
        Section(name="pairs", title="Pairs", html=list(_ranking(found, pairs, spec))),
    ]
    for pair in pairs:
        html = list(pair_parts(pair, at_hand, compared, store))
        name = f"pair-{pair.index}"
        sections.append(Section(name=name, title=pair.name, html=html, below=True))
    if compared is None:
        verdict = [paragraph(f"There is no comparison here: {why_not}.", note=True)]
    else:
        verdict = [paragraph(why_not, note=True)] if why_not else []
        verdict += rivals.over_all(compared)
    sections.append(Section(name="methods", title="KLAS and its rivals", html=verdict))
    if own is not None:
        sections.append(Section(name="my-list", title="The list", html=list(_own(found, own))))
    settings = Section(name="settings", title="Settings and versions")
    settings.html.extend(_settings(found, study, spec))
    lead = [_origin(found, spec, len(pairs)), explained(WORDS)]
    if compared is not None:
        lead.insert(1, paragraph(rivals.verdict(compared)))
    return page(study.name, lead, [*sections, settings])


def _choice_rule(spec: SelectionSpec) -> str:
    return f"τ = {spec.tau:g} ({spec.tau_mode}) in {spec.buckets} buckets of equal {spec.binning}"


def _origin(found: Document, spec: SelectionSpec, pairs: int) -> str:
    missing = unscored(found)
    lacking = ""
    if missing:
        lacking = f" Not here, because their scores are not computed yet: {', '.join(missing)}."
    return paragraph(
        f"{len(found['anchors'])} anchors, {pairs} pairs with their scores; chosen with "
        f"{_choice_rule(spec)}. Accuracies are top-1 on {found['data']['val']['samples']:,} "
        f"validation images unless another split is named.{lacking}"
    )


def _anchors(found: Document) -> Iterable[str]:
    unit = cost_unit(found)
    rows = [
        (
            a["name"],
            a["blocks"],
            f"{a['macs'] / unit.scale:.3g}",
            f"{a['params']:,}",
            percent(a["accuracy"]),
            percent(a["probe_accuracy"] and a["probe_accuracy"][-1]),
        )
        for a in found["anchors"]
    ]
    yield table(("anchor", "blocks", unit.name, "parameters", "top-1", "last probe"), rows)
    yield figure(
        "anchors",
        anchors_chart(found),
        "Top-1 of the anchors against their cost; lines join those that are stitched.",
    )
    yield figure(
        "probes",
        probe_chart(found["anchors"]),
        "Top-1 of a linear probe at every cut of every anchor. Hollow: did not converge.",
    )


def _ranking(found: Document, pairs: Sequence[Pair], spec: SelectionSpec) -> Iterable[str]:
    """The pairs by the divergence of their outputs, and one front over all that is chosen."""
    rows = [
        (
            f"{p['source']} → {p['target']}",
            "–" if p["theta_output"] is None else f"{p['theta_output']:.4f}",
            sum(c["in_space"] for c in p["candidates"]),
        )
        for p in sorted(
            found["pairs"], key=lambda p: (p["theta_output"] is None, p["theta_output"])
        )
    ]
    yield table(("source → target", "Θ of the outputs (nats)", "stitches in the space"), rows)
    chosen = [
        Choice(pair=pair, chosen=choose(pair, spec).chosen, accuracy=pair.accuracy("tuned"))
        for pair in pairs
    ]
    measured = [c for c in chosen if np.isfinite(c.accuracy[c.chosen]).any()]
    if measured:
        yield figure(
            "front",
            front_chart(measured, front(measured), "tuned"),
            f"What KLAS chooses of every pair, tuned: {sum(int(c.chosen.sum()) for c in measured)} "
            "stitches, and the best accuracy for every cost among them and the anchors.",
        )


def _own(found: Document, own: Mapping[str, Any]) -> Iterable[str]:
    """A stitch list: how it came about, its curve, its lines."""
    rule, unit = own["selection"], cost_unit(found)
    method, spec = (
        METHODS[rule["metric"]],
        SelectionSpec.model_validate({name: rule[name] for name in SelectionSpec.model_fields}),
    )
    yield paragraph(
        f"Edited by hand; scores and buckets are those of {method}, {_choice_rule(spec)}."
        if rule.get("edited")
        else f"As {method} chooses with {_choice_rule(spec)}."
    )
    listed = Listed("the list", own, *STYLES["kl"])
    tier: Tier = "tuned"
    if all(s["accuracy"]["tuned"] is None for s in own["stitches"]):
        tier = "zero_shot"
    yield figure("list", lists_chart(found, [listed], tier), f"The list's stitches, tier {tier}.")
    rows = [
        (
            f"{s['source']} → {s['target']}: {s['source_block']} → {s['target_block']}",
            "–" if s["bucket"] is None else s["bucket"],
            f"{s['macs'] / unit.scale:.4g}",
            f"{s['params']:,}",
            "–" if s["score"] is None else f"{number(s['score']):.4g}",
            *(percent(s["accuracy"][tier]) for tier in TIERS),
        )
        for s in own["stitches"]
    ]
    score = QUANTITIES[rule["metric"]].label
    yield table(("stitch", "bucket", unit.name, "parameters", score, *TIERS), rows)


def _settings(found: Document, study: Study, spec: SelectionSpec) -> Iterable[str]:
    made, data = found["made_with"], found["data"]
    splits = [
        f"{data[split]['samples']:,} of {data[split]['images']:,} {words} images "
        f"({data[split]['ref']}, seed {data[split]['seed']})"
        for split, words in (("train", "training"), ("val", "validation"), ("test", "test"))
        if data[split] is not None
    ]
    yield paragraph(
        f"Made with klas {made['klas']}, torch {made['torch']}, timm {made['timm']}; forward "
        f"passes in {found['precision']}; {', '.join(splits)}."
    )
    if study.selection.model_copy(update={"metric": "kl"}) != spec:
        yield paragraph(
            f"The figures show a choice with {_choice_rule(spec)}, other than the study's own."
        )
    yield f"<p>The study file, <code>{escape(study.name)}</code>:</p>"
    yield verbatim(study.to_toml())
