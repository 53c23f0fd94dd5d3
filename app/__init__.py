"""rerank-gateway: a rerank endpoint in front of vLLM workers."""

__version__ = "0.1.0"
