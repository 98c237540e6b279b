import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from draws import draw
from torch import Tensor

from metarl.policies.distributions import Categorical, Gaussian, action_distribution
from metarl.policies.normalizer import Normalizer

Family = Gaussian | Categorical
FAMILIES: dict[str, Family] = {"gaussian": Gaussian(2), "categorical": Categorical(3)}
pytestmark = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def references(family: Family, parameters: Tensor) -> torch.distributions.Distribution:
    """The same distribution from `torch.distributions`."""
    if isinstance(family, Gaussian):
        mean, log_std = parameters.chunk(2, -1)
        return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    return torch.distributions.OneHotCategorical(logits=parameters)


def random_parameters(family: Family, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(4, 5, family.parameter_size, generator=rng, dtype=torch.float64)


def test_densities_entropy_and_divergence_equal_the_reference(family) -> None:
    old, new = random_parameters(family), random_parameters(family, 1)
    actions = draw(family, old, 2)
    reference = references(family, old)
    torch.testing.assert_close(family.log_prob(old, actions), reference.log_prob(actions))
    torch.testing.assert_close(family.entropy(old), reference.entropy())
    torch.testing.assert_close(
        family.kl(old, new), torch.distributions.kl_divergence(reference, references(family, new))
    )


def test_fisher_product_equals_the_hessian_of_the_divergence(family) -> None:
    parameters, tangent = random_parameters(family), random_parameters(family, 1)
    product = family.fisher_product(parameters, tangent)
    for index in np.ndindex(4, 5):
        old = parameters[index]
        hessian = torch.func.hessian(lambda new, old=old: family.kl(old, new))(old)
        torch.testing.assert_close(product[index], hessian @ tangent[index])


def test_samples_have_the_distributions_mean(family) -> None:
    parameters = random_parameters(family)[0, 0].expand(50_000, -1)
    samples = draw(family, parameters, 3)
    expected = references(family, parameters[0]).mean
    torch.testing.assert_close(samples.mean(0), expected, atol=0.02, rtol=0)


def test_mode_is_the_likeliest_action(family) -> None:
    parameters = random_parameters(family)
    best = family.log_prob(parameters, family.mode(parameters))
    for seed in range(20):
        actions = draw(family, parameters, seed)
        assert (family.log_prob(parameters, actions) <= best + 1e-12).all()


def test_action_spaces_choose_the_family(family) -> None:
    space = gym.spaces.Box(-1, 1, (2,)) if isinstance(family, Gaussian) else gym.spaces.Discrete(3)
    chosen = action_distribution(space)
    assert (type(chosen), chosen.action_size) == (type(family), family.action_size)
    with pytest.raises(TypeError, match="flat Box or Discrete"):
        action_distribution(gym.spaces.MultiBinary(3))


def test_normalizer_in_parts_equals_statistics_of_the_whole(family) -> None:
    size = family.parameter_size
    data = random_parameters(family) * 3 + 1
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[2, 3:] = False
    normalizer = Normalizer(size)
    normalizer.update(data[:1], valid[:1])
    normalizer.update(data[1:], valid[1:])
    chosen = data[valid]
    expected = (data - chosen.mean(0)) / chosen.std(0, correction=0)
    assert expected.abs().max() < 10
    torch.testing.assert_close(normalizer(data), expected)


def test_normalizer_leaves_inputs_alone_before_any_update_and_bounds_what_hardly_varies(family) -> None:
    size = family.parameter_size
    normalizer = Normalizer(size)
    inputs = torch.linspace(-2, 2, size)
    assert torch.equal(normalizer(inputs), inputs)
    normalizer.update(torch.full((3, size), 5.0), torch.ones(3, dtype=torch.bool))
    outputs = normalizer(torch.full((size,), 5.05, dtype=torch.float64))
    torch.testing.assert_close(outputs, torch.full((size,), 5.0, dtype=torch.float64))  # 0.05 / 0.01
    # 20 = 0.2 / 0.01 is compressed to 10 + log(20 - 9)
    far = normalizer(torch.full((size,), 5.2, dtype=torch.float64))
    torch.testing.assert_close(far, torch.full((size,), 10 + math.log(11), dtype=torch.float64))
    loaded = Normalizer(size)
    loaded.load_state_dict(normalizer.state_dict())
    assert torch.equal(loaded.std, normalizer.std)


def test_scores_and_their_jvps_equal_differentiation(family) -> None:
    rng = torch.Generator().manual_seed(5)
    parameters, tangent = torch.randn(2, 6, family.parameter_size, generator=rng, dtype=torch.float64)
    actions = draw(family, parameters, 6)

    def score(parameters: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(lambda p: family.log_prob(p, actions).sum())(parameters)
        return gradient

    torch.testing.assert_close(family.score(parameters, actions), score(parameters))
    expected = torch.func.jvp(score, (parameters,), (tangent,))[1]
    torch.testing.assert_close(family.score_jvp(parameters, actions, tangent), expected)
