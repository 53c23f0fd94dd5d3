"""Haystack's rankers."""

from typing import Any

from asked import Asked, Ranking, answer


def cohere(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.cohere import CohereRanker

    every = len(asked.texts)
    return run(CohereRanker(asked.model, every, secret(asked), asked.url), asked)


def jina(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.jina import JinaRanker

    return run(JinaRanker(asked.model, secret(asked), base_url=asked.url), asked)


def nvidia(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.nvidia import NvidiaRanker

    every = len(asked.texts)
    return run(NvidiaRanker(asked.model, api_url=asked.url, api_key=secret(asked), top_k=every), asked)


def vllm(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    return run(VLLMRanker(model=asked.model, api_key=secret(asked), api_base_url=asked.url), asked)


def tei(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return run(HuggingFaceTEIRanker(url=asked.url, token=secret(asked), top_k=len(asked.texts)), asked)


def voyage(asked: Asked) -> Ranking:
    from haystack_integrations.components.rankers.voyage import VoyageRanker

    ranker = VoyageRanker(model=asked.model, api_key=secret(asked))
    ranker.warm_up()
    ranker.client._params["base_url"] = asked.url
    return run(ranker, asked)


def mixedbread(asked: Asked) -> Ranking:
    from mixedbread_ai_haystack.rerankers import MixedbreadReranker

    every = len(asked.texts)
    return run(MixedbreadReranker(secret(asked), asked.model, every, base_url=asked.url), asked)


def secret(asked: Asked) -> Any:
    from haystack.utils import Secret

    return Secret.from_token(asked.key)


def run(ranker: Any, asked: Asked) -> Ranking:
    from haystack import Document

    if hasattr(ranker, "warm_up"):
        ranker.warm_up()
    found = ranker.run(query=asked.query, documents=[Document(content=text) for text in asked.texts])["documents"]
    return asked.ranked(
        (one.content, one.score if one.score is not None else one.meta["rerank_score"]) for one in found
    )


if __name__ == "__main__":
    answer(globals())
