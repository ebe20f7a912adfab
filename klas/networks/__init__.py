"""Networks: load an anchor, cut it at its blocks, count its cost, stitch two of them."""
