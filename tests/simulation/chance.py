"""Chance with a few more ways to draw."""

from math import exp, log
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance(Random):
    """One seeded source of chance."""

    def spread(self, least: float, most: float) -> float:
        """A number between the two, as likely in each order of magnitude."""
        return round(exp(self.uniform(log(least), log(most))), 4)

    def sometimes(self, share: float, given: T, otherwise: T) -> T:
        """The one in a share of cases, else the other."""
        return given if self.random() < share else otherwise

    def moment(self, within_s: float) -> float:
        """A time between 0 and so many seconds."""
        return round(self.uniform(0, within_s), 3)
