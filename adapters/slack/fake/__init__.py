"""A Slack to develop against: Web API, signed delivery, streams, files, OAuth, sockets, and switches that break it."""

from adapters.slack.fake.faults import Fault
from adapters.slack.fake.people import People
from adapters.slack.fake.workspace import Workspace

__all__ = ["Fault", "People", "Workspace"]
