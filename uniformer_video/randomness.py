"""Randomness as a function of keys, not a state.

Every draw comes from a generator made for its key, so it does not depend on which process makes it,
or on what was drawn before: any number of workers gives the same run, and a resumed run goes on as
if it had never stopped.
"""

import zlib

import numpy as np


def generator(purpose: str, *keys: int) -> np.random.Generator:
    """A `numpy.random.Generator` for (purpose, keys).

    `purpose` is a short name that keeps draws for different things apart; `keys` are non-negative
    integers such as (seed, epoch, position, copy).
    """
    return np.random.default_rng([zlib.crc32(purpose.encode()), *keys])


def permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order of an epoch: `int64 [length]`."""
    return generator("order", seed, epoch).permutation(length)


def seed_torch(purpose: str, *keys: int) -> None:
    """Key torch's own draws by (purpose, keys): initial weights by the seed, stochastic depth and
    dropout by (seed, step, slot).
    """
    import torch  # slow to import, and workers that prepare data need the rest of this module alone

    torch.manual_seed(int(generator(purpose, *keys).integers(2**63)))
