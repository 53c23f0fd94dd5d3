"""Deterministic simulation: the whole gateway on a virtual clock, all chance from one seed. See docs/simulation.md."""
