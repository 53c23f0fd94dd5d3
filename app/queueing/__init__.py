"""The queues: which requests are let in, whose chunk is next, and on which worker."""
