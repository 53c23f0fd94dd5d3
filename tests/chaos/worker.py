"""A fake vLLM in a process of its own, which does as the lines on its stdin say and ends with it.

An order is JSON: a fault of `FAULTS`, or `refuse`, and how much slower than usual it works. Once it holds, a line comes
back on stdout.
"""

import asyncio
import json
import math
import sys
from collections import deque
from dataclasses import dataclass

import typer

from tests.fake_vllm import Call, FakeVllm, Fault, altered, answer_to, begin, half, reply, reset, status


async def _reset_later(call: Call, writer: asyncio.StreamWriter) -> None:
    await begin(call, writer)
    await asyncio.sleep(0.02)
    writer.transport.abort()


async def _stall(_: Call, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    await asyncio.sleep(3600)


async def _drip(call: Call, writer: asyncio.StreamWriter) -> None:
    payload = json.dumps(answer_to(call)).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(payload))
    for byte in payload:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def _half_json(call: Call, writer: asyncio.StreamWriter) -> None:
    payload = json.dumps(answer_to(call)).encode()
    reply(writer, 200, payload[: len(payload) // 2])


FAULTS: dict[str, Fault | None] = {
    "none": None,
    "reset before the first byte": reset,
    "reset after the first byte": _reset_later,
    "reset half way": half,
    "stall": _stall,
    "slow drip": _drip,
    "half JSON": _half_json,
    "NaN": altered(lambda right: right["data"][0].update(score=math.nan)),
    "too few": altered(lambda right: right["data"].pop() and None),
    "too many": altered(lambda right: right["data"].append({"index": len(right["data"]), "score": 0.5})),
    "wrong indices": altered(lambda right: right["data"][-1].update(index=len(right["data"]))),
    "429": status(429),
    "429 with Retry-After": status(429, Retry_After="1"),
    "503": status(503),
}


@dataclass(frozen=True)
class Order:
    fault: str = "none"
    slowness: float = 1.0


async def _obey(worker: FakeVllm, port: int, orders: asyncio.StreamReader) -> None:
    order = await _next(orders)
    while order:
        if order.fault == "refuse":
            order = await _done(orders)
            continue
        async with worker.running(port):
            while order and order.fault != "refuse":
                worker.always, worker.slowness = FAULTS[order.fault], order.slowness
                order = await _done(orders)


async def _done(orders: asyncio.StreamReader) -> Order | None:
    sys.stdout.write("done\n")
    sys.stdout.flush()
    return await _next(orders)


async def _next(orders: asyncio.StreamReader) -> Order | None:
    line = await orders.readline()
    return Order(**json.loads(line)) if line else None


async def _run(port: int, fixed_s: float, per_document_s: float) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    worker = FakeVllm(fixed_s=fixed_s, per_document_s=per_document_s, calls=deque(maxlen=1))
    await _obey(worker, port, orders)


def _main(port: int, fixed_s: float, per_document_s: float) -> None:
    asyncio.run(_run(port, fixed_s, per_document_s))


if __name__ == "__main__":
    typer.run(_main)
