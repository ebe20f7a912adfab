"""Networks to take away."""
