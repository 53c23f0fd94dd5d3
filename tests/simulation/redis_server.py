"""A Redis in a simulated network, on RESP2, whose keys expire by the loop's clock, and which fails in its own ways."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import cast

from hiredis import ProtocolError, Reader

from tests.simulation.network import Host
from tests.simulation.redis_manners import AS_REDIS, Manner, ResponseError, Status
from tests.simulation.transport import SimTransport

_DATABASES = 16
# The one script that the gateway sends; whatever else it comes to send has to be taught here.
_SETS_ALL = b"redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1])"


class RedisServer:
    """One server. `manner` may change at any time; `flush` and `evict` take keys away.

    Args:
        host: Where it listens.
        rng: Which keys are evicted.
        port: As the name says.
        password: What AUTH must show before anything else; None lets everybody in.
        most_keys: Beyond that random keys are evicted; None for any number.
    """

    def __init__(
        self, host: Host, *, rng: Random, port: int = 6379, password: str | None = None, most_keys: int | None = None
    ) -> None:
        self.host = host
        self.manner = AS_REDIS
        # After so many more answers, a connection ends in the middle of the next.
        self.breaks_after: int | None = None
        self.password = password
        self.most_keys = most_keys
        self.commands: dict[str, int] = {}
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._values: dict[bytes, bytes | dict[bytes, bytes]] = {}
        self._expiries: dict[bytes, float] = {}
        # Commands are obeyed one after the other, whoever sends them.
        self.busy_until = 0.0
        host.listen(port, lambda: _Served(self))

    def __len__(self) -> int:
        return len(self._values)

    def flush(self) -> None:
        """Forget everything, as after a restart without persistence."""
        self._values.clear()
        self._expiries.clear()

    def evict(self, share: float) -> None:
        """Forget this share of the keys."""
        for key in [key for key in self._values if self._rng.random() < share]:
            self._forget(key)

    def overwrite(self, make: Callable[[bytes, bytes], bytes]) -> None:
        """Have all values be what `make` makes of key and value: what another program or a bad memory does."""
        for key, value in self._values.items():
            if isinstance(value, bytes):
                self._values[key] = make(key, value)

    def do(self, command: Sequence[bytes]) -> object:
        """The answer to a command, which may be an error."""
        name, *arguments = command
        self.commands[name.decode().upper()] = self.commands.get(name.decode().upper(), 0) + 1
        try:
            found = getattr(self, f"_do_{name.decode().lower()}", None)
            if found is None:
                return ResponseError(f"ERR unknown command '{name.decode()}', with args beginning with: ")
            answer: object = found(*arguments)
        except TypeError:
            return ResponseError(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        except (ValueError, ResponseError) as exc:
            return (
                exc if isinstance(exc, ResponseError) else ResponseError("ERR value is not an integer or out of range")
            )
        return answer

    # Commands

    def _do_ping(self) -> object:
        return Status("PONG")

    def _do_select(self, number: bytes) -> object:
        if int(number) >= _DATABASES:
            raise ResponseError("ERR DB index is out of range")
        return Status("OK")

    def _do_client(self, *_: bytes) -> object:
        return Status("OK")

    def _do_get(self, key: bytes) -> object:
        return self._text(key)

    def _do_mget(self, first: bytes, *keys: bytes) -> object:
        found = (self._value(key) for key in (first, *keys))
        return [value if isinstance(value, bytes) else None for value in found]

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> object:
        seconds: float | None = None
        rest = list(options)
        while rest:
            option = rest.pop(0).upper()
            if option == b"EX":
                seconds = int(rest.pop(0))
            elif option == b"PX":
                seconds = int(rest.pop(0)) / 1000
            elif option in {b"NX", b"XX"}:
                if (self._value(key) is None) == (option == b"XX"):
                    return None
            else:
                raise ResponseError("ERR syntax error")
        self._keep(key, value, seconds)
        return Status("OK")

    def _do_setex(self, key: bytes, seconds: bytes, value: bytes) -> object:
        self._keep(key, value, int(seconds))
        return Status("OK")

    def _do_del(self, *keys: bytes) -> object:
        return sum(self._forget(key) for key in keys)

    def _do_exists(self, *keys: bytes) -> object:
        return sum(self._value(key) is not None for key in keys)

    def _do_expire(self, key: bytes, seconds: bytes) -> object:
        if self._value(key) is None:
            return 0
        self._expiries[key] = self._loop.time() + int(seconds)
        return 1

    def _do_ttl(self, key: bytes) -> object:
        if self._value(key) is None:
            return -2
        return round(self._expiries[key] - self._loop.time()) if key in self._expiries else -1

    def _do_hgetall(self, key: bytes) -> object:
        return [part for pair in self._hash(key).items() for part in pair]

    def _do_hget(self, key: bytes, field: bytes) -> object:
        return self._hash(key).get(field)

    def _do_hset(self, key: bytes, *parts: bytes) -> object:
        pairs = dict(zip(parts[::2], parts[1::2], strict=True))
        fields = self._hash(key)
        added = len(pairs.keys() - fields.keys())
        self._values[key] = fields | pairs
        return added

    def _do_hdel(self, key: bytes, *fields: bytes) -> object:
        held = self._hash(key)
        gone = [held.pop(field) for field in fields if field in held]
        if not held:
            self._forget(key)
        return len(gone)

    def _do_hlen(self, key: bytes) -> object:
        return len(self._hash(key))

    def _do_flushdb(self, *_: bytes) -> object:
        self.flush()
        return Status("OK")

    _do_flushall = _do_flushdb

    def _do_eval(self, script: bytes, count: bytes, *rest: bytes) -> object:
        keys, (seconds, *values) = rest[: int(count)], rest[int(count) :]
        if _SETS_ALL not in script:
            raise ResponseError(f"ERR the simulated server doesn't know this script: {script.decode()}")
        for key, value in zip(keys, values, strict=True):
            self._keep(key, value, int(seconds))
        return None

    # Values

    def _value(self, key: bytes) -> bytes | dict[bytes, bytes] | None:
        if self._expiries.get(key, float("inf")) <= self._loop.time():
            self._forget(key)
        return self._values.get(key)

    def _text(self, key: bytes) -> bytes | None:
        value = self._value(key)
        if isinstance(value, dict):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        value = self._value(key)
        if isinstance(value, bytes):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value or {}

    def _keep(self, key: bytes, value: bytes, seconds: float | None) -> None:
        self._forget(key)
        while self.most_keys is not None and len(self._values) >= self.most_keys:
            self._forget(self._rng.choice(list(self._values)))
        self._values[key] = value
        if seconds is not None:
            self._expiries[key] = self._loop.time() + seconds

    def _forget(self, key: bytes) -> bool:
        self._expiries.pop(key, None)
        return self._values.pop(key, None) is not None


class _Served(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: SimTransport
        self._reader = Reader()
        self._is_known = server.password is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("SimTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while not self._transport.is_closing() and (command := self._reader.gets()) is not False:
                self._obey(command)
        except ProtocolError:
            self._transport.write(b"-ERR Protocol error\r\n")
            self._transport.close()

    def _obey(self, command: list[bytes]) -> None:
        server = self._server
        manner = server.manner
        if manner.hangs:
            return
        answer = b"".join(_encoded(self._answer(command, manner))) + manner.extra
        if manner.takes_s:
            server.busy_until = max(server.busy_until, self._loop.time()) + manner.takes_s
            self._loop.call_at(server.busy_until, self._write, answer)
        else:
            self._write(answer)

    def _answer(self, command: list[bytes], manner: Manner) -> object:
        name = command[0].decode().upper()
        if name == "AUTH":
            self._is_known = command[-1].decode() == self._server.password
            wrong = ResponseError("WRONGPASS invalid username-password pair or user is disabled.")
            return Status("OK") if self._is_known else wrong
        if not self._is_known:
            return ResponseError("NOAUTH Authentication required.")
        holds = not manner.only or name in manner.only
        if manner.error is not None and holds:
            return ResponseError(manner.error)
        answer = self._server.do(command)
        return manner.lie(answer) if manner.lie and holds else answer

    def _write(self, answer: bytes) -> None:
        server = self._server
        if server.breaks_after == 0:
            server.breaks_after = None
            self._transport.write(answer[: len(answer) // 2])
            self._transport.close()
            return
        if server.breaks_after:
            server.breaks_after -= 1
        self._transport.write(answer)


def _encoded(answer: object) -> Iterator[bytes]:
    match answer:
        case None:
            yield b"$-1\r\n"
        case ResponseError():
            yield b"-%b\r\n" % str(answer).encode()
        case Status():
            yield b"+%b\r\n" % answer.encode()
        case int():
            yield b":%d\r\n" % answer
        case bytes():
            yield b"$%d\r\n%b\r\n" % (len(answer), answer)
        case list():
            yield b"*%d\r\n" % len(answer)
            for part in answer:
                yield from _encoded(part)
        case _:
            raise TypeError(f"{answer!r} is no answer of Redis")
