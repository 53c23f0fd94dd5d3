"""Connections to other servers, and as much of HTTP as an inference server speaks."""
