"""Networks from a stitch list: load them, check them, save their layers."""
