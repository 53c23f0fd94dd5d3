"""The workers: what they serve, how they are reached, and which of them can be used."""
