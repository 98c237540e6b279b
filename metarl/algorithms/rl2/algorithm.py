"""RL² (Duan et al. 2016) learned by PPO over whole trials."""

from __future__ import annotations

import gymnasium as gym
import torch
from jaxtyping import Float
from torch import Tensor

from envs.errors import UserError
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.rl2.config import RL2Config
from metarl.algorithms.rl2.losses import PPOTerms, Trials, make_trials, ppo_terms
from metarl.errors import RunFailure
from metarl.policies.distributions import action_distribution
from metarl.policies.recurrent import RecurrentInput, RecurrentPolicy
from metarl.sampling import RandomActor, Sampler
from metarl.types import Trajectories


class RL2:
    """Learns a recurrent policy that learns: its hidden state lasts for a trial, several episodes of one task.

    Args:
        config: The settings.
        observation_space: Of a single environment.
        action_space: Of a single environment.
        device: Where to learn and act.

    Raises:
        UserError: If there are more minibatches than trials.
    """

    def __init__(
        self,
        config: RL2Config,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
    ) -> None:
        if config.learner.minibatches > config.meta_batch:
            raise UserError(
                f"algorithm.learner.minibatches: {config.learner.minibatches} is more than algorithm.meta_batch ="
                f" {config.meta_batch}; a trial is never split"
            )
        self.config = config
        self.device = device
        self.num_envs = config.meta_batch
        self.action_space = action_space
        self.distribution = action_distribution(action_space)
        self.policy = RecurrentPolicy(
            observation_space.shape[0],
            self.distribution,
            config.hidden_size,
            config.observation_to_head,
            config.init_std,
            config.min_std,
        ).to(device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.learner.learning_rate, eps=1e-5)

    def warm_up(self, sampler: Sampler) -> None:
        """Takes first statistics of observations and rewards from random actions; called once, before training."""
        self._update_normalizers(sampler.collect(RandomActor(self.action_space), 1))

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> dict[str, float]:
        """Plays one trial of each task and takes PPO's epochs over them.

        Returns:
            Metrics: returns and success in the first and the last episode of the trials, and what PPO came to.
        """
        config = self.config
        actor = RecurrentActor(self, config.meta_batch)
        trajectories = sampler.collect(actor, config.episodes)
        trials = make_trials(trajectories, config.discount, config.gae_lambda)
        metrics = self.learn(trials, generator)
        self._update_normalizers(trajectories)
        returns, solved = trajectories.returns.mean(0), trajectories.solved.float().mean(0)
        return {
            "meta/first_episode_return": returns[0].item(),
            "meta/last_episode_return": returns[-1].item(),
            "meta/adaptation_gain": (returns[-1] - returns[0]).item(),
            "meta/trial_return": returns.sum().item(),
            "rollout/success_rate": solved[-1].item(),
            "rollout/ep_rew_mean": returns.mean().item(),
            **metrics,
        }

    def learn(self, trials: Trials, generator: torch.Generator) -> dict[str, float]:
        """PPO's epochs over the trials, minibatches being drawn anew in each.

        Raises:
            RunFailure: If a loss or gradient is not finite; the parameters are those before the bad step.
        """
        learner = self.config.learner
        history: list[PPOTerms] = []
        for _ in range(learner.epochs):
            shuffled = torch.randperm(len(trials.valid), generator=generator).to(trials.valid.device)
            for chosen in shuffled.tensor_split(learner.minibatches):
                part = Trials(RecurrentInput(*(x[chosen] for x in trials.inputs)), *(x[chosen] for x in trials[1:]))
                outputs, _ = self.policy.sequence(part.inputs, self.policy.initial_state(len(chosen)))
                terms = ppo_terms(self.distribution, outputs, part, learner.clip)
                loss = terms.policy_loss - learner.entropy_coefficient * terms.entropy
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), learner.max_grad_norm)
                if not torch.isfinite(norm):
                    raise RunFailure("the gradient is not finite; lower algorithm.learner.learning_rate")
                self.optimizer.step()
                history.append(PPOTerms(*(term.detach() for term in terms)))
        means = PPOTerms(*(torch.stack(values).mean() for values in zip(*history, strict=True)))
        return {
            "train/loss": means.policy_loss.item(),
            "train/entropy": means.entropy.item(),
            "train/approx_kl": means.approximate_kl.item(),
            "train/clip_fraction": means.clip_fraction.item(),
        }

    def make_agent(self, seed: int) -> RL2Agent:
        """An agent that adapts by its hidden state; it acts greedily once adapted."""
        return RL2Agent(self.policy, self.distribution, self.action_space, seed)

    def state_dict(self) -> dict[str, Tensor]:
        """The policy with its normalisers, and Adam's moments."""
        state = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        for name, parameter in self.policy.named_parameters():
            for key, tensor in self.optimizer.state[parameter].items():
                state[f"optimizer.{name}.{key}"] = tensor
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        policy = {name.removeprefix("policy."): x for name, x in state.items() if name.startswith("policy.")}
        self.policy.load_state_dict(policy)
        for name, parameter in self.policy.named_parameters():
            prefix = f"optimizer.{name}."
            moments = {key.removeprefix(prefix): x.clone() for key, x in state.items() if key.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = moments

    def _update_normalizers(self, trajectories: Trajectories) -> None:
        if self.config.normalize_inputs:
            self.policy.observation_normalizer.update(trajectories.observations, trajectories.valid)
            self.policy.reward_normalizer.update(trajectories.rewards.unsqueeze(-1), trajectories.valid)


class RecurrentActor:
    """Acts through one trial of each task, starting from the initial hidden state.

    Args:
        rl2: The algorithm whose policy it is.
        num_envs: Environments, one per task.
    """

    def __init__(self, rl2: RL2, num_envs: int) -> None:
        self._rl2 = rl2
        self._state = rl2.policy.initial_state(num_envs)

    def act(
        self, inputs: RecurrentInput, generator: torch.Generator
    ) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env"]]:
        """See `metarl.sampling.Actor`."""
        outputs, self._state = self._rl2.policy.step(inputs, self._state)
        actions = self._rl2.distribution.sample(outputs, generator)
        return actions, self._rl2.distribution.log_prob(outputs, actions)
