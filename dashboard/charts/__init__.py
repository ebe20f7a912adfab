"""Plotly figures as pure functions of data."""
