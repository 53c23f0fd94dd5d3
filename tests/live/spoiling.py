"""Copies of a model's folder with other weights: what bad conversions leave, and what vLLM asks of listwise models."""

import json
import math
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

# Characters of `struct`, by the types of a safetensors file.
_FORMATS = {"F16": "e", "F32": "f"}
_WEIGHTS = "model.safetensors"
# vllm/model_executor/models/jina.py knows a listwise model's two marks by these ids alone.
_LISTWISE_IDS = {"<|embed_token|>": 151670, "<|rerank_token|>": 151671}

Spoil = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file, as its bytes."""

    dtype: str
    shape: list[int]
    data: bytes

    def each(self, change: Callable[[float], float]) -> "Tensor":
        """The tensor with every number changed."""
        numbers = f"<{math.prod(self.shape)}{_FORMATS[self.dtype]}"
        return replace(self, data=struct.pack(numbers, *map(change, struct.unpack(numbers, self.data))))


def spoiled(model: Path, spoil: Spoil, place: Path) -> Path:
    """A copy of a model's folder below `place` that `spoil` has changed."""
    copy = place / f"{model.name}-{spoil.__name__}"
    shutil.copytree(model, copy)
    spoil(copy)
    return copy


def reversed_head(folder: Path) -> None:
    """Labels in the wrong order: what is relevant scores low."""
    _change_head(folder, lambda number: -number)


def constant(folder: Path) -> None:
    """A head of zeros: every pair scores one half."""
    _change_head(folder, lambda _: 0.0)


def broken_head(folder: Path) -> None:
    """A head whose numbers overflowed."""
    _change_head(folder, lambda _: math.nan)


def random_head(folder: Path) -> None:
    """A head that was never trained, as transformers makes one up where the checkpoint has none."""
    chance = Random(7)
    _change_head(folder, lambda _: chance.gauss(0, 0.02))


def listwise_ids(folder: Path) -> None:
    """A listwise model's two marks under the ids that vLLM wants, 30 MB of rows that nothing reads before them."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tensors = _read(folder / _WEIGHTS)
    table = tensors["model.embed_tokens.weight"]
    row = len(table.data) // table.shape[0]
    size = max(_LISTWISE_IDS.values()) + 1
    data = bytearray(table.data) + bytes(row * (size - table.shape[0]))
    for token in tokenizer["added_tokens"]:
        if (new := _LISTWISE_IDS.get(token["content"])) is not None:
            old = token["id"]
            data[new * row : (new + 1) * row] = table.data[old * row : (old + 1) * row]
            token["id"] = tokenizer["model"]["vocab"][token["content"]] = new
    tensors["model.embed_tokens.weight"] = Tensor(table.dtype, [size, table.shape[1]], bytes(data))
    _write(folder / _WEIGHTS, tensors)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size}))


def _change_head(folder: Path, change: Callable[[float], float]) -> None:
    tensors = _read(folder / _WEIGHTS)
    heads = {name: tensor.each(change) for name, tensor in tensors.items() if name.startswith("classifier.")}
    _write(folder / _WEIGHTS, tensors | heads)


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: eight bytes with the length of a JSON header, the header, the numbers."""
    content = file.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    return {
        name: Tensor(
            entry["dtype"], entry["shape"], content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        )
        for name, entry in header.items()
    }


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    head += b" " * (-len(head) % 8)
    file.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(tensor.data for tensor in tensors.values()))
