"""MAML with a TRPO outer step (Finn et al. 2017), all tasks of a meta-batch adapted in one batched computation."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap

from envs.errors import UserError
from metarl.algorithms.maml.agent import MAMLAgent
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.maml.losses import Batch, adapt, make_batch, mean_kl, surrogate
from metarl.errors import RunFailure
from metarl.optim.trust_region import TrustRegionStep, trust_region_step
from metarl.optim.vectors import Parameters, flatten, unflatten
from metarl.policies.distributions import action_distribution
from metarl.policies.mlp import MLPPolicy
from metarl.policies.recurrent import RecurrentInput
from metarl.sampling import RandomActor, Sampler


class MAML:
    """Learns initial parameters from which a few gradient steps on a new task's episodes lead far.

    Args:
        config: The settings.
        observation_space: Of a single environment.
        action_space: Of a single environment.
        device: Where to learn and act.

    Raises:
        UserError: If `parallel_episodes` does not divide `episodes`.
    """

    def __init__(
        self,
        config: MAMLConfig,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
    ) -> None:
        if config.episodes % config.parallel_episodes:
            raise UserError(
                f"algorithm.parallel_episodes: {config.parallel_episodes} does not divide algorithm.episodes ="
                f" {config.episodes}"
            )
        self.config = config
        self.device = device
        self.num_envs = config.meta_batch * config.parallel_episodes
        self.action_space = action_space
        self.distribution = action_distribution(action_space)
        self.policy = MLPPolicy(
            observation_space.shape[0],
            self.distribution,
            config.hidden_sizes,
            config.activation,
            config.init_std,
            config.min_std,
        ).to(device)

    @property
    def parameters(self) -> Parameters:
        """The initial parameters theta, by name, outside of any graph."""
        return {name: parameter.detach() for name, parameter in self.policy.named_parameters()}

    def warm_up(self, sampler: Sampler) -> None:
        """Takes the statistics that observations are standardised with; called once, before the first iteration."""
        if self.config.normalize_observations:
            trajectories = sampler.collect(RandomActor(self.action_space), self.config.parallel_episodes)
            self.policy.normalizer.update(trajectories.observations, trajectories.valid)

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> dict[str, float]:
        """Collects, adapts, collects again and takes the outer step (algorithm 3); draws nothing from `generator`.

        Returns:
            Metrics: returns and success before and after adaptation, and what the outer step came to.
        """
        config = self.config
        theta = self.parameters
        adapted = self.replicate(theta, config.meta_batch)
        supports: list[Batch] = []
        sampled = []
        for _ in range(config.inner_steps):
            sampled.append(sampler.collect(AdaptedActor(self, adapted), config.episodes))
            supports.append(make_batch(sampled[-1], config.discount, config.gae_lambda))
            adapted = self.adapt(adapted, supports[-1:])
        sampled.append(sampler.collect(AdaptedActor(self, adapted), config.episodes))
        query = make_batch(sampled[-1], config.discount, config.gae_lambda)
        before, after = sampled[0], sampled[-1]

        step = self.outer_step(theta, supports, query)
        self.policy.load_state_dict(unflatten(step.vector, theta), strict=False)
        return {
            "meta/pre_adapt_return": before.returns.mean().item(),
            "meta/post_adapt_return": after.returns.mean().item(),
            "meta/adaptation_gain": (after.returns.mean() - before.returns.mean()).item(),
            "meta/pre_adapt_success_rate": before.solved.float().mean().item(),
            "rollout/success_rate": after.solved.float().mean().item(),
            "rollout/ep_rew_mean": after.returns.mean().item(),
            "train/loss": step.loss,
            "train/kl": step.kl,
            "train/line_search_steps": float(step.tried),
            "train/line_search_failed": float(not step.accepted),
        }

    def outer_step(self, theta: Parameters, supports: Sequence[Batch], query: Batch) -> TrustRegionStep:
        """TRPO on the surrogate loss of the adapted policies, within a bound on their KL divergence.

        The curvature of the mean divergence at theta is JᵀFJ: J is the Jacobian of the adapted policies' outputs on the
        query states with respect to theta, through the adaptation, and F the (weighted) Fisher matrix of the outputs.

        Raises:
            RunFailure: If the loss or its gradient is not finite.
        """

        def outputs(vector: Float[Tensor, "n"]) -> Float[Tensor, "task sample p"]:
            return self._adapted_outputs(unflatten(vector, theta), supports, query.observations)

        vector = flatten(theta)
        old_outputs, pull_back = vjp(outputs, vector)  # type: ignore[misc]
        gradient_of_outputs, loss = torch.func.grad_and_value(
            lambda new: surrogate(self.distribution, new, old_outputs, query)
        )(old_outputs)
        (gradient,) = pull_back(gradient_of_outputs)
        if not (torch.isfinite(loss) and torch.isfinite(gradient).all()):
            raise RunFailure("the meta-gradient is not finite; lower algorithm.inner_lr or check the task's rewards")

        def curvature_product(tangent: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
            _, moved = jvp(outputs, (vector,), (tangent,))  # type: ignore[misc]
            fisher = self.distribution.fisher_product(old_outputs, moved)
            product: Tensor = pull_back(query.weights.unsqueeze(-1) * fisher / len(query.weights))[0]
            return product

        @torch.no_grad()
        def evaluate(candidate: Float[Tensor, "n"]) -> tuple[float, float]:
            new = outputs(candidate)
            kl = mean_kl(self.distribution, old_outputs, new, query.weights)
            return surrogate(self.distribution, new, old_outputs, query).item(), kl.item()

        return trust_region_step(
            vector, loss.item(), gradient, curvature_product, evaluate, **self.config.outer.model_dump(exclude={"kind"})
        )

    def adapt(self, adapted: Parameters, supports: Sequence[Batch]) -> Parameters:
        """The inner gradient steps of all tasks at once; parameters have a leading axis `task`."""
        return vmap(self._adapt)(adapted, supports)

    def replicate(self, parameters: Parameters, tasks: int) -> Parameters:
        """The same parameters for each task, with a leading axis `task`."""
        return {name: value.expand(tasks, *value.shape) for name, value in parameters.items()}

    def outputs(self, adapted: Parameters, observations: Float[Tensor, "task *b obs"]) -> Float[Tensor, "task *b p"]:
        """Distribution parameters of each task's own policy for its own observations."""
        return vmap(self._policy)(adapted, observations)

    def make_agent(self, seed: int) -> MAMLAgent:
        """An agent that adapts from the current initial parameters; it acts by the mean action once adapted."""
        return MAMLAgent(self, seed)

    def state_dict(self) -> dict[str, Tensor]:
        """All that training has changed: the policy and its normaliser."""
        return self.policy.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        self.policy.load_state_dict(state)

    def _policy(self, parameters: Parameters, observations: Tensor) -> Tensor:
        output: Tensor = functional_call(self.policy, parameters, (observations,))
        return output

    def _adapt(self, parameters: Parameters, supports: Sequence[Batch]) -> Parameters:
        return adapt(self._policy, self.distribution, parameters, supports, self.config.inner_lr)

    def _adapted_outputs(self, theta: Parameters, supports: Sequence[Batch], observations: Tensor) -> Tensor:
        def one_task(supports: Sequence[Batch], observations: Tensor) -> Tensor:
            return self._policy(self._adapt(theta, supports), observations)

        return vmap(one_task)(supports, observations)


class AdaptedActor:
    """Acts with a policy of its own for each task.

    Args:
        maml: The algorithm whose policy it is.
        adapted: The policies' parameters, with a leading axis `task`.
    """

    def __init__(self, maml: MAML, adapted: Parameters) -> None:
        self._maml = maml
        self._adapted = adapted
        self._tasks = len(next(iter(adapted.values())))

    def act(
        self, inputs: RecurrentInput, generator: torch.Generator
    ) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env"]]:
        """See `metarl.sampling.Actor`."""
        observations = inputs.observations.reshape(self._tasks, -1, inputs.observations.shape[-1])
        outputs = self._maml.outputs(self._adapted, observations).flatten(0, 1)
        actions = self._maml.distribution.sample(outputs, generator)
        return actions, self._maml.distribution.log_prob(outputs, actions)
