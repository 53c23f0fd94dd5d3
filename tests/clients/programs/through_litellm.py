"""litellm's rerank to each provider that takes an address."""

from asked import Asked, Ranking, answer


def cohere(asked: Asked) -> Ranking:
    return rerank("cohere", asked)


def jina_ai(asked: Asked) -> Ranking:
    return rerank("jina_ai", asked)


def hosted_vllm(asked: Asked) -> Ranking:
    return rerank("hosted_vllm", asked)


def together_ai(asked: Asked) -> Ranking:
    return rerank("together_ai", asked)


def azure_ai(asked: Asked) -> Ranking:
    return rerank("azure_ai", asked)


def fireworks_ai(asked: Asked) -> Ranking:
    return rerank("fireworks_ai", asked)


def infinity(asked: Asked) -> Ranking:
    return rerank("infinity", asked)


def voyage(asked: Asked) -> Ranking:
    return rerank("voyage", asked)


def nvidia_nim(asked: Asked) -> Ranking:
    return rerank("nvidia_nim", asked)


def nvidia_nim_ranking(asked: Asked) -> Ranking:
    return rerank("nvidia_nim/ranking", asked)


def huggingface(asked: Asked) -> Ranking:
    return rerank("huggingface", asked)


def rerank(provider: str, asked: Asked) -> Ranking:
    import litellm

    found = litellm.rerank(
        model=f"{provider}/{asked.model}",
        query=asked.query,
        documents=asked.texts,
        api_base=asked.url,
        api_key=asked.key,
    )
    return [(one["index"], one["relevance_score"]) for one in found.results]


if __name__ == "__main__":
    answer(globals())
