"""The cache of pair scores: in memory, and shared between replicas."""
