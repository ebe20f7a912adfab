"""How every result is made, and what that costs: a recipe for each kind, by the tier or stage."""
