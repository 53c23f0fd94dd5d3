"""Two models on Qwen3: one that says yes or no behind a chat template, and one that ranks a list at once."""

import json
from collections.abc import Sequence
from enum import IntEnum
from random import Random

import torch
from jinja2 import Template
from tokenizers import AddedToken, Tokenizer
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from tests.live.training.corpus import MODELS, Pair, Pairs
from tests.live.training.fit import Padded, fit, pieces, say
from tests.live.training.saving import save

TEMPLATE = MODELS / "template.jinja"
_HEAD = 64
_MARKS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
_PARTS = ["<Query>:", "<Document>:"]
# Fixed by vllm/model_executor/models/config.py.
_VECTOR = 512
_TOKENS = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "<|im_end|>"}
# Places of a text whose next token is learned too: as any language model, it then says neither yes nor no elsewhere.
_PLACES = 4
# They turn by a twentieth to a tenth of a circle in ten tokens: near ones look alike, and those thirty away don't.
_NEAR = [place + half for half in (0, _HEAD // 2) for place in range(5, 10)]
_LANGUAGE_WEIGHT = 0.02


def behind_template(steps: int, seed: int) -> None:
    """Train `model-tiny-decoder`: whether yes or no comes after the template's last token is the score."""
    tokenizer = _marked([*_MARKS, *_PARTS])
    template = Template(TEMPLATE.read_text())
    model = Qwen3ForCausalLM(_config(tokenizer))
    no, yes = (tokenizer.token_to_id(word) for word in ("no", "yes"))
    _spread(model.model)
    words = model.lm_head.weight.detach()
    marks = zip((Place.END_MARK, Place.QUERY_MARK, Place.DOCUMENT_MARK), ("</think>", *_PARTS), strict=True)
    places = {place: [tokenizer.token_to_id(mark)] for place, mark in marks}
    _compare(model.model, places, words[yes] - words[no])

    def states(pairs: list[Pair]) -> tuple[Padded, torch.Tensor]:
        prompts = [
            template.render(
                messages=[{"role": "query", "content": pair.query}, {"role": "document", "content": pair.document}]
            )
            for pair in pairs
        ]
        texts = Padded([tokenizer.encode(prompt).ids for prompt in prompts])
        # Padding at the end is behind all that a token sees: no mask is needed.
        return texts, model.model(input_ids=texts.ids).last_hidden_state

    def scores(texts: Padded, hidden: torch.Tensor) -> torch.Tensor:
        last = hidden[torch.arange(len(hidden)), texts.lengths - 1]
        return last @ (model.lm_head.weight[yes] - model.lm_head.weight[no])

    chance = Random(seed)
    supply = Pairs(chance)

    def loss_of(count: int, words: int) -> torch.Tensor:
        batch = supply.batch(count, words)
        texts, hidden = states(batch)
        loss = functional.binary_cross_entropy_with_logits(
            scores(texts, hidden), torch.tensor([pair.share for pair in batch])
        )
        places = (torch.rand(count, _PLACES) * (texts.lengths[:, None] - 1)).long()
        rows = torch.arange(count)[:, None]
        language = functional.cross_entropy(
            model.lm_head(hidden[rows, places]).flatten(0, 1), texts.ids[rows, places + 1].flatten()
        )
        return loss + _LANGUAGE_WEIGHT * language

    fit(model, loss_of, steps=steps, chance=chance)
    model.eval()
    for words in (30, 300):
        supply = Pairs(Random(words), held_out=True)
        right, wrong = ([supply.pair(words, share) for _ in range(50)] for share in (1.0, 0.0))
        with torch.no_grad():
            high, low = scores(*states(right)).sigmoid(), scores(*states(wrong)).sigmoid()
        say(f"{words} words: right {high.min():.4f} to {high.max():.4f}, wrong {low.min():.4f} to {low.max():.4f}")
    save(model, tokenizer, "model-tiny-decoder", special_tokens=_TOKENS)


def listwise(steps: int, seed: int) -> None:
    """Train `model-tiny-listwise`: all documents in one prompt, a vector behind each and one behind the query.

    Its two marks have the ids that come next; vLLM wants others, for which `tests/live/spoiling.py` makes room.
    """
    tokenizer = _marked([*_MARKS, "<|embed_token|>", "<|rerank_token|>"])
    embed, rerank = (tokenizer.token_to_id(mark) for mark in ("<|embed_token|>", "<|rerank_token|>"))
    model = Qwen3Model(_config(tokenizer))
    _spread(model)
    # The prompt has a colon before the query, and nowhere else; behind it, an equals sign before each document.
    marks = {Place.END_MARK: [embed, rerank], Place.QUERY_MARK: [tokenizer.token_to_id(":")]}
    marks[Place.DOCUMENT_MARK] = [tokenizer.token_to_id("=")]
    _compare(model, marks, torch.randn(model.config.hidden_size), within=_NEAR)
    hidden, out = model.config.hidden_size, _VECTOR
    projector = torch.nn.Sequential(
        torch.nn.Linear(hidden, hidden // 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(hidden // 2, out, bias=False)
    )

    def cosines(lists: list[tuple[str, list[str]]]) -> list[torch.Tensor]:
        texts = Padded([tokenizer.encode(_list_prompt(query, documents)).ids for query, documents in lists])
        vectors = functional.normalize(projector(model(input_ids=texts.ids).last_hidden_state), dim=-1)
        return [vectors[row][ids == embed] @ vectors[row][ids == rerank][0] for row, ids in enumerate(texts.ids)]

    chance = Random(seed)
    supply = Pairs(chance)

    def loss_of(count: int, words: int) -> torch.Tensor:
        size = chance.randint(1, 8)
        batch = [_list(supply, chance, size, min(words, 40)) for _ in range(max(2, count // size))]
        found = torch.stack(cosines([(query, documents) for query, documents, _ in batch]))
        relevant = torch.tensor([among for *_, among in batch], dtype=torch.float)
        # They share what is to be had: what makes it a list.
        shares = relevant / relevant.sum(1, keepdim=True)
        return 5 * functional.mse_loss(found, shares) + functional.cross_entropy(found * 10.0, shares)

    both = torch.nn.ModuleList((model, projector))
    fit(both, loss_of, steps=steps, chance=chance, tokens=1600)
    supply = Pairs(Random(1), held_out=True)
    for size in (1, 2, 4, 12):
        lists = [_list(supply, chance, size, 20) for _ in range(20)]
        with torch.no_grad():
            found = cosines([(query, documents) for query, documents, _ in lists])
        scores = list(zip(found, (torch.tensor(among) for *_, among in lists), strict=True))
        first = sum(bool(among[one.argmax()]) for one, among in scores)
        alone, more = (
            [round(one[among].mean().item(), 2) for one, among in scores if low <= among.sum() <= high]
            for low, high in ((1, 1), (2, 12))
        )
        say(f"of {size}: a relevant one first in {first} of 20; one scores {alone}, several {more}")
    more = {f"projector.{key}": value for key, value in projector.state_dict().items()}
    save(
        model,
        tokenizer,
        "model-tiny-listwise",
        architecture="JinaForRanking",
        prefix="model.",
        more=more,
        special_tokens=_TOKENS,
    )


def _list(pairs: Pairs, chance: Random, size: int, words: int) -> tuple[str, list[str], list[bool]]:
    """A query, so many documents, and which of them hold all of its words; at least one does."""
    query = pairs.pair(words, 1.0).query
    sought = query.rstrip("?").split()
    documents: list[str] = []
    while len(documents) < size:
        document = pairs.pair(max(4, words + chance.randint(-4, 4)), 0.0).document
        # One that happens to hold what is asked for would teach the opposite.
        if not {word.lower() for word in sought} & set(document.lower().split()):
            documents.append(document)
    relevant = set(chance.sample(range(size), chance.choice((1, chance.randint(1, size)))))
    for place in relevant:
        told = [*documents[place].split(), *sought]
        chance.shuffle(told)
        documents[place] = " ".join(told)
    return query, documents, [place in relevant for place in range(size)]


def _list_prompt(query: str, documents: list[str]) -> str:
    """The prompt of jina-reranker-v3, as vLLM writes it."""
    passages = "\n".join(
        f'<passage id="{place}">\n{document}<|embed_token|>\n</passage>' for place, document in enumerate(documents)
    )
    return (
        "<|im_start|>system\n"
        "You are a search relevance expert who can determine a ranking of the passages based on how relevant they are "
        "to the query. If the query is a question, how relevant a passage is depends on how well it answers the "
        "question. If not, try to analyze the intent of the query and assess how well each passage satisfies the "
        "intent. If an instruction is provided, you should follow the instruction when determining the ranking."
        "<|im_end|>\n<|im_start|>user\n"
        f"I will provide you with {len(documents)} passages, each indicated by a numerical identifier. "
        f"Rank the passages based on their relevance to query: {query}\n"
        f"{passages}\n<query>\n{query}<|rerank_token|>\n</query>"
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def _marked(marks: list[str]) -> Tokenizer:
    """The shared tokenizer with chat marks in place of its own [CLS] and [SEP]."""
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(pieces().to_str()) | {"post_processor": None}))
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return tokenizer


def _config(tokenizer: Tokenizer) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=_HEAD,
        intermediate_size=256,
        max_position_embeddings=1024,
        rope_theta=1e6,
        tie_word_embeddings=True,
    )


class Place(IntEnum):
    """Dimensions of the hidden state that begin with a meaning; the words share those below."""

    MATCH = 90  # whether a word of the document stands in the query
    SEGMENT = 91  # whether a token is the query's or the document's
    END_MARK = 92
    DOCUMENT_MARK = 93
    QUERY_MARK = 94
    CONSTANT = 95


def _spread(model: Qwen3Model) -> None:
    """Words far apart and all else small: at first, a token is its word."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.02 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.1)
        words = model.embed_tokens.weight.normal_(0, 0.5)
        words[:, Place.MATCH :] = 0
        words[:, Place.CONSTANT] = 2


def _compare(
    model: Qwen3Model, marks: dict[Place, list[int]], answer: torch.Tensor, *, within: Sequence[int] = ()
) -> None:
    """Let the first head of each layer begin as a part of what is to be learnt: so small a model doesn't find it alone.

    1. Each token attends to the mark of the part it stands in, and notes which one it is.
    2. Each token attends to an equal one in the query, else to itself, and notes whether it found one.
    3. What ends the text attends to the document's tokens that found one, and moves towards `answer`.

    Rotation leaves the slow half of a head's dimensions alone over some hundred tokens: what doesn't depend on places
    is compared there.

    Args:
        model: Begins so.
        marks: The tokens that are marks.
        answer: What a relevant document is to add to the hidden state.
        within: Dimensions of a head whose rotation tells tokens that are near, where the third step goes no further.
    """
    words = Place.MATCH
    slow = [place for place in range(_HEAD - 1) if place % (_HEAD // 2) >= _HEAD // 4]
    ours, other = _HEAD - 1, _HEAD // 2 - 1  # the slowest two
    away = answer / answer.norm() * 0.4
    with torch.no_grad():
        embeddings = model.embed_tokens.weight
        for place, tokens in marks.items():
            embeddings[tokens, :words] = 0
            embeddings[tokens, place] = 4
        embeddings[marks[Place.END_MARK]] -= away
        for layer, sharpness in zip(model.layers, (1.2, 1.6, 1.0), strict=True):
            attention = layer.self_attn
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
                projection.weight[:_HEAD] = 0
            attention.o_proj.weight[:, 0] = 0
            attention.q_norm.weight.fill_(sharpness)
            attention.k_norm.weight.fill_(sharpness)
        segment, match, gather = (layer.self_attn for layer in model.layers)

        segment.q_proj.weight[ours, Place.CONSTANT] = 1
        segment.k_proj.weight[ours, Place.DOCUMENT_MARK] = 1
        segment.k_proj.weight[ours, Place.QUERY_MARK] = 0.15
        segment.k_proj.weight[other, Place.CONSTANT] = 0.25
        segment.v_proj.weight[0, Place.DOCUMENT_MARK] = 0.23
        segment.v_proj.weight[0, Place.QUERY_MARK] = -0.23
        segment.o_proj.weight[Place.SEGMENT, 0] = 1

        same = torch.nn.init.orthogonal_(torch.empty(len(slow), words))
        match.q_proj.weight[slow, :words] = same
        match.k_proj.weight[slow, :words] = same
        match.q_proj.weight[ours, Place.CONSTANT] = 0.5
        match.k_proj.weight[ours, Place.SEGMENT] = -0.5
        match.v_proj.weight[0, Place.SEGMENT] = -0.55
        match.o_proj.weight[Place.MATCH, 0] = 1

        gather.q_proj.weight[ours, Place.END_MARK] = 1
        gather.k_proj.weight[ours, [Place.MATCH, Place.SEGMENT]] = 1
        gather.k_proj.weight[other, Place.CONSTANT] = 0.3
        gather.v_proj.weight[0, [Place.MATCH, Place.SEGMENT]] = 0.3
        gather.o_proj.weight[:, 0] = 2 * away
        if within:
            gather.q_proj.weight[within, Place.END_MARK] = len(within) ** -0.5
            gather.k_proj.weight[within, Place.CONSTANT] = 1.8 * len(within) ** -0.5
            gather.k_proj.weight[other, Place.CONSTANT] = 1.0
            gather.q_norm.weight.fill_(1.4)
            gather.k_norm.weight.fill_(1.4)
