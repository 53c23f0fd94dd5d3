"""One structured line per event, JSON or for people's eyes. Never text of a query or document, never a key."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict

_Render = Callable[[Any, str, EventDict], str]
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


@dataclass(slots=True)
class _Sink:
    """Where lines go: from which level on, written by what, in which form."""

    threshold: int
    logger: structlog.WriteLogger
    render: _Render


def configure(*, style: Literal["json", "console"], level: str) -> None:
    """Send every event of the process, uvicorn's included, to standard output."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    # It writes a line at once, while print writes its end by itself: threads of libraries would get in between.
    logger = structlog.WriteLogger(sys.stdout)
    render = _console(colors=sys.stdout.isatty()) if style == "console" else _json
    _sink.threshold, _sink.logger, _sink.render = threshold, logger, render
    stamp: list[Any] = [structlog.stdlib.add_log_level, _stamped, structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=partial(_same, logger),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=stamp, processor=render))
    # Libraries speak up when something is wrong; uvicorn's own start and stop lines are ours to write.
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def write(level: int, event: str, fields: Mapping[str, Any]) -> None:
    """Write one event at once. Through structlog a line takes three times as long, and each request leaves one.

    Args:
        level: INFO, WARNING or ERROR of `logging`.
        event: What happened.
        fields: What is known of it.
    """
    if level >= _sink.threshold:
        name = _LEVELS[level]
        line = _stamped(None, name, {**fields, "event": event, "level": name})
        _sink.logger.msg(_sink.render(None, name, line))


def _same(logger: structlog.WriteLogger, *_: object) -> structlog.WriteLogger:
    return logger


def _stamped(_: Any, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC).isoformat()[: -len("+00:00")] + "Z"
    return event


def _json(_: Any, __: str, event: EventDict) -> str:
    return _printable(orjson.dumps(event, default=str).decode())


def _console(*, colors: bool) -> _Render:
    render = structlog.dev.ConsoleRenderer(colors=colors)

    def printed(logger: Any, method: str, event: EventDict) -> str:
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


_sink = _Sink(logging.INFO, structlog.WriteLogger(sys.stdout), _json)
