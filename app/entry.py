"""Where the command begins: able to stop from its first moment on."""

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command.

    As the first process of a container it has no default for SIGTERM: one that came before the server listens would be
    lost. So this is set before the imports, which take most of the start.
    """
    signal.signal(signal.SIGTERM, _stop)
    from app.cli import cli  # noqa: PLC0415 - see above

    cli()


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
