"""The comparison as the command shows it."""

from rich.console import Console

from klas.cli.tables.comparison import comparison_tables
from klas.results.comparison_view import below_cheap_anchor
from tests.expected_text import tally


def test_it_says_once_a_tier_why_figures_are_alike(comparison):
    """The small study's stitches are poor."""
    why = below_cheap_anchor(comparison, comparison["pairs"], "tuned")
    said = [part for part in comparison_tables(comparison) if isinstance(part, str)]
    assert [part for part in said if "lie below the cheap anchor" in part] == [why]


def test_hits_and_what_the_sets_hold_stand_with_their_intervals(comparison):
    console = Console(width=200)
    with console.capture() as shown:
        console.print(*comparison_tables(comparison))
    kl = comparison["all_pairs"]["methods"]["kl"]
    assert f" {tally(kl['overlap'])} " in shown.get()
    assert f" {tally(kl['containment'])} " in shown.get()
