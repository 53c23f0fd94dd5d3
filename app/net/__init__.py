"""How bytes get to another server: connections, and as much of HTTP as an inference server speaks."""
