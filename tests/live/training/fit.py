"""The loop that all models are trained in."""

import math
import sys
import time
from collections.abc import Callable
from random import Random

import torch
from tokenizers import Tokenizer

from tests.live.training.corpus import TOKENIZER

# Mostly short, for speed; now and then as long as what the models are asked about.
_WORDS = (8, 10, 12, 14, 16, 20, 24, 30, 40, 80)
_MANY_WORDS = (120, 200, 300)
_WARM_UP_STEPS = 100


def fit(
    module: torch.nn.Module,
    loss_of: Callable[[int, int], torch.Tensor],
    *,
    steps: int,
    chance: Random,
    rate: float = 1e-3,
    tokens: int = 1000,
) -> None:
    """Train `module` with AdamW.

    Args:
        module: What has the weights.
        loss_of: The loss of a batch, given its pairs and the words of each document.
        steps: How many batches.
        chance: The seeded source of the lengths.
        rate: The highest learning rate, reached after 100 steps; it falls to a fiftieth as a cosine does.
        tokens: About how many words of documents a batch has.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    average, began = 0.0, time.monotonic()
    for step in range(1, steps + 1):
        warmth = min(1.0, step / _WARM_UP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rate * warmth * max(0.02, (1 + math.cos(math.pi * step / steps)) / 2)
        words = chance.choice(_MANY_WORDS) if step % 10 == 0 else chance.choice(_WORDS)
        loss = loss_of(min(32, max(4, tokens // words)), words)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if step == 1 else 0.98 * average + 0.02 * loss.item()
        if step % 50 == 0 or step == steps:
            say(f"step {step} of {steps}, {time.monotonic() - began:.0f} s, loss {average:.4f}")


def say(line: str) -> None:
    """One line to the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Padded:
    """Token ids of several texts as one tensor, padded at their ends.

    Args:
        texts: The ids of each.
    """

    def __init__(self, texts: list[list[int]]) -> None:
        longest = max(map(len, texts))
        self.ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        self.lengths = torch.tensor([len(text) for text in texts])
        self.mask = (torch.arange(longest)[None] < self.lengths[:, None]).long()


def pieces() -> Tokenizer:
    """The tokenizer that all models share, without special tokens of its own."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
