"""Prints what a cluster would get, as plain YAML without Helm's notes: `python -m checks.render prod rerank search`."""

import sys
from pathlib import Path

from checks.cluster import EXAMPLES, render, values_of

if __name__ == "__main__":
    values, release, namespace = sys.argv[1:]
    found = next((path for path in (EXAMPLES / f"{values}.yaml", Path(values)) if path.is_file()), None)
    if found is None:
        examples = ", ".join(sorted(path.stem for path in EXAMPLES.iterdir()))
        sys.exit(f"VALUES={values} is no file: name one of yours, or an example: {examples}")
    sys.stdout.write(render(values_of(found), name=release, namespace=namespace))
