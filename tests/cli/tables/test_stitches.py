"""A stitch list as the command shows it."""

from pathlib import Path

from klas.cli.tables.stitches import check_lines, stitch_tables

STITCH = {
    "source": "f",
    "source_block": 3,
    "target": "g",
    "target_block": 4,
    "macs": 1_250_000_000,
    "params": 5_000,
    "bucket": None,
    "score": None,
    "accuracy": {"zero_shot": None, "tuned": 0.5, "finetuned": None},
    "full_val": None,
}
LIST = {
    "anchors": [{"name": "one", "macs": 2_000_000_000, "weights": {"tag": "t"}}],
    "selection": {"metric": "snnet"},
    "stitches": [STITCH],
}


def test_what_is_not_known_is_a_dash_and_the_file_is_named():
    table, line = stitch_tables(LIST, Path("o.json"))
    (row,) = zip(*(column.cells for column in table.columns), strict=True)
    assert row == ("f", "3", "g", "4", "–", "1.25", "–", "50.0 %", "–")
    assert line == "wrote o.json"


def test_an_accuracy_on_all_images_has_a_column_of_its_own():
    measured = {"tier": "tuned", "samples": 50_000, "accuracy": 0.75}
    (table,) = stitch_tables({**LIST, "stitches": [{**STITCH, "full_val": measured}]}, None)
    assert table.columns[-1].header == "tuned, all 50,000"
    assert list(table.columns[-1].cells) == ["75.0 %"]


def test_a_check_has_a_line_for_every_stitch():
    lines = check_lines({"stitches": [STITCH]})
    assert lines == [
        "ok  f:3 → g:4  1,250,000,000 MACs, 5,000 parameters",
        "1 stitch rebuilt as stated",
    ]
