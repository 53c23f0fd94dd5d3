"""Train the models of the live tests anew: `VENV/bin/python -m tests.live.training KIND`, with the venv of vLLM.

Each takes up to six minutes on one thread and overwrites its folder below `tests/live/vllm`.
"""

import argparse
import os

import torch

from tests.live.training import decoder, encoder, pictures

# What is trained, and in how many steps.
_KINDS = {
    "cross-encoder": (encoder.cross_encoder, 2500),
    "bi-encoder": (encoder.bi_encoder, 500),
    "late-interaction": (encoder.late_interaction, 500),
    "template": (decoder.behind_template, 700),
    "listwise": (decoder.listwise, 450),
    "pictures": (pictures.pictures, 1),
}


def main() -> None:
    """Train one model."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.training", description=__doc__)
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    train, steps = _KINDS[arguments.kind]
    train(arguments.steps or steps, arguments.seed)


main()
