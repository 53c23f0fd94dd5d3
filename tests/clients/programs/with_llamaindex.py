"""LlamaIndex's postprocessors."""

import os
from typing import Any

from asked import Asked, Ranking, answer


def cohere(asked: Asked) -> Ranking:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return processed(
        CohereRerank(base_url=asked.url, api_key=asked.key, model=asked.model, top_n=len(asked.texts), max_retries=1),
        asked,
    )


def jinaai(asked: Asked) -> Ranking:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    every = len(asked.texts)
    return processed(JinaRerank(base_url=asked.url, api_key=asked.key, model=asked.model, top_n=every), asked)


def voyageai(asked: Asked) -> Ranking:
    from llama_index.postprocessor.voyageai_rerank import VoyageAIRerank

    ranker = VoyageAIRerank(asked.model, asked.key)
    ranker._client._params["base_url"] = asked.url
    return processed(ranker, asked)


def nvidia(asked: Asked) -> Ranking:
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

    every = len(asked.texts)
    return processed(NVIDIARerank(asked.model, api_key=asked.key, base_url=asked.url, top_n=every), asked)


def mixedbreadai(asked: Asked) -> Ranking:
    from llama_index.postprocessor.mixedbreadai_rerank import MixedbreadAIRerank

    os.environ["MIXEDBREAD_BASE_URL"] = asked.url
    return processed(MixedbreadAIRerank(len(asked.texts), asked.model, asked.key), asked)


def siliconflow(asked: Asked) -> Ranking:
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

    every = len(asked.texts)
    return processed(SiliconFlowRerank(asked.model, asked.url, asked.key, top_n=every), asked)


def tei(asked: Asked) -> Ranking:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    token = f"Bearer {asked.key}"
    return processed(TextEmbeddingInference(len(asked.texts), asked.url, auth_token=token), asked)


def xinference(asked: Asked) -> Ranking:
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    return processed(XinferenceRerank(top_n=len(asked.texts), model=asked.model, base_url=asked.url), asked)


def processed(postprocessor: Any, asked: Asked) -> Ranking:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in asked.texts]
    found = postprocessor.postprocess_nodes(nodes, query_str=asked.query)
    return asked.ranked((one.node.text, one.score) for one in found)


if __name__ == "__main__":
    answer(globals())
