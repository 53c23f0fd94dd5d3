"""What one who calls can learn of keys, and of others who call."""

import asyncio
import hmac
import json
import math
import ssl
import struct
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.api import auth
from app.api.auth import Keys
from app.cache.redis_codec import generations_in, known_in, value_of
from app.errors import Unauthorized
from app.policy.pair_digest import pair_digests
from app.settings import Settings, load
from app.settings.certificates import Certificates
from app.types import Fingerprint, Pairs
from tests.fake_vllm import FakeVllm
from tests.running import gateway, rerank
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
SECRET = "sekret-zq7"


def test_keys_are_compared_by_digest_all_of_them_and_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    # What makes it constant is the library's: here it is only watched.
    @dataclass
    class Watched:
        compare_digest: Any = compare

    monkeypatch.setattr(auth, "hmac", Watched())
    keys = Keys({f"key-{number}": f"secret-{number}" for number in range(20)})
    for given in ("secret-0", "secret-19", "secret-1", "s", "", "x" * 100_000):
        compared.clear()
        try:
            keys.name_of(f"Bearer {given}")
        except Unauthorized:
            assert given not in {"secret-0", "secret-19", "secret-1"}
        assert len(compared) == 20
        assert {len(part) for pair in compared for part in pair} == {32}


@pytest.mark.parametrize("key", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic %%%"}])
async def test_a_stranger_learns_neither_hits_nor_times_nor_models(key: dict[str, str]):
    async with gateway(FakeVllm(), api_keys=f"a:{SECRET}", cache=True) as client:
        own = {"Authorization": f"Bearer {SECRET}"}
        body = {"query": "q", "documents": ["a"]}
        for _ in range(2):
            known = await client.post("/rerank", json=body, headers=own)
        assert known.headers["X-Rerank-Cache-Hits"] == "1"
        for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score"):
            told = await client.post(path, json=body, headers=key)
            assert told.status_code == 401
            assert not {"x-rerank-cache-hits", "server-timing"} & set(told.headers)
            assert "tiny-reranker" not in told.text
        models = await client.get("/v1/models", headers=key)
        assert (models.status_code, "tiny-reranker" in models.text) == (401, False)


@pytest.mark.parametrize(("shared", "calls"), [(False, 2), (True, 1)], ids=["own", "shared"])
async def test_a_key_neither_reads_nor_waits_for_what_another_has_scored(shared: bool, calls: int):  # noqa: FBT001 - pytest's
    worker = FakeVllm(delay_s=0.3)
    async with gateway(worker, api_keys="a:key-a,b:key-b", cache=True, cache_across_keys=shared) as client:
        alice, bob = ({"Authorization": f"Bearer key-{name}"} for name in "ab")
        body = {"query": "q", "documents": ["what only Alice knows"]}
        first = asyncio.create_task(client.post("/rerank", json=body, headers=alice))
        await until(lambda: worker.in_flight)
        second = await client.post("/rerank", json=body, headers=bob)
        assert (await first).status_code == second.status_code == 200
        assert len(worker.scored) == calls
        again = await client.post("/rerank", json=body, headers=bob)
    assert second.headers["X-Rerank-Cache-Hits"] == "0"
    assert again.headers["X-Rerank-Cache-Hits"] == "1"


async def test_who_calls_without_a_key_where_none_is_set_shares_one_cache():
    async with gateway(FakeVllm(), cache=True) as client:
        await rerank(client, ["a"])
        assert (await rerank(client, ["a"])).headers["X-Rerank-Cache-Hits"] == "1"


def test_a_digest_says_nothing_of_its_texts_without_the_secret():
    same = Fingerprint("m", "r", 512, "1", "")

    def digest(secret: bytes, tenant: str, query: str, document: str) -> bytes:
        pairs = Pairs([query], [document])
        return pair_digests(pairs, secret=secret, tenant=tenant, generation=0, fingerprint=same, fields={})[0]

    made = [
        digest(b"one", "a", "q", "d"),
        digest(b"other", "a", "q", "d"),
        digest(b"one", "b", "q", "d"),
        digest(b"one", "aq", "", "d"),
        digest(b"one", "a", "qd", ""),
        digest(b"one", "a", "", "qd"),
    ]
    assert len(set(made)) == len(made)
    assert {len(one) for one in made} == {16}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x" * 15,
        b"x" * 17,
        "text",
        7,
        [],
        struct.pack("<dI4s", math.nan, 2**32 - 1, b"dddd"),
        struct.pack("<dI4s", math.inf, 2**32 - 1, b"dddd"),
        struct.pack("<dI4s", -1e39, 2**32 - 1, b"dddd"),
        struct.pack("<dI4s", 0.5, 2**32 - 1, b"other"[:4]),
    ],
    ids=repr,
)
def test_a_value_in_redis_that_no_replica_wrote_is_not_believed(value: object):
    with pytest.raises(ValueError, match="it "):
        known_in([value], [b"d" * 16])


def test_whoever_writes_to_redis_can_make_a_score_wrong_but_no_other_than_a_worker_may_give():
    forged = value_of(b"d" * 16, 3e38, 2**32 - 1)
    assert known_in([forged], [b"d" * 16]) == [(3e38, 2**32 - 1)]


@pytest.mark.parametrize("number", [b"-1", b"9223372036854775808", b"x", b"1e9"])
def test_a_generation_that_would_never_end_is_not_believed(number: bytes):
    with pytest.raises(ValueError, match=r"generation|invalid literal"):
        generations_in([b"m", number])


def test_secrets_show_neither_in_a_repr_nor_in_a_trace(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "API_KEYS": f"a:{SECRET}",
        "WORKER_API_KEY": SECRET,
        "WORKERS": f"http://user:{SECRET}@gpu-1:8000",
        "REDIS_URL": f"redis://:{SECRET}@cache:6379/0",
    }.items():
        monkeypatch.setenv(f"RERANK_{name}", value)
    monkeypatch.setenv("RERANK_CACHE_SECRET_FILE", str(ROOT / "LICENSE"))
    settings = load()
    shown = [repr(settings), str(settings), json.dumps(settings.shown()), repr(Keys(settings.keys).__dict__)]
    try:
        Settings(max_batch=0)
    except ValueError:
        shown.append(traceback.format_exc())
    assert SECRET not in "".join(shown)


def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path / "ca.pem", tmp_path / "server.pem"


def test_tls_below_1_2_is_spoken_with_nobody(tmp_path: Path):
    authority, server = tls_files(tmp_path)
    made = Certificates(Settings(tls_cert_file=server, worker_ca_file=authority, worker_cert_file=server))
    for context in (made.listening, made.towards_workers):
        assert context is not None
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert made.towards_workers is not None
    assert made.towards_workers.verify_mode is ssl.CERT_REQUIRED
    assert made.towards_workers.check_hostname


def test_the_image_runs_as_a_user_of_no_machine_and_holds_no_secret():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    assert lines.index(users[0]) > max(number for number, line in enumerate(lines) if line.startswith("COPY "))
    assert not [line for line in lines if "KEY" in line or "SECRET" in line or "PASSWORD" in line]


def test_by_default_nobody_but_this_machine_reaches_it():
    assert Settings().host == "127.0.0.1"
