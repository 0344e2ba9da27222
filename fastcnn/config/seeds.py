"""The stream of random seeds of the process."""

import random
import secrets
import threading

import numpy as np

from fastcnn.errors import Error

_lock = threading.Lock()
_entropy = secrets.randbits(64)
_drawn = 0


def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, NumPy's global generator and fastcnn's own: the script repeats itself.

    seed: 0 to 2**32 - 1, the range NumPy takes.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise Error(f"set_random_seed: expected an integer, got {seed!r} of type {type(seed).__name__}")
    if not 0 <= seed < 2**32:
        raise Error(f"set_random_seed: expected an integer from 0 to 2**32 - 1, got {seed}")
    random.seed(int(seed))
    np.random.seed(int(seed))
    set_seed_stream(int(seed), 0)


def next_seed() -> int:
    """The next seed of the process, 63 random bits.

    Everything random without a seed of its own (initializers, dropout, shuffling) draws one here, so
    `set_random_seed` fixes them all. Seed i is a hash of (entropy, i): two integers are the whole state.
    """
    global _drawn
    with _lock:
        entropy, index = _entropy, _drawn
        _drawn += 1
    hashed = np.random.SeedSequence(entropy, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(hashed[0]) >> 1


def seed_stream() -> tuple[int, int]:
    """(entropy, seeds drawn so far): what a checkpoint stores to resume the stream exactly."""
    with _lock:
        return _entropy, _drawn


def set_seed_stream(entropy: int, drawn: int) -> None:
    """Continue the stream of `entropy` after `drawn` seeds."""
    global _entropy, _drawn
    if entropy < 0 or drawn < 0:
        raise Error(f"set_seed_stream: expected two non-negative integers, got {entropy} and {drawn}")
    with _lock:
        _entropy, _drawn = entropy, drawn
