"""A study as one HTML file with every figure and table, to open without the app."""

from collections.abc import Iterable, Sequence

import numpy as np

from dashboard.charts.anchors import anchors_chart, probe_chart
from dashboard.charts.front import front_chart
from dashboard.charts.lists import lists_chart
from dashboard.charts.methods import STYLES
from dashboard.model.list_comparison import Listed
from dashboard.report.comparison import comparison_of, overall_parts, verdict
from dashboard.report.page import (
    Figure,
    Glossary,
    Page,
    Paragraph,
    Part,
    Section,
    StudyFile,
    Table,
    render,
)
from dashboard.report.pair import pair_parts
from dashboard.text.quantities import QUANTITIES
from klas.results.anchor_notes import anchor_notes
from klas.results.documents.stitches import StitchList
from klas.results.formatting import METHODS, deployed, macs, percent
from klas.results.pair import Choice, Document, Pair, cost_unit, front, number, pairs_of
from klas.results.selections import choose
from klas.storage.store import Store
from klas.study import TIERS, SelectionSpec, Study, Tier
from klas.tasks.task import Task, task_named

GLOSSARY = Glossary(
    terms=(
        (
            "Stitch i → j",
            "The source's blocks 1 to i, then a stitch layer, then the target's blocks after j.",
        ),
        (
            "Γ = Ω / Σ, the stitch score, lower is better",
            "Ω is the distance in nats between the source's probe after block i and the target's "
            "probe after block j. Σ is the capacity of the target's next block: how far that "
            "block moves its own network's probe.",
        ),
        (
            "Buckets and τ",
            "The range of cost between the two anchors is divided into buckets. In each bucket "
            "the stitch with the lowest score is chosen, and every other whose score is within "
            "the tolerance τ.",
        ),
        (
            "Tiers zero_shot, tuned, finetuned",
            "zero_shot: the stitch layer is fitted by least squares and nothing is trained. "
            "tuned: only the stitch layer is trained. finetuned: all chosen stitches and both "
            "anchors are trained jointly. A curve never mixes tiers.",
        ),
    )
)


def unscored(document: Document) -> list[str]:
    """The pairs with candidates whose Γ is not computed; the report leaves them out."""
    return [pair.name for pair in _stitchable(document) if not pair.is_scored("kl")]


def study_report(
    document: Document,
    study: Study,
    spec: SelectionSpec,
    own_list: StitchList | None,
    store: Store,
) -> bytes:
    """The file's bytes. It shows everything that is computed and names what is not.

    Args:
        spec: the selection that the figures show; whatever its metric is, KLAS's score chooses.
        own_list: a stitch list that the report shows too.
        store: has the results of joint training and those that the comparison needs.

    Raises:
        KlasError: a result cannot be read.
    """
    spec = spec.model_copy(update={"metric": "kl"})
    shown_study = study.model_copy(update={"selection": spec})
    pairs = [pair for pair in _stitchable(document) if pair.is_scored("kl")]
    comparison, left_out = comparison_of(document, shown_study, pairs, store)
    lead: list[Part] = [_origin(document, spec, len(pairs))]
    if comparison is None:
        methods: list[Part] = [
            Paragraph(text=f"There is no comparison here: {left_out}.", note=True)
        ]
    else:
        lead.append(Paragraph(text=verdict(comparison)))
        methods = [Paragraph(text=left_out, note=True)] if left_out else []
        methods += overall_parts(comparison)
    sections = [
        Section(name="anchors-of-the-study", title="Anchors", parts=_anchors(document)),
        Section(name="pairs", title="Pairs", parts=list(_ranking(document, pairs, spec))),
        *(
            Section(
                name=f"pair-{pair.index}",
                title=pair.name,
                parts=list(pair_parts(pair, shown_study, comparison, store)),
                below=True,
            )
            for pair in pairs
        ),
        Section(name="methods", title="KLAS and its rivals", parts=methods),
    ]
    if own_list is not None:
        sections.append(
            Section(name="my-list", title="The list", parts=_own_list(document, own_list))
        )
    settings = list(_settings(document, study, spec))
    sections.append(Section(name="settings", title="Settings and versions", parts=settings))
    return render(Page(title=study.name, lead=[*lead, GLOSSARY], sections=sections))


def _stitchable(document: Document) -> list[Pair]:
    return [pair for pair in pairs_of(document) if pair.in_space.any()]


def _task(document: Document) -> Task:
    return task_named(document["task"])


def _choice_rule(spec: SelectionSpec) -> str:
    return f"τ = {spec.tau:g} ({spec.tau_mode}) in {spec.buckets} buckets of equal {spec.binning}"


def _origin(document: Document, spec: SelectionSpec, pairs: int) -> Paragraph:
    task, missing = _task(document), unscored(document)
    left_out = ""
    if missing:
        left_out = f" Left out because their scores are not computed yet: {', '.join(missing)}."
    return Paragraph(
        text=f"{len(document['anchors'])} anchors and {pairs} scored pairs; stitches are chosen "
        f"with {_choice_rule(spec)}. Accuracies are {task.metric.label} on "
        f"{document['data']['val']['samples']:,} validation {task.samples} unless another split "
        f"is named.{left_out}"
    )


