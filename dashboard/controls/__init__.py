"""Pieces of pages: controls, and what stands on more than one page."""
