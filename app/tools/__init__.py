"""Tools beside the gateway; serving doesn't import them."""
