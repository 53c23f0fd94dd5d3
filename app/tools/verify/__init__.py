"""Does splitting change the ranking on a model? Scores a sample in many ways, compares, and gives a verdict."""

from app.tools.verify.command import run

__all__ = ["run"]
