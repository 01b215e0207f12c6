"""The agent: one contract, spoken as a client."""
