"""The configuration of a run: frozen models, read from YAML and changed field by field from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_core import ErrorDetails

from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.devices import DeviceName
from metarl.strict import StrictModel
from metarl_envs.errors import UserError, unknown

if TYPE_CHECKING:
    from metarl_envs.core import TaskDistribution


class MetaWorldTasks(StrictModel):
    """Robot manipulation tasks of Meta-World."""

    kind: Literal["metaworld"] = "metaworld"
    """Which family of tasks."""
    benchmark: Literal["ML1", "ML10", "ML25", "ML45", "custom"]
    """Which of Meta-World's splits; "custom" takes the names in `train` and `test`."""
    task: str | None = None
    """The task of ML1, such as "reach-v3"; None for the others."""
    train: tuple[str, ...] = ()
    """Names of the training tasks of "custom"."""
    test: tuple[str, ...] = ()
    """Names of the held-out tasks of "custom"."""
    horizon: int = Field(default=500, ge=1, le=500)
    """Length of an episode in steps, at most Meta-World's 500."""
    seed: NonNegativeInt = 1
    """What the goals are drawn from."""
    engine: Literal["native", "reference"] = "native"
    """What steps the environments: the fast engine, or Meta-World's own classes for comparison."""
    reward: Literal["v1", "v2"] = "v2"
    """Version of Meta-World's reward functions; "v1" needs the reference engine."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe.

        Raises:
            UserError: If there is none such, an unknown task name for example.
        """
        from metarl_envs.metaworld import MetaWorld

        return MetaWorld(**self.model_dump(exclude={"kind"}))


class NavigationTasks(StrictModel):
    """Point navigation in the plane (Finn et al. 2017)."""

    kind: Literal["navigation"] = "navigation"
    """Which family of tasks."""
    num_train_tasks: PositiveInt = 1000
    """Goals to train on."""
    num_test_tasks: PositiveInt = 40
    """Held-out goals."""
    horizon: PositiveInt = 100
    """Length of an episode in steps."""
    seed: NonNegativeInt = 1
    """What the goals are drawn from."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe."""
        from metarl_envs.navigation import Navigation

        return Navigation(**self.model_dump(exclude={"kind"}))


class BanditTasks(StrictModel):
    """Bernoulli bandits (Duan et al. 2016)."""

    kind: Literal["bandit"] = "bandit"
    """Which family of tasks."""
    arms: int = Field(default=5, ge=2)
    """Arms of each bandit."""
    num_train_tasks: PositiveInt = 10000
    """Bandits to train on."""
    num_test_tasks: PositiveInt = 500
    """Held-out bandits."""
    seed: NonNegativeInt = 1
    """What the arms' probabilities are drawn from."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe."""
        from metarl_envs.bandit import Bandit

        return Bandit(**self.model_dump(exclude={"kind"}))


class TabularTasks(StrictModel):
    """Random tabular MDPs (Duan et al. 2016)."""

    kind: Literal["tabular"] = "tabular"
    """Which family of tasks."""
    states: int = Field(default=10, ge=2)
    """States of each MDP."""
    actions: int = Field(default=5, ge=2)
    """Actions of each MDP."""
    horizon: PositiveInt = 10
    """Length of an episode in steps."""
    num_train_tasks: PositiveInt = 10000
    """MDPs to train on."""
    num_test_tasks: PositiveInt = 500
    """Held-out MDPs."""
    seed: NonNegativeInt = 1
    """What the MDPs are drawn from."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe."""
        from metarl_envs.tabular import TabularMDP

        return TabularMDP(**self.model_dump(exclude={"kind"}))


