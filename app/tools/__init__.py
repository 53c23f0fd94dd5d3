"""Commands that look at a fleet rather than serve it."""
