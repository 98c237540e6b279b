"""Independent random streams from one seed, each addressed by a key: none depends on how much another drew."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The first number of a key: what the randomness is for."""

    INITIALIZATION = 0
    TASKS = 1
    SAMPLING = 2
    LEARNING = 3
    EVALUATION = 4
    WARM_UP = 5
    TRIALS = 6


def derive_seeds(seed: int, *key: int, count: int) -> list[int]:
    """Seeds that depend on nothing but `seed` and `key`, unrelated between keys.

    Args:
        seed: The seed of the whole run, not negative.
        key: Which stream, such as (iteration, phase), each in [0, 2**32). (1,) and (1, 0) are different streams.
        count: How many seeds to derive; fewer are a prefix of more.

    Returns:
        Python integers in [0, 2**31), which suit NumPy, Gymnasium and PyTorch alike.
    """
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(count)
    return [int(word) >> 1 for word in state]


def generator(seed: int, *key: int) -> np.random.Generator:
    """A NumPy generator for the stream `key` of `seed`; see `derive_seeds`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
