"""Workers that fail in every way there is, as processes of their own: clients see nothing of it."""
