"""What pages say: sentences and explanations, pure functions."""
