"""Independent random streams from one seed, each addressed by a key; none depends on the draws of another."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """First number of a key: purpose of the randomness."""

    INITIALIZATION = 0
    TASKS = 1
    SAMPLING = 2
    LEARNING = 3
    EVALUATION = 4
    WARM_UP = 5
    TRIALS = 6
    EXPLORATION = 7
    BASELINES = 8
    PERTURBATION = 9
    SEARCH = 10
    DEMONSTRATIONS = 11


def derive_seeds(seed: int, *key: int, count: int) -> list[int]:
    """Derives seeds that depend on `seed` and `key` only and are independent between keys.

    Args:
        seed: Seed of the whole run, not negative.
        key: Numbers of the stream, such as (iteration, phase), each in [0, 2**32). (1,) and (1, 0) differ.
        count: Number of seeds; a smaller number gives a prefix of the same seeds.

    Returns:
        Python integers in [0, 2**31), which suit NumPy, Gymnasium and PyTorch alike.
    """
    # w_1, w_2, ... = SeedSequence(seed, key), 32-bit words;  s_i = floor(w_i / 2), in [0, 2^31)
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(count)
    return [int(word) >> 1 for word in state]


def generator(seed: int, *key: int) -> np.random.Generator:
    """Makes a NumPy generator for the stream `key` of `seed`; see `derive_seeds`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
