"""Results as values and their keys, the documents made of them, and what follows from those."""
