"""The gateway's command, in a process that ends with its stdin: it never outlives the test that started it."""

import os
import sys
import threading

from app.__main__ import main


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    main()
