"""The ways by which mail reaches us: each proves that it is genuine, then hands over raw mail."""
