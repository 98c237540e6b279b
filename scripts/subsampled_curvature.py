"""Compare MAML-TRPO steps with the curvature of some of the samples and of all, on meta-batches of a training.

python scripts/subsampled_curvature.py CONFIG [--FIELD VALUE ...]
"""

import sys
from contextlib import closing
from pathlib import Path

import torch

from metarl.acting.sampler import Sampler
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep
from metarl.algorithms.maml.outer.trust_region import curvature_product
from metarl.config import load_config
from metarl.devices import resolve_device
from metarl.optim.conjugate_gradient import conjugate_gradient
from metarl.optim.vectors import flatten, unflatten
from metarl.seeding import Stream, generator
from metarl_envs.cores import available_cores

SHARES = (2, 3, 5, 10)
MAX_KL, CG_ITERATIONS, DAMPING = 0.01, 10, 1e-5


class Study(OuterRule):
    """Prints curvature, loss and divergence of steps by several shares of the samples, then takes another rule's step.

    Args:
        rule: The other rule.
    """

    def __init__(self, rule: OuterRule) -> None:
        self._rule = rule

    def step(self, objective: MetaObjective) -> OuterStep:
        """See `OuterRule`."""
        theta = objective.theta
        linear = objective.linearize(theta)
        old = linear.outputs
        output_gradient, loss = torch.func.grad_and_value(lambda new: objective.surrogate(new, old))(old)
        gradient = flatten(linear.vjp(output_gradient))
        exact = curvature_product(objective, linear)
        for every in (1, *SHARES):
            estimate = curvature_product(objective.subsampled(every), linear.subsampled(every))
            solution = conjugate_gradient(lambda v: estimate(v) + DAMPING * v, gradient, CG_ITERATIONS)  # noqa: B023
            # step -sqrt(2 max_kl / sᵀFs) s
            length = solution @ estimate(solution)
            step = -((2 * MAX_KL / length) ** 0.5) * solution
            new = objective.outputs(unflatten(flatten(theta) + step, theta), old)
            print(
                f"  1/{every}: curvature {length / (solution @ exact(solution)):.2f} of that of all samples,"
                f" loss {objective.surrogate(new, old) - loss:+.5f}, KL {objective.divergence(new, old):.4f}",
                flush=True,
            )
        return self._rule.step(objective)


def main(arguments: list[str]) -> None:
    """Trains for some iterations and prints the comparison at each."""
    config = load_config(Path(arguments[0]), arguments[1:])
    torch.set_num_threads(config.threads or available_cores())
    torch.manual_seed(config.seed)
    distribution = config.tasks.build()
    algorithm = config.algorithm.build(distribution, resolve_device(config.device))
    assert isinstance(algorithm, MAML)
    algorithm.outer = Study(algorithm.outer)
    with closing(distribution.make_env(algorithm.num_envs)) as env:

        def sampler(stream: Stream, iteration: int) -> Sampler:
            tasks = distribution.sample(
                config.algorithm.meta_batch, generator(config.seed, Stream.TASKS, stream, iteration)
            )
            return Sampler([env], tasks, (config.seed, stream, iteration), algorithm.device)

        algorithm.warm_up(sampler(Stream.WARM_UP, 0))
        for iteration in range(config.iterations):
            print(f"iteration {iteration + 1}", flush=True)
            algorithm.meta_iteration(sampler(Stream.SAMPLING, iteration), torch.Generator())
    print(f"KL bound {MAX_KL}, {CG_ITERATIONS} conjugate-gradient iterations, damping {DAMPING}")


if __name__ == "__main__":
    main(sys.argv[1:])
