"""Form of an evaluation as JSON types, against which what is read back is checked."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import ActionChoice
from metarl.strict import Count, CountOrZero
from metarl_envs.errors import UserError

Fields = TypeVar("Fields", bound=BaseModel)
Whole = Annotated[int, Field(ge=0)]
"""Whole number of any size, not negative."""


class StoredFields(BaseModel):
    """Frozen model that reads what it knows and leaves the rest, such as summaries that are computed anew."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class ProtocolFields(StoredFields):
    """Settings of an evaluation."""

    adaptation_episodes: Annotated[list[CountOrZero], Field(min_length=1)]
    adapts_on: Annotated[AdaptsOn, Field(strict=False)] = AdaptsOn.EPISODES
    adaptation_steps: CountOrZero
    episodes_per_task: Count
    horizon: Count
    seed: Whole
    actions: ActionChoice = "likeliest"
    divergences: Whole
    env_steps: Whole = 0
    learning_steps: Whole = 0

    @model_validator(mode="after")
    def _check_order(self) -> "ProtocolFields":
        if self.adaptation_episodes != sorted(set(self.adaptation_episodes)):
            raise ValueError("adaptation_episodes must ascend")
        return self


class TaskFields(StoredFields):
    """Outcomes on one task, `[k][episode]`."""

    name: str
    id: str
    success: list[list[bool]]
    success_last: list[list[bool]]
    returns: list[list[float]] = Field(alias="return")
    acted_as: list[str] | None = None


class EvaluationFields(StoredFields):
    """Everything of an evaluation that its summaries are computed from."""

    protocol: ProtocolFields
    distribution: str
    held_out: bool
    told_in_training: str = ""
    tasks: Annotated[list[TaskFields], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_shapes(self) -> "EvaluationFields":
        # [k][episode], the same for every task
        rows, episodes = len(self.protocol.adaptation_episodes), self.protocol.episodes_per_task
        for task in self.tasks:
            for outcomes in (task.success, task.success_last, task.returns):
                if len(outcomes) != rows or any(len(row) != episodes for row in outcomes):
                    raise ValueError(f"task {task.id} must have {rows} rows of {episodes} episodes")
            if (task.acted_as is None) != (self.tasks[0].acted_as is None) or len(task.acted_as or range(rows)) != rows:
                raise ValueError(f"task {task.id} must have {rows} names in acted_as, as the others")
        return self


def check_fields(model: type[Fields], data: Mapping[str, Any], what: str) -> Fields:
    """Checks data that was read from a file against a model.

    Args:
        model: Model of the data.
        data: JSON types.
        what: What the data should be, for the message.

    Raises:
        UserError: If a field is missing or not what it should be.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "top level"
        problem = "missing" if detail["type"] == "missing" else detail["msg"].removeprefix("Value error, ")
        raise UserError(f"not {what}: {where}: {problem}") from None
