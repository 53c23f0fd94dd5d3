"""Telemetry: log, metrics and spans."""
