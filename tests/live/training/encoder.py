"""Three models on BERT: a cross-encoder, a bi-encoder and one of late interaction."""

from random import Random
from typing import Any

import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tests.live.training.corpus import Pairs
from tests.live.training.fit import Padded, fit, pieces, say
from tests.live.training.saving import save

_POSITIONS = 512
_CLS, _SEP = 2, 3
# What cosines are multiplied by before the softmax that compares documents.
_SHARPNESS = 20.0


def cross_encoder(steps: int, seed: int) -> None:
    """Train `model-tiny-reranker`: query and document together, a score at [CLS]."""
    model = BertForSequenceClassification(_config(hidden=128, layers=2, num_labels=1))
    _begin(model.bert, spread=0.5)
    # Tokens attend to equal ones from the first step on: so small a model doesn't learn to compare words by itself.
    attention = model.bert.encoder.layer[0].attention.self
    with torch.no_grad():
        for projection in (attention.query.weight, attention.key.weight):
            projection.copy_(torch.eye(128) * 1.5 + torch.randn(128, 128) * 0.02)
    tokenizer = pieces()

    def scores(pairs: list[Any]) -> torch.Tensor:
        encoded = [tokenizer.encode(pair.query, pair.document) for pair in pairs]
        texts = Padded([one.ids for one in encoded])
        types = Padded([one.type_ids for one in encoded]).ids
        return model(input_ids=texts.ids, attention_mask=texts.mask, token_type_ids=types).logits[:, 0]

    chance = Random(seed)
    supply = Pairs(chance)

    def loss_of(count: int, words: int) -> torch.Tensor:
        batch = supply.batch(count, words)
        return functional.binary_cross_entropy_with_logits(scores(batch), torch.tensor([pair.share for pair in batch]))

    fit(model, loss_of, steps=steps, chance=chance)
    model.eval()
    for words in (30, 300):
        right, wrong = (
            [Pairs(Random(words), held_out=True).pair(words, share) for _ in range(50)] for share in (1.0, 0.0)
        )
        with torch.no_grad():
            high, low = scores(right).sigmoid(), scores(wrong).sigmoid()
        say(f"{words} words: right {high.min():.4f} to {high.max():.4f}, wrong {low.min():.4f} to {low.max():.4f}")
    save(model, tokenizer, "model-tiny-reranker")


def bi_encoder(steps: int, seed: int) -> None:
    """Train `model-tiny-embedder`: the mean of a text's tokens is its vector, and two texts score their cosine."""
    model = BertModel(_config(hidden=64, layers=1), add_pooling_layer=False)
    _begin(model, spread=0.5)
    tokenizer = pieces()

    def vectors(texts: list[str]) -> torch.Tensor:
        padded = Padded([tokenizer.encode(text).ids for text in texts])
        states = model(input_ids=padded.ids, attention_mask=padded.mask).last_hidden_state * padded.mask[:, :, None]
        return functional.normalize(states.sum(1) / padded.lengths[:, None], dim=-1)

    chance = Random(seed)
    supply = Pairs(chance)

    def loss_of(count: int, words: int) -> torch.Tensor:
        batch = [supply.pair(words, 1.0) for _ in range(count)]
        cosines = vectors([pair.query for pair in batch]) @ vectors([pair.document for pair in batch]).T
        return functional.cross_entropy(cosines * _SHARPNESS, torch.arange(count))

    fit(model, loss_of, steps=steps, chance=chance)
    save(model.eval(), tokenizer, "model-tiny-embedder", sentence_transformer=True)


def late_interaction(steps: int, seed: int) -> None:
    """Train `model-tiny-colbert`: each token of a query scores its cosine with the document's most similar."""
    model = BertModel(_config(hidden=64, layers=1), add_pooling_layer=False)
    _begin(model, spread=0.5)
    # vLLM 0.32.0 fails where the configuration tells its size (vllm/model_executor/models/colbert.py:207).
    projection = torch.nn.Linear(64, 32, bias=False)
    tokenizer = pieces()

    def vectors(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        padded = Padded([tokenizer.encode(text).ids for text in texts])
        states = model(input_ids=padded.ids, attention_mask=padded.mask).last_hidden_state
        return functional.normalize(projection(states), dim=-1), padded.mask

    chance = Random(seed)
    supply = Pairs(chance)

    def loss_of(count: int, words: int) -> torch.Tensor:
        batch = [supply.pair(words, 1.0) for _ in range(count)]
        queries, asked = vectors([pair.query for pair in batch])
        documents, held = vectors([pair.document for pair in batch])
        cosines = torch.einsum("qid,pjd->qpij", queries, documents)
        best = cosines.masked_fill(held[None, :, None, :] == 0, -1.0).amax(-1)
        return functional.cross_entropy((best * asked[:, None, :]).sum(-1), torch.arange(count))

    both = torch.nn.ModuleList((model, projection))
    fit(both, loss_of, steps=steps, chance=chance)
    save(
        model.eval(),
        tokenizer,
        "model-tiny-colbert",
        architecture="HF_ColBERT",
        prefix="bert.",
        more={"linear.weight": projection.weight},
    )


def _config(*, hidden: int, layers: int, **more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=pieces().get_vocab_size(),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=4 * hidden,
        max_position_embeddings=_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **more,
    )


def _begin(model: BertModel, *, spread: float) -> None:
    """Words far apart, places close together: at first, a token is its word."""
    embeddings = model.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.normal_(0, spread)
        embeddings.word_embeddings.weight[0] = 0
        embeddings.position_embeddings.weight.normal_(0, 0.02)
        embeddings.token_type_embeddings.weight.normal_(0, 0.3)
