"""Listening: the server's run, its protocol, certificates, and what SIGHUP reloads."""
