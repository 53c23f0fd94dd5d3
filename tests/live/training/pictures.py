"""A model that reads pictures: CLIP with the random weights it begins with, which compare pixels a little."""

import json
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel

from tests.live.training.corpus import MODELS

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_LENGTH, _SIDE = 77, 56


def pictures(_steps: int, _seed: int) -> None:
    """Write its folder."""
    folder = MODELS / "model-tiny-clip"
    folder.mkdir(exist_ok=True)
    # Bytes are its tokens. vLLM fills pictures' places with token 0, which must be none of the special ones.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_BEGIN, _END])
    ends = [(token, tokenizer.token_to_id(token)) for token in (_BEGIN, _END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{_BEGIN} $A {_END}", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    begin, end = (number for _, number in ends)
    # vLLM 0.32.0 takes no vectors smaller than the layers' (`clip.py`, `_embed_text_input_ids`).
    config = CLIPConfig(
        text_config=shared
        | {
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": _LENGTH,
            "bos_token_id": begin,
            "eos_token_id": end,
            "pad_token_id": end,
            "projection_dim": 32,
        },
        vision_config=shared | {"image_size": _SIDE, "patch_size": 14, "projection_dim": 32},
        projection_dim=32,
        architectures=["CLIPModel"],
        dtype="float32",
    )
    weights = CLIPModel(config).state_dict()
    halves = {name: value.half().contiguous() for name, value in weights.items() if value.is_floating_point()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": _LENGTH,
            "bos_token": _BEGIN,
            "eos_token": _END,
            "pad_token": _END,
        },
    )
    _write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": _SIDE},
            "crop_size": {"height": _SIDE, "width": _SIDE},
            "do_convert_rgb": True,
        },
    )


def _write(path: Path, settings: dict[str, object]) -> None:
    path.write_text(json.dumps(settings, indent=1) + "\n")
