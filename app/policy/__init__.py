"""Decisions as pure functions: no clock, chance, network or log; `now` and `rng` are arguments."""