class LocomotionTasks(StrictModel):
    """Running, walking and hopping robots of Gymnasium's, simulated by MuJoCo."""

    kind: Literal["locomotion"] = "locomotion"
    """Which family of tasks."""
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
    """Which robot, and what varies."""
    num_train_tasks: PositiveInt | None = None
    """Tasks to train on; None is 1000. HalfCheetahDir always has its two."""
    num_test_tasks: PositiveInt | None = None
    """Held-out tasks; None is 40. HalfCheetahDir has none: it is tested on what it is trained on."""
    horizon: PositiveInt | None = None
    """Length of an episode in steps; None is the published one, 100 for the half-cheetah, 200 for the others."""
    seed: NonNegativeInt = 1
    """What the tasks are drawn from."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe.

        Raises:
            UserError: If a number of tasks is given for HalfCheetahDir.
        """
        from metarl_envs.locomotion import Locomotion

        return Locomotion(**self.model_dump(exclude={"kind"}))


class RegisteredTasks(StrictModel):
    """A family registered by `metarl_envs.registry.register` or by a plug-in."""

    kind: Literal["registered"] = "registered"
    """Which family of tasks."""
    id: str
    """The name it is registered under."""
    options: dict[str, bool | int | float | str | None] = Field(default={})
    """Keyword arguments for its factory."""

    def build(self) -> TaskDistribution:
        """The task distribution that these settings describe.

        Raises:
            UserError: If the id is unknown or the factory does not take the options.
        """
        from metarl_envs import registry

        return registry.make(self.id, **self.options)


class EvaluationConfig(StrictModel):
    """Evaluation on held-out tasks during training."""

    every: NonNegativeInt = 10
    """Iterations between evaluations; 0 is never."""
    adaptation_episodes: tuple[NonNegativeInt, ...] = Field(default=(0, 10), min_length=1)
    """Numbers of adaptation episodes after which the policy is evaluated."""
    episodes: PositiveInt = 1
    """Evaluation episodes per goal."""
    tasks_per_name: PositiveInt | None = 10
    """Held-out tasks of each name; None takes all."""


class CheckpointConfig(StrictModel):
    """When checkpoints are written and which are kept."""

    every: PositiveInt = 10
    """Iterations between checkpoints; the last iteration always has one."""
    keep_last: PositiveInt = 2
    """Checkpoints kept, beside the best."""


class RunConfig(StrictModel):
    """One training run."""

    seed: NonNegativeInt = 1
    """What all randomness of the run is derived from."""
    device: DeviceName = "auto"
    """Where the learning happens; "auto" is CUDA where there is a device, else the CPU."""
    threads: PositiveInt | None = None
    """Threads of PyTorch on the CPU; None is one per core."""
    double_buffered: bool = False
    """Half of the tasks step while the policy acts on the other half. For where acting leaves the cores idle, as on a
    GPU; where policy and simulation share a few cores, it is slower."""
    iterations: PositiveInt
    """Meta-iterations (outer steps) to train for."""
    tasks: Annotated[
        MetaWorldTasks | LocomotionTasks | NavigationTasks | BanditTasks | TabularTasks | RegisteredTasks,
        Field(discriminator="kind"),
    ]
    """What to train on."""
    algorithm: Annotated[MAMLConfig | RL2Config, Field(discriminator="kind")]
    """What to train with."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation during training."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration and applies overrides from a command line.

    Args:
        path: A YAML file.
        overrides: See `override_config`.

    Raises:
        UserError: If the file is missing, not YAML, or not a valid configuration before or after the overrides.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no configuration file '{path}'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read configuration file '{path}': {error}") from None
    config = _validate(_parse_yaml(text, where=str(path)), where=str(path))
    return override_config(config, overrides)


def override_config(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A configuration with some fields changed.

    Args:
        config: Where to start from.
        overrides: Such as `["--algorithm.inner.lr", "0.1", "--seed=3"]`: dotted names, dashes for underscores, values
            as in YAML; several values make a list.

    Raises:
        UserError: If a field is unknown or a value is not valid for it.
    """
    fields = config.model_dump(mode="json")
    given = parse_overrides(overrides).items()
    for name, values in sorted(given, key=lambda item: not item[0].endswith(".kind")):  # see `_assign`
        _assign(fields, name, [_parse_yaml(value, where=f"--{name}") for value in values])
    return _validate(fields, where="command line")


