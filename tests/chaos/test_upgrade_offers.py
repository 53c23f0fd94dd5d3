"""Clients that offer h2c with their request, as they are: Java's HttpClient and curl."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVllm
from tests.integration.commands import running

BODY = '{"query":"q","documents":["a","b"]}'


async def _output_of(*command: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    return output.decode().splitlines()


@pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK")
async def test_javas_client_is_answered_with_a_body_of_known_length_and_in_chunks():
    async with FakeVllm().running() as worker, running("serve", worker) as gateway:
        await gateway.until_usable()
        lines = await _output_of("java", str(Path(__file__).with_name("Ask.java")), f"{gateway.url}/rerank", BODY)
    assert [line.split()[:2] for line in lines] == [["HTTP_1_1", "200"]] * 3, lines
    assert all(len(json.loads(line.split(maxsplit=2)[2])["results"]) == 2 for line in lines)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_curl_is_answered_and_keeps_its_connection():
    async with FakeVllm().running() as worker, running("serve", worker) as gateway:
        await gateway.until_usable()
        post = [
            "--silent",
            "--http2",
            "--json",
            BODY,
            "--write-out",
            "\n%{http_code} %{http_version} %{num_connects}\n",
        ]
        url = f"{gateway.url}/rerank"
        lines = await _output_of("curl", *post, url, "--next", *post, "--header", "Transfer-Encoding: chunked", url)
    assert lines[1::2] == ["200 1.1 1", "200 1.1 0"], lines
    assert all(len(json.loads(line)["results"]) == 2 for line in lines[::2])
