"""What is told of the gateway: log, metrics, spans."""
