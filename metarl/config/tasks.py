"""Settings of the tasks of a run: a model for each family."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator
from typing_extensions import TypeAliasType

from metarl.strict import Count, Seed, StrictModel
from metarl_envs.errors import UserError
from metarl_envs.family_files import split_file

if TYPE_CHECKING:
    from metarl_envs.core import TaskDistribution

OptionValue = TypeAliasType(
    "OptionValue", "bool | int | float | str | list[OptionValue] | dict[str, OptionValue] | None"
)
"""Option of a registered family, as YAML and JSON have them."""


class MetaWorldTasks(StrictModel):
    """Robot manipulation tasks of Meta-World."""

    kind: Literal["metaworld"] = "metaworld"
    """Family of tasks."""
    benchmark: Literal["ML1", "ML10", "ML25", "ML45", "custom", "MT1", "MT10", "MT25", "MT50"]
    """Benchmark of Meta-World; "custom" takes the names in `train` and `test`, MT shows goals and holds nothing out."""
    task: str | None = None
    """Name of the task of ML1 or MT1, such as "reach-v3"; None for other benchmarks."""
    train: tuple[str, ...] = ()
    """Names of the training tasks of "custom"."""
    test: tuple[str, ...] = ()
    """Names of the held-out tasks of "custom"."""
    horizon: int = Field(default=500, ge=1, le=500)
    """Length of an episode in steps, at most Meta-World's 500."""
    seed: Seed = 1
    """Seed that the goals are drawn from."""
    engine: Literal["native", "reference"] = "native"
    """Engine of the environments: the fast one, or Meta-World's own classes for comparison."""
    reward: Literal["v1", "v2"] = "v2"
    """Version of Meta-World's reward functions; "v1" needs the reference engine."""
    goal_visible: bool = False
    """Show the goal in the observation, as for an oracle; the MT benchmarks always do."""
    use_one_hot: bool = False
    """Append the index of the class to observations, one-hot; for the MT benchmarks."""
    recombined: bool = False
    """Train on objects' places of some training tasks with goals of others, so that no pair can be learned by heart."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings.

        Raises:
            UserError: If there is no such distribution, for an unknown task name for example.
        """
        from metarl_envs.metaworld import MetaWorld

        return MetaWorld(**self.model_dump(exclude={"kind"}))


class NavigationTasks(StrictModel):
    """Point navigation in the plane (Finn et al. 2017)."""

    kind: Literal["navigation"] = "navigation"
    """Family of tasks."""
    num_train_tasks: Count = 1000
    """Number of goals to train on."""
    num_test_tasks: Count = 40
    """Number of held-out goals."""
    horizon: Count = 100
    """Length of an episode in steps."""
    seed: Seed = 1
    """Seed that the goals are drawn from."""
    goal_visible: bool = False
    """Append the goal to the observation, as for an oracle."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings."""
        from metarl_envs import registry

        return registry.make("navigation", **self.model_dump(exclude={"kind"}))


class BanditTasks(StrictModel):
    """Bernoulli bandits (Duan et al. 2016)."""

    kind: Literal["bandit"] = "bandit"
    """Family of tasks."""
    arms: int = Field(default=5, ge=2, le=10_000)
    """Number of arms of each bandit."""
    num_train_tasks: Count = 10000
    """Number of bandits to train on."""
    num_test_tasks: Count = 500
    """Number of held-out bandits."""
    seed: Seed = 1
    """Seed that the arms' probabilities are drawn from."""
    goal_visible: bool = False
    """Append the arms' probabilities to the observation, as for an oracle."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings."""
        from metarl_envs import registry

        return registry.make("bandit", **self.model_dump(exclude={"kind"}))


class TabularTasks(StrictModel):
    """Random tabular MDPs (Duan et al. 2016)."""

    kind: Literal["tabular"] = "tabular"
    """Family of tasks."""
    states: int = Field(default=10, ge=2, le=1000)
    """Number of states of each MDP."""
    actions: int = Field(default=5, ge=2, le=1000)
    """Number of actions of each MDP."""
    horizon: Count = 10
    """Length of an episode in steps."""
    num_train_tasks: Count = 10000
    """Number of MDPs to train on."""
    num_test_tasks: Count = 500
    """Number of held-out MDPs."""
    seed: Seed = 1
    """Seed that the MDPs are drawn from."""
    goal_visible: bool = False
    """Append the MDP's numbers to the observation, as for an oracle."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings."""
        from metarl_envs import registry

        return registry.make("tabular", **self.model_dump(exclude={"kind"}))


