import gymnasium.utils.seeding
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.seeding import derive_seeds, generator

seeds = st.integers(min_value=0, max_value=2**64)
keys = st.lists(st.integers(min_value=0, max_value=2**32 - 1), max_size=4)


@given(seeds, keys, st.integers(min_value=0, max_value=20))
def test_seeds_are_python_integers_of_31_bits_and_shorter_lists_are_prefixes(seed, key, count) -> None:
    derived = derive_seeds(seed, *key, count=count)
    assert len(derived) == count
    assert all(type(value) is int and 0 <= value < 2**31 for value in derived)
    assert derive_seeds(seed, *key, count=count + 5)[:count] == derived


def test_streams_differ_between_keys_and_seeds() -> None:
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (2**31,)]
    first = {derive_seeds(seed, *key, count=1)[0] for seed in (0, 1) for key in keys}
    assert len(first) == 2 * len(keys)
    draws = {generator(seed, *key).integers(2**62) for seed in (0, 1) for key in keys}
    assert len(draws) == 2 * len(keys)


def test_seeds_do_not_change_between_releases() -> None:
    """A stored result names its seed; these values came from numpy's SeedSequence when the format was fixed."""
    assert derive_seeds(7, 1, 2, count=3) == [word // 2 for word in (2032283795, 2456193708, 1599947728)]


def test_seeds_suit_every_library_that_takes_one() -> None:
    (seed,) = derive_seeds(3, count=1)
    torch.manual_seed(seed)
    gymnasium.utils.seeding.np_random(seed)
    np.random.default_rng(seed)


def test_generator_is_reproducible_and_does_not_touch_the_global_state() -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    assert np.array_equal(generator(5, 1).random(4), generator(5, 1).random(4))
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], state)  # noqa: NPY002


@pytest.mark.parametrize(("seed", "key"), [(-1, ()), (0, (-1,))])
def test_negative_seeds_and_keys_are_refused(seed, key) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        derive_seeds(seed, *key, count=1)
