"""Scores of pairs that were scored before: in memory, and shared between replicas."""