class LocomotionTasks(StrictModel):
    """Running, walking and hopping robots of Gymnasium, simulated by MuJoCo."""

    kind: Literal["locomotion"] = "locomotion"
    """Family of tasks."""
    family: Literal[
        "HalfCheetahDir",
        "HalfCheetahVel",
        "AntDir",
        "AntGoal",
        "HumanoidDir",
        "Walker2dVel",
        "HopperRandParams",
        "Walker2dRandParams",
    ]
    """Robot, and quantity that varies between tasks."""
    num_train_tasks: Count | None = None
    """Number of tasks to train on; None is 1000. HalfCheetahDir always has its two."""
    num_test_tasks: Count | None = None
    """Number of held-out tasks; None is 40. HalfCheetahDir has none: its test tasks are its training tasks."""
    horizon: Count | None = None
    """Length of an episode in steps; None is the published one: 100 for the half-cheetah, 200 for the others."""
    seed: Seed = 1
    """Seed that the tasks are drawn from."""
    goal_visible: bool = False
    """Append the task's parameters to the observation, as for an oracle."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings.

        Raises:
            UserError: If a number of tasks is given for HalfCheetahDir.
        """
        from metarl_envs import registry

        return registry.make(self.family, **self.model_dump(exclude={"kind", "family"}))


class RegisteredTasks(StrictModel):
    """A family registered by `metarl_envs.registry.register` or by a plug-in."""

    kind: Literal["registered"] = "registered"
    """Family of tasks."""
    id: str
    """Name that the family is registered under, or FILE.py:NAME for the class or function NAME of a file. In a
    configuration file, FILE is relative to its folder."""
    options: dict[str, OptionValue] = Field(default={})
    """Keyword arguments for its factory."""
    goal_visible: bool = False
    """Append the task's parameters to the observation, as for an oracle."""

    @field_validator("id")
    @classmethod
    def _make_absolute(cls, id: str, info: Any) -> str:  # noqa: A002  (beartype cannot check a ValidationInfo)
        file, name = split_file(id)
        if file is None:
            return id
        context: dict[str, Path] = info.context or {}
        run = context.get("run")
        if run is not None and (not Path(file).is_absolute() or Path(file).resolve().is_relative_to(run.resolve())):
            raise ValueError(f"{file} is a file of the run itself: a run must not bring code along")
        return f"{os.path.abspath(context.get('folder', Path()) / file)}:{name}"

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings.

        Raises:
            UserError: If the id is unknown or the factory does not take the options.
        """
        from metarl_envs import registry

        shown = {"goal_visible": True} if self.goal_visible else {}
        return registry.make(self.id, **self.options | shown)


class ValidationTasks(StrictModel):
    """Training tasks of a family, of which some are put aside to evaluate on instead of its test tasks."""

    kind: Literal["validation"] = "validation"
    """Family of tasks."""
    of: Annotated[
        MetaWorldTasks | LocomotionTasks | NavigationTasks | BanditTasks | TabularTasks | RegisteredTasks,
        Field(discriminator="kind"),
    ]
    """Family whose training tasks to split; its test tasks are not played."""
    by: Literal["tasks", "classes"] = "tasks"
    """What is put aside: some tasks of each class, or all tasks of some classes."""
    count: Count
    """Number of tasks of each class, or of classes, that are put aside."""
    seed: Seed = 1
    """Seed that what is put aside is drawn from."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings.

        Raises:
            UserError: If there is no such family, or not that much can be put aside.
        """
        from metarl_envs.validation import Validation

        family = self.of.build()
        try:
            return Validation(family, self.by, self.count, self.seed)
        except UserError as error:
            raise UserError(f"tasks.count: {error}") from None


class DemonstrationTasks(StrictModel):
    """Tasks that are known from demonstrations: nothing is simulated."""

    kind: Literal["demonstrations"] = "demonstrations"
    """Family of tasks."""
    dataset: str
    """Dataset of the demonstrations: its folder, or its name in `demonstrations/` or in Minari's own folder."""
    split: str | None = None
    """Split of the classes: "ML10", "ML25" or "ML45", or numbers of classes to train on, to choose settings by and to
    hold out, such as "30/10/10"; None holds out `test`."""
    test: tuple[str, ...] = ()
    """Names of the held-out classes, if there is no `split`; all others are trained on."""
    hold_out: Literal["test", "validation"] = "test"
    """Part of `split` to evaluate on: "validation" while settings are chosen."""
    frames: bool = False
    """True to read the demonstrations' frames too."""

    def build(self) -> TaskDistribution:
        """Makes the task distribution of these settings.

        Raises:
            UserError: If there is no such dataset, it is damaged, or it lacks classes.
        """
        from metarl.demonstrations.tasks import shown_tasks

        return shown_tasks(**self.model_dump(exclude={"kind"}))


TasksConfig = Annotated[
    MetaWorldTasks
    | LocomotionTasks
    | NavigationTasks
    | BanditTasks
    | TabularTasks
    | RegisteredTasks
    | DemonstrationTasks
    | ValidationTasks,
    Field(discriminator="kind"),
]
