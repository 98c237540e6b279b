"""Inner rules on losses of which the right answer is known, and on the sinusoids of Finn et al. (2017)."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metarl.algorithms.inner_rules.config import (
    GradientRuleConfig,
    InnerRuleConfig,
    MetaLSTMConfig,
    MetaNetConfig,
)
from metarl.algorithms.inner_rules.coordinates import preprocess
from metarl.algorithms.inner_rules.layers import FastMLP
from metarl.algorithms.inner_rules.meta_lstm import MetaLSTMRule
from metarl.algorithms.inner_rules.metanet import MetaNetRule
from metarl.algorithms.inner_rules.rules import GradientRule, InnerRule
from metarl_envs.errors import UserError

RULES: dict[str, InnerRuleConfig] = {
    "maml": GradientRuleConfig(steps=2, lr=0.1),
    "fomaml": GradientRuleConfig(steps=2, lr=0.1, first_order=True),
    "meta-sgd": GradientRuleConfig(steps=2, lr=0.1, learned_lr=True),
    "metanet": MetaNetConfig(hidden_size=4, key_size=3),
    "meta-lstm": MetaLSTMConfig(steps=2, hidden_size=4),
}


def square_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(-1)


def make_rule(config: InnerRuleConfig, sizes: tuple[int, ...] = (1, 6, 1), seed: int = 0) -> InnerRule:
    torch.manual_seed(seed)
    return config.build(FastMLP(sizes), square_error, sizes[0], sizes[-1]).double()


def draw_sinusoids(tasks: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """y = a sin(x - p) with a in [0.1, 5], p in [0, pi] and x in [-5, 5] (Finn et al. 2017, section 5.1)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    inputs = 10 * uniform(tasks, samples, 1) - 5
    return inputs, (0.1 + 4.9 * uniform(tasks, 1, 1)) * torch.sin(inputs - math.pi * uniform(tasks, 1, 1))


def query_loss(rule: InnerRule, inputs: Tensor, targets: Tensor, shots: int) -> Tensor:
    predicted = rule.predict(inputs[:, :shots], targets[:, :shots], inputs[:, shots:])
    return square_error(predicted, targets[:, shots:]).mean()


def test_gradient_step_of_a_line_is_the_one_worked_out_by_hand() -> None:
    # f(x) = w x with w = 1, one sample (2, 5): L = (2 - 5)² = 9, dL/dw = 2 (2 - 5) 2 = -12; w' = 1 + 0.1 * 12 = 2.2
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    rule = GradientRule(network, square_error, steps=1, lr=0.1, learned_lr=False, first_order=False)
    one = torch.tensor([[[2.0]]], dtype=torch.float64)
    assert rule.predict(one, torch.full_like(one, 5.0), one).item() == pytest.approx(4.4)
    # and through the step: f' = 2 w', dw'/dw = 1 - 0.1 * 8 = 0.2, so df'/dw = 0.4
    (gradient,) = torch.autograd.grad(rule.predict(one, torch.full_like(one, 5.0), one).sum(), [network.weight])
    assert gradient.item() == pytest.approx(0.4)


