"""One request to scores: deduplicated, looked up, coalesced, attempted, merged."""
