"""The verdict on whether splitting changes a model's ranking, from a sample that is scored in many ways."""
