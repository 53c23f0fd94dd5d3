"""The verdict on whether splitting changes a model's ranking, from a sample that is scored in many ways."""

from app.tools.verify.command import run

__all__ = ["run"]