def parse_overrides(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Splits `--name value ...` and `--name=value` into values by field name; a name given twice takes the last.

    Raises:
        UserError: If a value comes before the first name, or a name has no value.
    """
    values: dict[str, list[str]] = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            values[name] = [value] if equals else []
        elif name is None:
            raise UserError(f"unexpected argument '{argument}'; fields are set by '--field value'")
        else:
            values[name].append(argument)
    for name, given in values.items():
        if not given:
            raise UserError(f"--{name} needs a value, such as '--{name} 1'")
    return values


def dump_config(config: RunConfig) -> str:
    """The whole configuration as YAML that `load_config` reads back equal."""
    # Characters beyond ASCII are escaped, as PyYAML does not read all of them back as it writes them.
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def _assign(fields: dict[str, Any], name: str, values: list[Any]) -> None:
    """Sets the field with a dotted name; an unknown last part is left to validation to complain about.

    Another `kind` of a section has other fields: they start from their defaults.
    """
    *sections, last = name.replace("-", "_").split(".")
    for section in sections:
        if not isinstance(fields.get(section), dict):
            raise unknown(
                f"section in --{name}:", section, [key for key, value in fields.items() if isinstance(value, dict)]
            )
        fields = fields[section]
    if last == "kind" and "kind" in fields and values != [fields["kind"]]:
        fields.clear()
    single = len(values) == 1 and (isinstance(values[0], list) or not isinstance(fields.get(last), list))
    fields[last] = values[0] if single else values


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as a number, which YAML 1.1 does not, and `None`, which help texts show, as null."""


class _Dumper(yaml.SafeDumper):
    """Quotes strings that `_Loader` would not read as such."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"), list("-+.0123456789")
    )
    _class.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"None\Z"), ["N"])


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a date in the 13th month, for example
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _validate(fields: Any, where: str) -> RunConfig:
    try:
        return RunConfig.model_validate(fields)
    except ValidationError as error:
        by_path: dict[str, list[ErrorDetails]] = {}
        for detail in error.errors(include_url=False):
            by_path.setdefault(_path(fields, detail), []).append(detail)
        path, details = next(iter(by_path.items()))
        more = f" (and {len(by_path) - 1} more)" if len(by_path) > 1 else ""
        raise UserError(f"{where}: {path}: {_explain(details)}{more}") from None


def _path(fields: Any, detail: ErrorDetails) -> str:
    """Where an error is, dotted as the user writes it: pydantic's location without its names of union members."""
    path = []
    for key in detail["loc"]:
        with suppress(KeyError, IndexError, TypeError):
            fields = fields[key]
            path.append(str(key))
    match detail["type"]:
        case "unknown_field":
            path.append(detail["ctx"]["field"])
        case "missing":
            path.append(str(detail["loc"][-1]))
        case "union_tag_invalid" | "union_tag_not_found":
            path.append("kind")
    return ".".join(path) or "top level"


def _explain(details: list[ErrorDetails]) -> str:
    """What is wrong with one value; there are several details where each member of a union was tried."""
    detail = details[0]
    given, expected = detail["input"], " or ".join(each["msg"].removeprefix("Input should be ") for each in details)
    match detail["type"]:
        case "unknown_field":
            return detail["msg"]
        case "missing" | "union_tag_not_found":
            return "required, but missing"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case "union_tag_invalid":
            given, expected = given["kind"], detail["ctx"]["expected_tags"].replace(", ", " or ")
        case "model_type" | "model_attributes_type" | "dict_type":
            expected = "a mapping of fields"
        case "tuple_type":
            expected = "a list"
    close = get_close_matches(str(given), re.findall("'(.*?)'", expected), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"expected {expected}, got {shorten(repr(given), 60)}{hint}"
