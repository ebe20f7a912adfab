"""What the pages of this folder are made by."""
