"""What results are called, what documents say, and what follows from them. No torch."""
