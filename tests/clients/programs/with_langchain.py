"""LangChain's rerankers, and the client of Infinity that one of them uses."""

from typing import Any

from asked import Asked, Ranking, answer


def cohere(asked: Asked) -> Ranking:
    from langchain_cohere import CohereRerank

    every = len(asked.texts)
    return compressed(CohereRerank(cohere_api_key=asked.key, base_url=asked.url, model=asked.model, top_n=every), asked)


def jina(asked: Asked) -> Ranking:
    from langchain_community.document_compressors import jina_rerank

    jina_rerank.JINA_API_URL = asked.url
    return compressed(jina_rerank.JinaRerank(jina_api_key=asked.key, model=asked.model, top_n=len(asked.texts)), asked)


def infinity(asked: Asked) -> Ranking:
    from infinity_client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank

    client = Client(asked.url, headers={"Authorization": f"Bearer {asked.key}"})
    return compressed(InfinityRerank(client=client, model=asked.model, top_n=len(asked.texts)), asked)


def nvidia(asked: Asked) -> Ranking:
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    every = len(asked.texts)
    return compressed(NVIDIARerank(base_url=asked.url, api_key=asked.key, model=asked.model, top_n=every), asked)


def voyageai(asked: Asked) -> Ranking:
    from langchain_voyageai import VoyageAIRerank

    return compressed(VoyageAIRerank(api_key=asked.key, base_url=asked.url, model=asked.model), asked)


def infinity_client(asked: Asked) -> Ranking:
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput

    client = AuthenticatedClient(asked.url, token=asked.key, raise_on_unexpected_status=True)
    body = RerankInput(query=asked.query, documents=asked.texts, model=asked.model, return_documents=True)
    found = rerank.sync(client=client, body=body).results
    assert [one.document for one in found] == [asked.texts[one.index] for one in found]
    return [(one.index, one.relevance_score) for one in found]


def compressed(compressor: Any, asked: Asked) -> Ranking:
    from langchain_core.documents import Document

    found = compressor.compress_documents([Document(text) for text in asked.texts], asked.query)
    return asked.ranked((one.page_content, one.metadata["relevance_score"]) for one in found)


if __name__ == "__main__":
    answer(globals())
