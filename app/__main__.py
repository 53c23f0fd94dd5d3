"""The entry point of the command, which can be stopped from its first moment on."""

import os
import signal
import sys
from types import FrameType

_SERVING = ("serve", "demo")
_STANDARD_ERROR = 2


def main() -> None:
    """Run the command.

    The first process of a container ignores SIGTERM by default, so one that comes during the start would be lost. So
    handlers are set before the imports, which take most of the start. `Signals` takes over when the server starts.
    """
    if sys.argv[1:2] and sys.argv[1] in _SERVING:
        # SIGHUP asks for the settings to be read again, and they haven't been read yet.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    _open_standard_streams()
    from app.cli import cli  # noqa: PLC0415 - see above

    signal.signal(signal.SIGTERM, _unwind)
    cli()


def _end(number: int, _: FrameType | None) -> None:
    # An exception is swallowed when it is raised in a callback of the import system, of which there are thousands.
    os._exit(128 + number)


def _unwind(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _open_standard_streams() -> None:
    """Open `/dev/null` for each of standard input, output and error that is closed.

    Otherwise the next sockets would get their numbers, and clients would receive what is written to them.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(opened)


if __name__ == "__main__":
    main()
