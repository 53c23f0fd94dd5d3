"""The server: its HTTP protocol, its connections, its start and stop, and its reload at SIGHUP."""
