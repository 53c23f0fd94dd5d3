"""Trained models as vLLM loads them: half precision, the shared tokenizer, and a configuration."""

import json
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from tests.live.training.corpus import MODELS

_POOLING = {"word_embedding_dimension": 64, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def save(
    model: Any,
    tokenizer: Tokenizer,
    name: str,
    *,
    architecture: str | None = None,
    prefix: str = "",
    more: dict[str, torch.Tensor] | None = None,
    skip: str = "lm_head.",
    sentence_transformer: bool = False,
    special_tokens: dict[str, str] | None = None,
) -> None:
    """Write a model's folder.

    Args:
        model: Of transformers.
        tokenizer: Its tokenizer.
        name: The folder's name, below `tests/live/vllm`.
        architecture: What vLLM shall take it for; the model's own class when absent.
        prefix: Goes before the name of each of its weights.
        more: Further weights.
        skip: Weights whose names begin so are left out.
        sentence_transformer: Whether it is a bi-encoder whose vector is the mean of its tokens.
        special_tokens: The tokenizer's, by their part; those of BERT when absent.
    """
    folder = MODELS / name
    folder.mkdir(exist_ok=True)
    weights = {prefix + key: value for key, value in model.state_dict().items() if not key.startswith(skip)}
    weights |= more or {}
    halves = {key: value.detach().half().contiguous() for key, value in weights.items() if value.is_floating_point()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    settings = model.config.to_dict() | {"architectures": [architecture or type(model).__name__], "dtype": "float32"}
    _write(folder / "config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokens = special_tokens or {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512} | tokens,
    )
    if sentence_transformer:
        (folder / "1_Pooling").mkdir(exist_ok=True)
        _write(folder / "1_Pooling" / "config.json", _POOLING)
        kinds = ("Transformer", ""), ("Pooling", "1_Pooling")
        modules = [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (kind, path) in enumerate(kinds)
        ]
        _write(folder / "modules.json", modules)


def _write(path: Any, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=isinstance(content, dict)) + "\n")
