"""From scores to stitches: pure functions on numbers, numpy only, fast enough for a slider."""
