"""What is written down while the bridge runs: one line for each fact, on standard error."""

import logging
import sys
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final, Literal, TextIO, TypeAlias

import structlog

from bridge.documents import written
from bridge.redaction import redactor, without_secrets

Form: TypeAlias = Literal["json", "console"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Fields: TypeAlias = MutableMapping[str, Any]

# They tell each request or step at "info", addresses with tokens and all; what matters of it is a fact of ours.
_TALKATIVE: Final = ("httpx2", "httpcore2", "uvicorn.access", "mail.log", "alembic", "uvicorn.error")


def write_down(form: Form, level: Level, *, secrets: Iterable[str] = (), to: TextIO | None = None) -> None:
    """Set up logging for the whole process; may be called again, and the last call counts.

    `secrets` are masked wherever they turn up, as is all that looks like one. Libraries that log in
    the standard way come out in the same form.
    """
    stream = to or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    writer = _Writer(form, redactor(secrets), colors=stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, writer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,  # a cached logger would never hear of a second set-up
    )
    lines = logging.StreamHandler(stream)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, writer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(threshold)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _encoded(fields: Fields, *, default: Callable[[Any], Any]) -> str:
    return written(fields, default).decode()


class _Writer:
    """The last step: one line, masked."""

    def __init__(self, form: Form, redact: Any, *, colors: bool) -> None:
        self._redact = redact
        self._json = form == "json"
        self._render: structlog.typing.Processor = (
            structlog.processors.JSONRenderer(_encoded)
            if self._json
            else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        )

    def __call__(self, logger: Any, method: str, fields: Fields) -> str:
        if self._json and "exc_info" in fields:
            fields = structlog.processors.format_exc_info(logger, method, fields)
        line: str = self._redact(str(self._render(logger, method, without_secrets(fields))))
        return line
