"""The ways by which mail reaches us. Each proves that it is genuine, then hands over raw mail; nothing after it differs."""
