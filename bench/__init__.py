"""Measurements: the figures that the documents give."""
