"""Configurations as YAML, read with the types of `safe_load` only, and overrides of fields from a command line."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml
from pydantic import ValidationError

from metarl.config.errors import explained
from metarl.config.run import RunConfig
from metarl.preset_files import find_config
from metarl_envs.errors import UserError, unknown

_log = logging.getLogger(__name__)


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration and applies overrides from a command line.

    Args:
        source: Path of a YAML file, or name of a preset such as "ml10-rl2".
        overrides: See `override_config`.

    Raises:
        UserError: If the file is missing, not YAML, or not a valid configuration before or after the overrides.
    """
    path = find_config(Path(source))
    config = _validate(read_yaml(path), str(path), {"folder": path.parent})
    return override_config(config, overrides)


def load_run_config(path: Path) -> RunConfig:
    """Reads the configuration of a run, which may come from a stranger: it must not bring code along.

    Args:
        path: Path of the YAML file in the run's directory.

    Raises:
        UserError: If the file is missing, not YAML, not a valid configuration, or names a file of the run as its tasks.
    """
    return _validate(read_yaml(path), str(path), {"run": path.parent})


def read_yaml(path: Path, what: str = "configuration") -> Any:
    """Reads a YAML file with the types of `safe_load` only.

    Args:
        path: Path of the file.
        what: What it is, in messages.

    Raises:
        UserError: If the file is missing or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no {what} file '{path}'") from None
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {what} file '{path}': {error}") from None
    except (OSError, ValueError) as error:  # a ValueError is a path with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read {what} file '{path}': {reason}") from None
    return _parse_yaml(text, where=str(path))


def override_config(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Returns a copy of a configuration with some fields changed.

    Args:
        config: Configuration to change.
        overrides: Arguments such as `["--algorithm.inner.lr", "0.1", "--seed=3"]`: dotted names, with dashes or
            underscores, and values as in YAML; several values make a list.

    A change of a section's `kind` resets the section to the defaults of that kind; a warning is logged that names the
    fields of the file that the new kind has too and that are lost.

    Raises:
        UserError: If a field is unknown or set twice, or a value is not valid for it.
    """
    fields = config.model_dump(mode="json")
    given = parse_overrides(overrides)
    kinds = [name for name in given if name.split(".")[-1] == "kind"]
    # From the outside in, and a section's kind before its fields, which depend on it.
    for name in sorted(given, key=lambda name: (name.count("."), name not in kinds)):
        _assign(fields, name, [_parse_yaml(value, where=f"--{name}") for value in given[name]])
        if kinds:
            fields = _with_defaults(fields)
    changed = _validate(fields, where="command line")
    for name in kinds:
        _tell_what_is_lost(config, changed, name.rpartition(".")[0], given)
    return changed


def assign_fields(config: RunConfig, values: Mapping[str, Any], where: str) -> RunConfig:
    """Returns a copy of a configuration with fields or whole sections replaced.

    Args:
        config: Configuration to change.
        values: JSON types by dotted name. A section is set before its fields, whatever their order, and begins with the
            defaults of its kind.
        where: Where the values come from, in messages.

    Raises:
        UserError: If a field is unknown, or a value is not valid for it.
    """
    fields = config.model_dump(mode="json")
    for name in sorted(values, key=lambda name: (name.count("."), not name.endswith("kind"))):
        try:
            _assign(fields, name, [values[name]])
        except UserError as error:
            raise UserError(f"{where}: {str(error).replace('--', '')}") from None
        fields = _with_defaults(fields)
    return _validate(fields, where)


def parse_overrides(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Splits `--name value ...` and `--name=value` into values by field name, with underscores for dashes.

    Raises:
        UserError: If a value comes before the first name, or a name has no value or is given twice, as itself or as a
            part of another.
    """
    values: dict[str, list[str]] = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            written, equals, value = argument[2:].partition("=")
            name = written.replace("-", "_")
            if name in values:
                raise UserError(f"--{written} is given twice: give it once")
            values[name] = [value] if equals else []
        elif name is None:
            raise UserError(f"unexpected argument '{argument}'; fields are set by '--field value'")
        else:
            values[name].append(argument)
    for name, given in values.items():
        if not given:
            raise UserError(f"--{name} needs a value, such as '--{name} 1'")
        for whole in values:
            if name.startswith(f"{whole}."):
                raise UserError(f"--{whole} sets all of --{name}, which is given too: give one of them")
    return values


def dump_config(config: RunConfig) -> str:
    """Returns the whole configuration as YAML; `load_config` reads back an equal one."""
    # PyYAML escapes characters beyond ASCII here, since it does not read all of them back if they are not.
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def _assign(fields: dict[str, Any], name: str, values: list[Any]) -> None:
    """Sets the field with a dotted name; validation reports an unknown last part.

    A change of a section's `kind` takes away the section's other fields.
    """
    *sections, last = name.split(".")
    for section in sections:
        if fields.get(section, "") is None:  # an optional section, or validation tells that it is none
            fields[section] = {}
        if not isinstance(fields.get(section), dict):
            raise unknown(
                f"section in --{name}:", section, [key for key, value in fields.items() if isinstance(value, dict)]
            )
        fields = fields[section]
    if last == "kind" and "kind" in fields and values != [fields["kind"]]:
        fields.clear()
    single = len(values) == 1 and (isinstance(values[0], list) or not isinstance(fields.get(last), list))
    fields[last] = values[0] if single else values


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns all fields of a configuration; as they are, if some without a default are missing."""
    try:
        return RunConfig.model_validate(fields).model_dump(mode="json")
    except ValidationError:
        return fields


def _tell_what_is_lost(config: RunConfig, changed: RunConfig, section: str, given: Collection[str]) -> None:
    """Warns of values that were written in a section, exist in its new kind too, and are not what they were."""
    try:
        before, after = attrgetter(section)(config), attrgetter(section)(changed)
    except AttributeError:  # a section that only the new kind has
        return
    if before.kind == after.kind:
        return
    lost = [
        f"{name}={getattr(before, name)}"
        for name in type(before).model_fields
        if name in before.model_fields_set & type(after).model_fields.keys() - {"kind"}
        and isinstance(getattr(before, name), int | float | str | tuple)
        and getattr(before, name) != getattr(after, name)
        and f"{section}.{name}" not in given
    ]
    if lost:
        _log.warning(
            "--%s.kind %s starts from its defaults, without %s of before: give again what should stay, as in --%s.%s",
            *(section, after.kind, ", ".join(lost), section, lost[0].replace("=", " ")),
        )


class _TwiceError(yaml.MarkedYAMLError):
    """A key that a mapping has twice."""


class _Loader(yaml.SafeLoader):
    """Loader that reads `1e-4` as a number, unlike YAML 1.1, and `None`, as in help texts, as null.

    A key that a mapping has twice is an error, unlike in PyYAML, which takes the last.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Reads a mapping, before the keys of others are merged into it."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = key.tag, key.value
            if name in lines:
                problem = f"{shorten(key.value, 60)!r} is given twice, first in line {lines[name]}"
                raise _TwiceError(None, None, problem, key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes strings which `_Loader` would read as another type."""


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
        if isinstance(error, _TwiceError):
            raise UserError(f"{where}{line}: {error.problem}") from None
        raise UserError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise UserError(f"{where}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a date in the 13th month, for example
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _validate(fields: Any, where: str, context: dict[str, Path] | None = None) -> RunConfig:
    try:
        return RunConfig.model_validate(fields, context=context)
    except ValidationError as error:
        raise explained(error, fields, where) from None
