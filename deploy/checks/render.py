"""Prints what a cluster would get, as plain YAML without Helm's notes: `python -m checks.render prod rerank search`."""

import sys

from checks.cluster import EXAMPLES, render, values_of

if __name__ == "__main__":
    example, release, namespace = sys.argv[1:]
    sys.stdout.write(render(values_of(EXAMPLES / f"{example}.yaml"), name=release, namespace=namespace))
