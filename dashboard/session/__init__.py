"""What a visitor has open and chose: the store, the study, the address."""
