"""What is run beside the gateway; serving needs nothing of it."""