def _anchors(document: Document) -> list[Part]:
    unit, metric = cost_unit(document), _task(document).metric
    fused = any("deployed" in anchor for anchor in document["anchors"])
    rows = [
        (
            anchor["name"],
            anchor["blocks"],
            macs(anchor, unit),
            f"{anchor['params']:,}",
            *(deployed(anchor, unit) if fused else ()),
            percent(anchor["accuracy"]),
            percent(anchor["probe_accuracy"][-1] if anchor["probe_accuracy"] else None),
        )
        for anchor in document["anchors"]
    ]
    more = (f"deployed {unit.name}", "deployed parameters") if fused else ()
    head = ("anchor", "blocks", unit.name, "parameters", *more, metric.label, "last probe")
    return [
        Table(head=head, rows=rows),
        *(Paragraph(text=note) for note in anchor_notes(document["anchors"])),
        Figure(
            name="anchors",
            chart=anchors_chart(document),
            caption=f"{metric.heading} of the anchors against their cost; a line joins two that "
            "are stitched.",
        ),
        Figure(
            name="probes",
            chart=probe_chart(document),
            caption=f"{metric.heading} of a linear probe at every cut of every anchor. A hollow "
            "marker is a probe that did not converge.",
        ),
    ]


def _ranking(document: Document, pairs: Sequence[Pair], spec: SelectionSpec) -> Iterable[Part]:
    """The pairs in order of Θ between their outputs, and one front of all chosen stitches."""
    by_divergence = sorted(
        document["pairs"], key=lambda p: (p["theta_output"] is None, p["theta_output"])
    )
    yield Table(
        head=("source → target", "Θ of the outputs (nats)", "stitches in the space"),
        rows=[
            (
                f"{p['source']} → {p['target']}",
                "–" if p["theta_output"] is None else f"{p['theta_output']:.4f}",
                sum(c["in_space"] for c in p["candidates"]),
            )
            for p in by_divergence
        ],
    )
    choices = [
        Choice(pair=pair, chosen=choose(pair, spec).chosen, accuracy=pair.accuracy("tuned"))
        for pair in pairs
    ]
    measured = [c for c in choices if np.isfinite(c.accuracy[c.chosen]).any()]
    if measured:
        yield Figure(
            name="front",
            chart=front_chart(measured, front(measured), "tuned"),
            caption=f"The {sum(int(c.chosen.sum()) for c in measured)} stitches that KLAS chooses "
            "from all pairs, at tier tuned. The line is the best accuracy at every cost among them "
            "and the anchors.",
        )


def _own_list(document: Document, own_list: StitchList) -> list[Part]:
    """A stitch list: how it was made, its curve and its stitches."""
    rule, unit = own_list["selection"], cost_unit(document)
    method = METHODS[rule["metric"]]
    spec = SelectionSpec.model_validate(
        {name: v for name, v in rule.items() if name in SelectionSpec.model_fields}
    )
    tier: Tier = "tuned"
    if all(s["accuracy"]["tuned"] is None for s in own_list["stitches"]):
        tier = "zero_shot"
    listed = Listed("the list", own_list, *STYLES["kl"])
    rows = [
        (
            f"{s['source']} → {s['target']}: {s['source_block']} → {s['target_block']}",
            "–" if s["bucket"] is None else s["bucket"],
            f"{s['macs'] / unit.scale:.4g}",
            f"{s['params']:,}",
            "–" if s["score"] is None else f"{number(s['score']):.4g}",
            *(percent(s["accuracy"][tier]) for tier in TIERS),
        )
        for s in own_list["stitches"]
    ]
    score = QUANTITIES[rule["metric"]].label
    return [
        Paragraph(
            text=f"Edited by hand; scores and buckets are those of {method}, {_choice_rule(spec)}."
            if rule.get("edited")
            else f"As {method} chooses with {_choice_rule(spec)}."
        ),
        Figure(
            name="list",
            chart=lists_chart(document, [listed], tier),
            caption=f"The list's stitches at tier {tier}.",
        ),
        Table(head=("stitch", "bucket", unit.name, "parameters", score, *TIERS), rows=rows),
    ]


def _settings(document: Document, study: Study, spec: SelectionSpec) -> Iterable[Part]:
    made, data, samples = document["made_with"], document["data"], _task(document).samples
    splits = [
        f"{split['samples']:,} of {split['images']:,} {label} {samples} "
        f"({split['ref']}, seed {split['seed']})"
        for split, label in (
            (data["train"], "training"),
            (data["val"], "validation"),
            (data["test"], "test"),
        )
        if split is not None
    ]
    yield Paragraph(
        text=f"Made with klas {made['klas']}, torch {made['torch']}, timm {made['timm']}; forward "
        f"passes in {document['precision']}; {', '.join(splits)}."
    )
    if study.selection.model_copy(update={"metric": "kl"}) != spec:
        yield Paragraph(
            text=f"The figures show the choice with {_choice_rule(spec)}, which is a selection "
            "other than the study's own."
        )
    yield StudyFile(name=study.name, text=study.to_toml())
