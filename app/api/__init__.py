"""The HTTP API: requests, answers and the routes between them."""
