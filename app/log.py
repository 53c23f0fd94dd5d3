"""One structured line per event, JSON or for people's eyes. Never text of a query or document, never a key."""

import json
import logging
import sys
from functools import partial
from typing import Any, Literal

import orjson
import structlog


def configure(*, style: Literal["json", "console"], level: str) -> None:
    """Send every event of the process, uvicorn's included, to standard output."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    stamp: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = _console(colors=sys.stdout.isatty()) if style == "console" else structlog.processors.JSONRenderer(_json)
    structlog.configure(
        processors=[*stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        # It writes a line at once, while print writes its end by itself: threads of libraries would get in between.
        logger_factory=partial(_same, structlog.WriteLogger(sys.stdout)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=stamp, processor=render))
    # Libraries speak up when something is wrong; uvicorn's own start and stop lines are ours to write.
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _same(logger: structlog.WriteLogger, *_: object) -> structlog.WriteLogger:
    return logger


def _json(event: dict[str, Any], **_: object) -> str:
    return _printable(orjson.dumps(event, default=str).decode())


def _console(*, colors: bool) -> structlog.typing.Processor:
    render = structlog.dev.ConsoleRenderer(colors=colors)

    def printed(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        # Only a trace has lines of its own.
        texts = {name: value for name, value in event.items() if isinstance(value, str)}
        safe = {name: _printable(text, kept="\n" * (name == "exception")) for name, text in texts.items()}
        return render(logger, method, {**event, **safe})

    return printed


def _printable(text: str, *, kept: str = "") -> str:
    """The text with all that would begin a line, or tell a terminal something, escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else json.dumps(char)[1:-1] for char in text)
