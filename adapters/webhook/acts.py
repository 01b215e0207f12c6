"""What a request may want besides saying something: a decision, or a command for its conversation."""

from collections.abc import Mapping
from typing import Final

from bridge.model import Act

COMMANDS: Final[Mapping[str, Act]] = {
    "stop": Act.STOP,
    "mute": Act.MUTE,
    "unmute": Act.UNMUTE,
    "reset": Act.RESET,
}
_DECISION: Final = "dcs_"
"""How our decisions are named; an object of that name in a foreign body is left alone."""


def act_of(decision: object, command: object) -> tuple[Act, Mapping[str, str]]:
    """What is to be done, and what with. What is not exactly ours is no wish: other bodies have such words, too."""
    if isinstance(decision, dict):
        made, choice = decision.get("decision_id"), decision.get("choice")
        if isinstance(made, str) and made.startswith(_DECISION) and isinstance(choice, str):
            return Act.DECIDE, {"decision_id": made, "choice": choice}
    if isinstance(command, str) and command in COMMANDS:
        return COMMANDS[command], {}
    return Act.SAY, {}


def why_no_wish(decision: object, command: object) -> str:
    """What is missing where something of that name was given: for whoever looks at what was parked."""
    if command is not None:
        return f"; command is none of {', '.join(COMMANDS)}"
    if decision is not None:
        return f"; decision lacks a decision_id ({_DECISION}…) or a choice"
    return ""
