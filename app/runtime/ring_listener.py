"""Listens for the rings of one queue: while a worker listens, a ring is an element of a list in Redis.

A Celery message and its task cost more than settling a small batch. So a worker that has just settled listens for a
short time, and rings wake it directly. One worker at a time listens to a queue. Rings that come while it settles a
small batch wait for it; while it is busy for longer they are messages for other workers. A worker that is killed while
it listens loses the rings of LISTEN_MS; the sweep rings for them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from redis import Redis

# So long after it has been rung a worker is taken to listen (ms): a small batch takes less.
LISTEN_MS = 250
# A worker waits this long for a ring before it ends its task (s): where webhooks come more often, none waits for
# Celery. Less than the timeout of a read.
WAIT_SECONDS = 0.8
# How long the key of a worker that waits lives.
WAIT_MS_MAX = int(WAIT_SECONDS * 1000) + LISTEN_MS

# Keys of a queue: its bell, the token of the worker that listens, and that worker's rings.
Keys = tuple[str, str, str]

# Ring; return 1 where a message is to be sent. While a worker listens, its list does what the bell does otherwise: it
# has one element at most, which the worker takes before it claims. The first ring of a worker that has been killed is
# lost, and bounds the time in which others are. A list of a wrong type counts as nobody who listens.
RING = """
if redis.call('exists', KEYS[2]) == 1 then
    local waiting = redis.pcall('llen', KEYS[3])
    if waiting == 0 then
        redis.call('lpush', KEYS[3], 1)
        if redis.call('pttl', KEYS[2]) > tonumber(ARGV[2]) then redis.call('pexpire', KEYS[2], ARGV[2]) end
    end
    if type(waiting) == 'number' then return 0 end
end
if redis.call('set', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then return 1 end
return 0
"""
# Listen for a time (ms) unless another worker does. Return 0 where it does, 2 where a ring has come before, else 1.
# A time that no worker can have set is ignored.
_LISTEN = """
local left = redis.call('pttl', KEYS[2])
if left >= 0 and left <= tonumber(ARGV[3]) and redis.pcall('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1 + redis.call('del', KEYS[3])
"""
_ANSWER = "redis.call('del', KEYS[1])" + _LISTEN
# Listen no more. Return 1 where a ring came before; one that comes later is a message.
_LEAVE = """
local listener = redis.pcall('get', KEYS[2])
if listener and listener ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
return redis.call('del', KEYS[3])
"""
_RUNG = 2


def keys_of(queue: str) -> Keys:
    """Return the keys of a queue in Redis."""
    return f"bell:{queue}", f"listener:{queue}", f"rung:{queue}"


class RingListener:
    """One worker's listening to `queue`. Raise nothing: without Redis it hears no ring.

    `ring` sends a message for a ring that is left to another worker; `failed` notes an error of Redis.
    """

    def __init__(
        self, redis: Redis, queue: str, ring: Callable[[str], None], failed: Callable[[str, Exception], None]
    ) -> None:
        self._redis, self._queue, self._keys = redis, queue, keys_of(queue)
        self._ring, self._failed = ring, failed
        self._token = secrets.token_hex(8)
        self._listens = self._is_lost = False
        self._answer, self._listen, self._leave = map(redis.register_script, (_ANSWER, _LISTEN, _LEAVE))

    def answer(self) -> None:
        """Clear the bell and listen; to be called before a claim, so that a row committed later rings again."""
        self._listens = self._run(self._answer, LISTEN_MS, WAIT_MS_MAX) > 0

    def wait(self) -> bool:
        """Wait for a ring unless another worker listens; return whether one came. Afterwards listen only if so."""
        heard = 0 if self._is_lost else self._run(self._listen, WAIT_MS_MAX, WAIT_MS_MAX)
        self._listens = heard > 0
        if heard != 1:
            return heard == _RUNG
        try:
            if self._redis.blpop([self._keys[2]], timeout=WAIT_SECONDS) is not None:
                return True
        except Exception as error:  # the worker ends its task, and rings are messages again
            self._lose(error)
            return False
        return self._stop()

    def leave(self) -> None:
        """Listen no more: rings are messages for other workers, one that came meanwhile included."""
        if self._listens and self._stop():
            self._ring(self._queue)

    def _stop(self) -> bool:
        self._listens = False
        return self._run(self._leave) == 1

    def _run(self, script: Callable[..., Any], *arguments: int) -> int:
        try:
            return int(script(keys=self._keys, args=[self._token, *arguments]))
        except Exception as error:  # the keys expire
            self._lose(error)
            return 0

    def _lose(self, error: Exception) -> None:
        self._listens, self._is_lost = False, True
        self._failed(self._queue, error)
