"""The model card of an elastic network: what is in it, how to run it, and a picture."""

from importlib import resources

from jinja2 import Environment, StrictUndefined

from klas.deploy.member import Member
from klas.deploy.picture import Point, tradeoff_svg
from klas.results.documents.networks import ElasticDocument

CARD, PICTURE = "README.md", "tradeoff.svg"


def model_card(document: ElasticDocument) -> dict[str, bytes]:
    """The files that lie beside the weights, by name: the card, and its picture if it can have one.

    The picture shows the members whose accuracy of the weights' tier is known.
    """
    members = [Member.from_json(entry) for entry in document["members"]]
    tier = document["tier"]
    points = [
        Point(m.name, m.macs / 1e6, 100 * m.accuracy[tier], m.target is None)
        for m in members
        if tier in m.accuracy
    ]
    environment = Environment(  # Markdown, in which nothing is escaped as in HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    template = resources.files("klas").joinpath("deploy/card.md.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        document=document,
        members=members,
        tier=tier,
        timed=any(member.latency for member in members),
        picture=PICTURE if points else None,
        example=members[len(members) // 2].name,
    )
    files = {CARD: text.encode()}
    if points:
        files[PICTURE] = tradeoff_svg(points, "MMACs").encode()
    return files
