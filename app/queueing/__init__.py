"""Whose chunk is next, on which worker, and who is let in at all."""
