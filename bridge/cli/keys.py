"""`agent-bridge keys`: which of the secret keys are still needed."""

import sys

from bridge import console
from bridge.cli.reading import FAILED, AsJson, Config, read, settings_from
from bridge.sealing import marks_of
from bridge.store.sealed import marks


def keys_command(config: Config = None, as_json: AsJson = False) -> None:
    """How much each secret key has sealed, newest first: an older one with nothing can go. Exit 1 if one is missing."""
    known = marks_of([key.get_secret_value() for key in settings_from(config).bridge.secret_keys])
    found = read(config, marks)
    lost = sum(count for mark, count in found.items() if mark not in known)
    rows = [{"key": number, "sealed": found[mark]} for number, mark in enumerate(known, 1)]
    if as_json:
        console.print_json({"keys": rows, "unreadable": lost})
    else:
        console.print_table([(row["key"], row["sealed"]) for row in rows], "KEY", "SEALED")
    if lost:
        console.print_error(
            f"{lost} values were sealed with a key that is not configured: put it back at the end of secret_keys."
        )
        sys.exit(FAILED)
