"""What is wrong with a file that does not fit its model, in one line that names the field."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from metarl_envs.errors import UserError


def explained(error: ValidationError, fields: Any, where: str) -> UserError:
    """Makes an error of one line: the first wrong field, what it should be, and how many others are wrong.

    Args:
        error: What pydantic found.
        fields: What it validated.
        where: Where that comes from, such as the file's name.
    """
    by_path: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_error_path(fields, detail), []).append(detail)
    path, details = next(iter(by_path.items()))
    more = f" (and {len(by_path) - 1} more)" if len(by_path) > 1 else ""
    return UserError(f"{where}: {path}: {_explain(details)}{more}")


def _error_path(fields: Any, detail: ErrorDetails) -> str:
    """Returns an error's path, dotted as the user writes it: pydantic's location without names of union members."""
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
    """Returns what is wrong with one value; a union gives one detail for each member tried."""
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
