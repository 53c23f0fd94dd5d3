"""The log: one structured line per event, as JSON or for people. It never has text of a query or document, or a key."""

import atexit
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict

from app.telemetry.line_writer import LineWriter

_Render = Callable[[Any, str, EventDict], str]
_STDOUT = 1
_stamped = structlog.processors.TimeStamper(fmt="iso")
# Nobody may read what is left at the end.
_LAST_LINES_S = 1.0


@dataclass(slots=True)
class _Sink:
    """The configured log: its writer and its format."""

    writer: LineWriter
    render: _Render


def configure(*, style: Literal["json", "console"], level: str, fd: int = _STDOUT) -> None:
    """Send every event of the process, uvicorn's included, to standard output or another open file."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    render = _console(colors=os.isatty(fd)) if style == "console" else _json
    if fd != _sink.writer.fd:
        flush()
        _sink.writer.fd = fd
    _sink.render = render
    stamp: list[Any] = [structlog.stdlib.add_log_level, _stamped, structlog.processors.format_exc_info]
    logger = structlog.WriteLogger(cast("TextIO", _sink.writer))
    structlog.configure(
        processors=[*stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_sink.writer)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=stamp, processor=render))
    # Libraries log warnings and errors only; the gateway writes lines about start and stop itself.
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def take_uncaught() -> None:
    """Log uncaught exceptions and Python's warnings: on standard error nobody may read them, and writing blocks."""
    sys.excepthook = lambda *crash: structlog.get_logger().error("crashed", exc_info=crash)
    threading.excepthook = lambda crash: structlog.get_logger().error("thread_crashed", exc_info=crash.exc_value)
    sys.unraisablehook = lambda crash: structlog.get_logger().error("unraisable", exc_info=crash.exc_value)
    logging.captureWarnings(capture=True)
    # A library's malformed log call is ignored.
    logging.raiseExceptions = False


def dropped_lines() -> int:
    """The number of lines that were discarded because they couldn't be written."""
    return _sink.writer.dropped


def flush() -> None:
    """Wait for the last lines to be written, at the end of the process, but not for long."""
    _sink.writer.drain(within_s=_LAST_LINES_S)


def _json(_: Any, __: str, event: EventDict) -> str:
    try:
        line = orjson.dumps(event, default=str).decode()
    except orjson.JSONEncodeError:
        # An integer beyond 64 bits, or half of a surrogate pair.
        line = json.dumps(event, default=str)
    return _printable(line)


def _console(*, colors: bool) -> _Render:
    render = structlog.dev.ConsoleRenderer(colors=colors)

    def printed(logger: Any, method: str, event: EventDict) -> str:
        # Only a trace may have several lines.
        texts = {name: value for name, value in event.items() if isinstance(value, str)}
        safe = {name: _printable(text, kept="\n" * (name == "exception")) for name, text in texts.items()}
        return render(logger, method, {**event, **safe})

    return printed


def _printable(text: str, *, kept: str = "") -> str:
    """The text with line breaks and control characters escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else json.dumps(char)[1:-1] for char in text)


def _about_dropped(lines: int) -> str:
    event = {"lines": lines, "advice": "standard output was full or nobody read it", "event": "log_lines_dropped"}
    return _sink.render(None, "warning", _stamped(None, "warning", {**event, "level": "warning"})) + "\n"


_sink = _Sink(LineWriter(_STDOUT, about_dropped=_about_dropped), _json)
atexit.register(flush)
