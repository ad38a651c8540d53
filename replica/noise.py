"""Random numbers without state: integer hashes of a position, the same on every machine.

Everything here is integer arithmetic modulo 2**64, so that two installations (other processor, other NumPy) generate
the same market to the last digit; floating-point functions promise no such thing.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def stream_key(*parts: str) -> np.uint64:
    """The key of one random stream, named by its parts (seed, coin, purpose)."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def words(key: np.uint64, positions: Ints) -> Words:
    """One 64-bit word for each position of a stream (the finaliser of splitmix64 over key + position)."""
    mixed = positions.astype(np.uint64) * _GOLDEN + key
    mixed = (mixed ^ (mixed >> _S30)) * _MIX_1
    mixed = (mixed ^ (mixed >> _S27)) * _MIX_2
    return mixed ^ (mixed >> _S31)


def word(key: np.uint64, position: int) -> int:
    """One word as a plain integer."""
    return int(words(key, np.array([position], dtype=np.int64))[0])


def bits(source: Words, low: int, count: int) -> Ints:
    """`count` bits of each word from bit `low` on, as integers in `[0, 2**count)`."""
    return ((source >> np.uint64(low)) & np.uint64((1 << count) - 1)).astype(np.int64)


def smooth(key: np.uint64, positions: Ints, period: int) -> Ints:
    """Smooth noise in `[-2**15, 2**15)`: random values every `period` positions, eased from one to the next."""
    if period == 1:
        return bits(words(key, positions), 0, 16) - (1 << 15)
    cell, phase = np.divmod(positions, period)
    first = int(cell[0])
    knots = bits(words(key, np.arange(first, int(cell[-1]) + 2, dtype=np.int64)), 0, 16) - (1 << 15)
    step = phase * 4096 // period
    eased = (step * step * (3 * 4096 - 2 * step)) >> 24
    here = cell - first
    left: Ints = knots[here]
    rise: Ints = ((knots[here + 1] - left) * eased) >> 12
    return left + rise