def test_first_order_gradient_is_that_at_the_adapted_parameters() -> None:
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    rule = GradientRule(network, square_error, steps=1, lr=0.1, learned_lr=False, first_order=True)
    one = torch.tensor([[[2.0]]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(rule.predict(one, torch.full_like(one, 5.0), one).sum(), [network.weight])
    assert gradient.item() == pytest.approx(2.0)


@pytest.mark.parametrize("name", RULES)
def test_tasks_at_once_are_as_one_by_one(name: str) -> None:
    rule = make_rule(RULES[name])
    inputs, targets = draw_sinusoids(3, 9, seed=1)
    together = rule.predict(inputs[:, :5], targets[:, :5], inputs[:, 5:])
    for index in range(3):
        alone = rule.outputs(rule.adapt(inputs[index, :5], targets[index, :5]), inputs[index, 5:])
        torch.testing.assert_close(together[index], alone)


@pytest.mark.parametrize("name", RULES)
def test_order_of_the_support_changes_nothing(name: str) -> None:
    rule = make_rule(RULES[name])
    inputs, targets = draw_sinusoids(2, 9, seed=1)
    order = torch.tensor([4, 2, 0, 1, 3])
    expected = rule.predict(inputs[:, :5], targets[:, :5], inputs[:, 5:])
    torch.testing.assert_close(rule.predict(inputs[:, order], targets[:, order], inputs[:, 5:]), expected)
    assert not torch.allclose(rule.predict(inputs[:, 1:6], targets[:, 1:6], inputs[:, 5:]), expected)


@pytest.mark.parametrize(
    ("config", "exact"),
    [
        (RULES["maml"], lambda name: True),
        (RULES["meta-sgd"], lambda name: True),
        # what the gradients are constants for is left out
        (RULES["metanet"], lambda name: name.startswith(("generate.", "sharpness", "generate_keys."))),
        (MetaLSTMConfig(steps=1, hidden_size=4), lambda name: name.startswith(("gates.", "first.", "recurrent"))),
    ],
    ids=["maml", "meta-sgd", "metanet", "meta-lstm"],
)
def test_outer_gradients_agree_with_differences(config: InnerRuleConfig, exact: Callable[[str], bool]) -> None:
    rule = make_rule(config)
    inputs, targets = draw_sinusoids(2, 8, seed=2)
    parameters = {name: value for name, value in rule.named_parameters() if exact(name)}
    gradients = torch.autograd.grad(
        query_loss(rule, inputs, targets, 4), list(parameters.values()), materialize_grads=True
    )
    generator, step = torch.Generator().manual_seed(3), 1e-6
    directions = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in parameters.values()]
    losses = []
    for sign in (1, -2):
        with torch.no_grad():
            for value, direction in zip(parameters.values(), directions, strict=True):
                value.add_(direction, alpha=sign * step)
        losses.append(query_loss(rule, inputs, targets, 4).item())
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    assert slope != 0
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_meta_lstm_with_fixed_gates_is_gradient_descent_with_decay() -> None:
    rule = make_rule(MetaLSTMConfig(steps=1, hidden_size=4))
    assert isinstance(rule, MetaLSTMRule)
    nn.init.zeros_(rule.gates.weight)
    inputs, targets = draw_sinusoids(1, 5, seed=1)
    start = rule.start()
    loss = rule.mean_loss(start, inputs[0], targets[0])
    gradients = torch.autograd.grad(loss, list(start.values()))
    adapted = rule.adapt(inputs[0], targets[0])
    # theta' = sigmoid(5) theta - sigmoid(-4) grad L, as the gates have nothing but their biases
    keep, step = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(4))
    for (name, value), gradient in zip(start.items(), gradients, strict=True):
        torch.testing.assert_close(adapted[name], keep * value - step * gradient)


def test_meta_network_without_fast_weights_is_its_network() -> None:
    rule = make_rule(MetaNetConfig(hidden_size=4, key_size=3))
    inputs, targets = draw_sinusoids(2, 8, seed=1)
    assert isinstance(rule, MetaNetRule)
    with torch.no_grad():
        for parameter in rule.generate.parameters():
            parameter.zero_()
        predicted = rule.predict(inputs[:, :4], targets[:, :4], inputs[:, 4:])
        torch.testing.assert_close(predicted, rule.network(inputs[:, 4:]))


def test_meta_network_needs_layers_that_take_fast_weights() -> None:
    with pytest.raises(UserError, match="no layer that takes fast weights"):
        MetaNetConfig().build(nn.Linear(1, 1), square_error, 1, 1)


def test_preprocessed_gradients_are_those_of_the_formula() -> None:
    # p = 10: (log|g| / p, sign g) for |g| >= e^-10, (-1, e^10 g) below
    found = preprocess(torch.tensor([math.e, -1.0, 0.5 * math.exp(-10), 0.0], dtype=torch.float64))
    expected = torch.tensor([[0.1, 1.0], [0.0, -1.0], [-1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def learn_sinusoids(config: InnerRuleConfig, iterations: int, shots: int, units: int, lr: float) -> tuple[float, float]:
    """Returns the mean square error on new sinusoids before and after meta-training."""
    rule = make_rule(config, (1, units, units, 1)).float()
    optimizer = torch.optim.Adam(rule.parameters(), lr=lr)

    @torch.no_grad()
    def error() -> float:
        inputs, targets = draw_sinusoids(100, shots + 50, seed=10**6)
        return query_loss(rule, inputs.float(), targets.float(), shots).item()

    before = error()
    for iteration in range(iterations):
        inputs, targets = draw_sinusoids(25, shots + 10, seed=iteration)
        loss = query_loss(rule, inputs.float(), targets.float(), shots)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(rule.parameters(), 10.0)
        optimizer.step()
    return before, error()


def test_maml_learns_to_fit_sinusoids() -> None:
    before, after = learn_sinusoids(GradientRuleConfig(steps=1, lr=0.01), 600, shots=10, units=40, lr=3e-3)
    assert before > 3.0  # about E[a²] / 2 = 4.2, the error of answering 0
    assert after < 1.8


@pytest.mark.slow
def test_maml_fits_sinusoids_from_ten_points() -> None:
    _, after = learn_sinusoids(GradientRuleConfig(steps=1, lr=0.01), 5000, shots=10, units=40, lr=1e-3)
    assert after < 1.0
