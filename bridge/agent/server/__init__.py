"""The embedded agent: the same contract, spoken as a server."""
