"""The ways by which mail leaves us."""
