"""A search in milvus-lite that a gateway reranks: `python docs/examples/search_milvus_lite.py [URL]`.

The vectors are made up: a real collection has those of an embedding model. To the vector search all documents are
alike; the gateway puts them in order.
"""

import sys
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from pymilvus import DataType, Function, FunctionType, MilvusClient  # type: ignore[import-untyped]  # ships no types

GATEWAY = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
QUERY = "capital of France"
TEXTS = ["Oslo is the capital of Norway.", "Paris is the capital of France.", "Horses and cows are animals."]


def main() -> None:
    """Fill a collection, search it, and print what was found with the gateway's scores."""
    with TemporaryDirectory() as folder:
        client = MilvusClient(f"{folder}/lite.db")
        fill(client)
        for hit in search(client):
            print(f"{hit['distance']:.4f}  {hit['entity']['text']}")
        client.close()


def fill(client: MilvusClient) -> None:
    """A collection of texts."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=1000)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_collection("texts", schema=schema, index_params=index)
    client.insert("texts", [{"id": key, "text": text, "vector": [1.0, 0.0]} for key, text in enumerate(TEXTS)])


def search(client: MilvusClient) -> list[dict[str, Any]]:
    """The documents, best first by the gateway's scores."""
    ranker = Function(
        name="rerank",
        input_field_names=["text"],
        function_type=FunctionType.RERANK,
        params={
            "reranker": "model",
            "provider": "cohere",
            "base_url": GATEWAY,
            "model_name": httpx.get(f"{GATEWAY}/v1/models").json()["data"][0]["id"],
            "api_key": "any",
            "queries": [QUERY],
        },
    )
    (hits,) = client.search("texts", data=[[1.0, 0.0]], limit=3, output_fields=["text"], ranker=ranker)
    return list(hits)


if __name__ == "__main__":
    main()
