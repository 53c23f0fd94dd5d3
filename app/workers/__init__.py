"""The workers: discovery, links, probes, and which of them can be used."""
