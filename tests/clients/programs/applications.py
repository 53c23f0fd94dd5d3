"""Rerankers of whole applications, as far as they can be installed."""

import asyncio
import os

from asked import Asked, Ranking, answer


def agno_cohere(asked: Asked) -> Ranking:
    from agno.knowledge.document import Document
    from agno.knowledge.reranker.cohere import CohereReranker
    from cohere import Client

    reranker = CohereReranker(model=asked.model, cohere_client=Client(asked.key, base_url=asked.url))
    found = reranker.rerank(asked.query, [Document(content=text) for text in asked.texts])
    # An error of the server is logged, and what was to be ranked comes back as it was.
    assert all(one.reranking_score is not None for one in found), "silently unranked"
    return asked.ranked((one.content, one.reranking_score) for one in found)


def lightrag_cohere(asked: Asked) -> Ranking:
    from lightrag.rerank import cohere_rerank

    return lightrag(cohere_rerank, asked)


def lightrag_jina(asked: Asked) -> Ranking:
    from lightrag.rerank import jina_rerank

    return lightrag(jina_rerank, asked)


def lightrag_ali(asked: Asked) -> Ranking:
    from lightrag.rerank import ali_rerank

    return lightrag(ali_rerank, asked)


def lightrag(rerank, asked: Asked) -> Ranking:
    found = asyncio.run(rerank(asked.query, asked.texts, api_key=asked.key, model=asked.model, base_url=asked.url))
    return [(one["index"], one["relevance_score"]) for one in found]


def dify_openai_compatible(asked: Asked) -> Ranking:
    from dify_plugin.interfaces.model.openai_compatible.rerank import OAICompatRerankModel

    credentials = {"endpoint_url": asked.url, "api_key": asked.key}
    model = OAICompatRerankModel.__new__(OAICompatRerankModel)
    found = model._invoke(asked.model, credentials, asked.query, asked.texts)
    return [(one.index, one.score) for one in found.docs]


def mem0_cohere(asked: Asked) -> Ranking:
    os.environ["CO_API_URL"] = asked.url
    from mem0.configs.rerankers.cohere import CohereRerankerConfig
    from mem0.reranker.cohere_reranker import CohereReranker

    reranker = CohereReranker(CohereRerankerConfig(model=asked.model, api_key=asked.key))
    found = reranker.rerank(asked.query, [{"memory": text} for text in asked.texts])
    # An error of the server is logged, and everything gets 0.
    assert any(one["rerank_score"] for one in found), "silently unranked"
    return asked.ranked((one["memory"], one["rerank_score"]) for one in found)


if __name__ == "__main__":
    answer(globals())
