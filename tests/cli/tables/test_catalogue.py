"""timm's networks as the command shows them."""

from klas.cli.tables.catalogue import catalogue_tables
from tests.small_catalogue import NETWORKS


def test_the_table_is_in_order_of_cost_with_the_uncounted_last():
    (table,) = catalogue_tables(NETWORKS, 7)
    assert table.title == "4 of 7 pretrained networks"
    tags = [tag.split(".")[0] for tag in table.columns[0].cells]
    assert tags == ["levit_128s", "resnet50", "swin_tiny", "odd"]
    assert list(table.columns[2].cells) == ["0.305", "4.09", "4.49", "–"]
