"""Everything that can go wrong, as a tree. A class exists only where a caller acts differently.

BridgeError
    ReceiveError          the arrival is refused; `status` is the HTTP answer
        Unverified        401
        Malformed         400
        TooLarge          413
        Unsupported       415
        Unprocessable     422
    SendError
        Retryable         try again, after a while
        Permanent         trying again cannot help
            Gone          … and the destination wants nothing more at all
    AgentError
        Unreachable       nothing was sent: try again
        Interrupted       something was sent, the outcome is unknown: re-attach, or repeat with the same key
            Silent        … and nothing was heard of it for as long as a turn may be silent: it is stuck
        Busy              the thread is still at its previous turn: wait, no attempt is spent
        Refused           the agent will never take this request
    StoreUnavailable      the database cannot commit now
    Replaced              the lease is another node's: stop silently
    Denied                the egress policy refuses this address; nothing was sent
    Unsealable            what is stored encrypted cannot be read: another key, or changed bytes
    Missing               what an operator names is not there
    Conflict              what an operator asks for does not fit the state things are in
    ConfigError           every problem of a configuration, each with its path
"""

from collections.abc import Sequence
from typing import ClassVar


class BridgeError(Exception):
    """The root: catch this to catch everything the bridge raises on purpose."""


class ReceiveError(BridgeError):
    """An arrival that is refused. The message is shown to the caller, so it says what to mend."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"


class Unverified(ReceiveError):
    """The sender could not be authenticated.

    `reason` is one word for logs and metrics (`header`, `encoding`, `stale`, `mismatch`, `body`). The
    caller never sees it: which check failed would help whoever is forging.
    """

    status = 401
    title = "Not verified"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class Malformed(ReceiveError):
    """Authentic, but it cannot be read."""


class TooLarge(ReceiveError):
    """Larger than this source takes."""

    status = 413
    title = "Too large"


class Unsupported(ReceiveError):
    """A content type or encoding this source does not read."""

    status = 415
    title = "Unsupported media type"


class Unprocessable(ReceiveError):
    """Readable, but it asks for something that is not there."""

    status = 422
    title = "Cannot be processed"


class SendError(BridgeError):
    """A delivery that did not get through. No other exception leaves `Adapter.send`."""


class Retryable(SendError):
    """Try again: after `after` seconds if given, else by the schedule.

    `ambiguous` tells that the platform may have taken the message although no answer came.
    """

    def __init__(self, message: str, *, after: float | None = None, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.ambiguous = ambiguous


class Permanent(SendError):
    """Trying again cannot help: the delivery is dead and a person must look."""


class Gone(Permanent):
    """The destination itself wants no more: nothing is sent there until a person enables it again."""


class AgentError(BridgeError):
    """A call to the agent that brought no result. The text is for operators, never for people."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Unreachable(AgentError):
    """Nothing was sent, or the agent refused it for now (429, 503): the same call may be made again."""


class Interrupted(AgentError):
    """The request went out and no result came back: the task may be running."""


class Silent(Interrupted):
    """No sign of life within the time allowed for one, measured while the call was open."""


class Busy(AgentError):
    """409: the thread's previous turn still runs at the agent."""


class Refused(AgentError):
    """The agent will never take this request (bad key, unknown agent, invalid body)."""


class StoreUnavailable(BridgeError):
    """The database cannot commit now; nothing of the operation is stored. Try again."""


class Replaced(BridgeError):
    """The lease this write was made under is no longer ours: stop silently, another node goes on."""


class Denied(BridgeError):
    """An address that came from outside may not be called. Nothing was sent.

    Trying again cannot help unless its name or the policy changes. The text is for operators:
    whoever gave the address learns no more than that it was refused.
    """


class Unsealable(BridgeError):
    """Something stored encrypted cannot be read. Only an operator can help, with the right key."""


class Missing(BridgeError):
    """There is nothing by the name an operator gave."""


class Conflict(BridgeError):
    """What an operator asks for does not fit the state things are in. The text says why; nothing was changed."""


class ConfigError(BridgeError):
    """A configuration that cannot be used: every problem, one line each, with its full path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
