"""The SDKs of services that rank, and libraries that speak to several of them."""

from collections.abc import Iterable
from typing import Any

from asked import Asked, Ranking, answer


def cohere_v2(asked: Asked) -> Ranking:
    import cohere

    client = cohere.ClientV2(asked.key, base_url=asked.url)
    return scored(client.rerank(model=asked.model, query=asked.query, documents=asked.texts).results)


def cohere_v1(asked: Asked) -> Ranking:
    import cohere

    client = cohere.Client(asked.key, base_url=asked.url)
    return scored(client.rerank(model=asked.model, query=asked.query, documents=asked.texts).results)


def voyageai(asked: Asked) -> Ranking:
    import voyageai

    client = voyageai.Client(asked.key, base_url=asked.url)
    found = client.rerank(asked.query, asked.texts, asked.model)
    assert [one.document for one in found.results] == [asked.texts[one.index] for one in found.results]
    return scored(found.results)


def mixedbread(asked: Asked) -> Ranking:
    from mixedbread import Mixedbread

    client = Mixedbread(api_key=asked.key, base_url=asked.url)
    found = client.rerank(
        model=asked.model, query=asked.query, input=asked.texts, top_k=len(asked.texts), return_input=True
    )
    assert [one.input for one in found.data] == [asked.texts[one.index] for one in found.data]
    return [(one.index, one.score) for one in found.data]


def together(asked: Asked) -> Ranking:
    from together import Together

    client = Together(api_key=asked.key, base_url=asked.url)
    return scored(client.rerank.create(model=asked.model, query=asked.query, documents=asked.texts).results)


def openai_post(asked: Asked) -> Ranking:
    from openai import OpenAI

    client = OpenAI(api_key=asked.key, base_url=asked.url)
    body = {"model": asked.model, "query": asked.query, "documents": asked.texts}
    return rows(client.post("/rerank", body=body, cast_to=object)["results"])


def openai_models(asked: Asked) -> Ranking:
    from openai import OpenAI

    client = OpenAI(api_key=asked.key, base_url=asked.url)
    assert asked.model in [model.id for model in client.models.list()]
    assert client.models.retrieve(asked.model).id == asked.model
    return openai_post(asked)


def huggingface_hub(asked: Asked) -> Ranking:
    from huggingface_hub import InferenceClient

    client = InferenceClient(model=asked.url, token=asked.key)
    return best_first(client.sentence_similarity(asked.query, other_sentences=asked.texts))


def xinference(asked: Asked) -> Ranking:
    from xinference_client import RESTfulClient

    model = RESTfulClient(asked.url).get_model(asked.model)
    return rows(model.rerank(asked.texts, asked.query)["results"])


def esperanto_jina(asked: Asked) -> Ranking:
    return esperanto("jina", asked)


def esperanto_cohere(asked: Asked) -> Ranking:
    return esperanto("cohere", asked)


def esperanto_voyage(asked: Asked) -> Ranking:
    return esperanto("voyage", asked)


def esperanto(provider: str, asked: Asked) -> Ranking:
    from esperanto.factory import AIFactory

    model = AIFactory.create_reranker(provider, asked.model, config={"api_key": asked.key, "base_url": asked.url})
    return scored(model.rerank(asked.query, asked.texts).results)


def rerankers_cohere(asked: Asked) -> Ranking:
    return rerankers("cohere", asked)


def rerankers_jina(asked: Asked) -> Ranking:
    return rerankers("jina", asked)


def rerankers_voyage(asked: Asked) -> Ranking:
    return rerankers("voyage", asked)


def rerankers_mixedbread(asked: Asked) -> Ranking:
    return rerankers("mixedbread.ai", asked)


def rerankers_tei(asked: Asked) -> Ranking:
    return rerankers("text-embeddings-inference", asked)


def rerankers(provider: str, asked: Asked) -> Ranking:
    from rerankers.models.api_rankers import APIRanker

    ranker = APIRanker(asked.model, asked.key, provider, url=asked.url)
    found = ranker.rank(asked.query, asked.texts).results
    return [(one.document.doc_id, one.score) for one in found]


def scored(found: Iterable[Any]) -> Ranking:
    return [(one.index, one.relevance_score) for one in found]


def rows(found: Iterable[dict[str, Any]]) -> Ranking:
    return [(one["index"], one["relevance_score"]) for one in found]


def best_first(scores: Iterable[float]) -> Ranking:
    """The ranking of a client that gets scores in the order of its texts."""
    return sorted(enumerate(scores), key=lambda pair: -pair[1])


if __name__ == "__main__":
    answer(globals())
