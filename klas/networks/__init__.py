"""Networks: load an anchor, cut it at its blocks, count its cost, join parts of two."""
