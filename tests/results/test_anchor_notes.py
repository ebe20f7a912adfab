"""What is said of anchors and their costs, in the command's tables and in files."""

import csv
import io

import pytest
from rich.console import Console

from klas.cli.tables.stitches import stitch_tables
from klas.cli.tables.study import anchor_tables, run_tables
from klas.results.anchor_notes import DEPLOYED, anchor_notes, sample_size
from klas.results.formats import dumps, parse
from klas.results.stitch_list import as_csv, stitch_list
from tests.conftest import SMALL
from tests.marked_costs import mark_costs


@pytest.fixture(scope="module")
def marked(computed):
    return parse(dumps(mark_costs(computed[1])), "marked", "klas-scores")


def printed(parts):
    console = Console(width=250, record=True, file=io.StringIO())
    for part in parts:
        console.print(part)
    return " ".join(console.export_text().split())


def test_every_option_and_every_bound_is_a_sentence(marked):
    tiny, small, convnet, base = anchor_notes(marked["anchors"])[:4]
    assert tiny.startswith("digits_vit_tiny: in its fused form")
    assert small == "digits_vit_small: how it takes images is said by mine/config.json"
    assert convnet == "digits_convnet: images of 16 × 24 pixels, as the study asks"
    assert base.endswith("MACs are a lower bound, because there is no formula for mine::mix")
    assert anchor_notes(marked["anchors"])[4:] == [DEPLOYED]


def test_an_anchor_without_options_has_no_notes(computed):
    assert anchor_notes(computed[1]["anchors"]) == []
    assert [sample_size(a) for a in computed[1]["anchors"]] == ["16"] * 4


def test_the_commands_tables_have_the_deployed_costs_and_mark_bounds(marked, computed):
    text = printed(anchor_tables(marked))
    assert "deployed MMACs" in text
    assert "1.23 │ 56,789" in text
    assert "≥ " in text
    assert DEPLOYED in text
    chosen = printed(run_tables(marked, SMALL, computed[0]))
    assert "4.32" in chosen
    assert "deployed" not in printed(anchor_tables(computed[1]))


def test_a_list_carries_them_into_its_table_and_its_spreadsheet(marked):
    made = stitch_list(marked, SMALL.selection)
    parse(dumps(made), "made", "klas-stitches")
    assert "4.32" in printed(stitch_tables(made, None))
    head, *rows = csv.reader(io.StringIO(as_csv(made).decode()))
    assert head[-3:] == ["deployed_macs", "deployed_params", "uncounted"]
    for stitch, row in zip(made["stitches"], rows, strict=True):
        cost = stitch.get("deployed")
        assert row[-3:-1] == (["4321000", "98765"] if cost else ["", ""])
        assert row[-1] == " ".join(stitch.get("uncounted", []))
    assert {len(row) for row in rows} == {len(head)}
