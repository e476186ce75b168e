"""What `result.json` may hold, checked against the JSON Schema that ships with the package.

Comes in: the result of one patient as a mapping. Goes out: the same as plain JSON values with rounded numbers, or an
error that names the place where it breaks the schema. Such a result is a defect of ours, never of the user's input.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from llnm.errors import LLNMError

DECIMALS = 6
"""Decimals that every float of a result is rounded to: far below any measurement error, above the noise of sums."""


def validate_result(result: Mapping[str, Any]) -> None:
    """Check a result against `llnm/schemas/result.json` (JSON Schema draft 7).

    Raises LLNMError, one line that names the failing path, for the first fault found: a missing or unknown field, a
    wrong type or range, NaN or infinity, an interval whose ends are in the wrong order.
    """
    checked_result(result)


def checked_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result as plain JSON values (NumPy and tuples resolved, floats rounded to `DECIMALS`), known to be valid.

    Raises LLNMError as `validate_result` does.
    """
    plain: dict[str, Any] = _plain(result, "$")
    error = best_match(_validator().iter_errors(plain))
    if error is not None:
        raise _defect(_json_path(error.absolute_path), error.message)
    try:
        moment(plain["created"])
    except ValueError as error:
        raise _defect("$.created", str(error)) from error
    intervals = {"$.risk.interval": plain["risk"]["interval"]}
    intervals["$.location.atlas_interval"] = plain["location"]["atlas_interval"]
    for path, interval in intervals.items():
        if interval is not None and interval[0] > interval[1]:
            raise _defect(path, f"{interval} is not in the order [low, high]")
    return plain


def _json_path(parts: Iterable[str | int]) -> str:
    # jsonschema's own `json_path` is missing in the old release that the annotation server needs.
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def moment(created: str) -> datetime:
    """The time stamp of a result. Raises ValueError for a day or hour that does not exist."""
    return datetime.fromisoformat(created.replace("Z", "+00:00"))  # Python 3.10 does not read the Z


@cache
def _validator() -> Draft7Validator:
    schema = json.loads(files("llnm").joinpath("schemas", "result.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _defect(path, f"{value} is not a finite number")
        return round(value, DECIMALS) + 0.0  # adding 0.0 turns -0.0 into 0.0
    if isinstance(value, str):
        # A file name that is no valid UTF-8 reaches us with lone surrogates, which cannot be written.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise _defect(path, f"a {type(value).__name__} cannot be written as JSON")


def _defect(path: str, message: str) -> LLNMError:
    brief = " ".join(message.split())
    if len(brief) > 200:
        brief = f"{brief[:200]}..."
    return LLNMError(f"result.json: {path}: {brief}; this is a defect of the software, please report it")
