"""The schema of `result.json`: what it takes and what it refuses."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft7Validator
from report_examples import full_result, minimal_result, real_views

from llnm.errors import InputError, LLNMError
from llnm.report import DECIMALS, checked_result, validate_result


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    return full_result(real_views())


def broken(result: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `result` with another value at `path` (`a.b.0.c`); the value `...` removes the field."""
    result = copy.deepcopy(result)
    *parents, last = path.split(".")
    place: Any = result
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def test_a_full_and_a_minimal_result_are_valid(full: dict[str, Any]) -> None:
    validate_result(full)
    validate_result(minimal_result())


def test_the_shipped_schema_is_a_valid_draft_2020_12_schema_that_describes_every_field() -> None:
    schema = json.loads(files("llnm").joinpath("schemas", "result.json").read_text(encoding="utf-8"))
    assert schema["$schema"] == Draft7Validator.META_SCHEMA["$id"]
    Draft7Validator.check_schema(schema)

    def undescribed(node: dict[str, Any], path: str) -> list[str]:
        found = []
        for name, child in {**node.get("properties", {}), **node.get("definitions", {})}.items():
            if "description" not in child and "$ref" not in child:
                found.append(f"{path}.{name}")
            found += undescribed(child, f"{path}.{name}") + undescribed(child.get("items", {}), f"{path}.{name}[]")
        return found

    assert undescribed(schema, "$") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("risk", ...),
        ("risk.decision", ...),
        ("created", ...),
        ("provenance.weights.0.file_sha256", ...),
        ("features.transverse.width_mm", ...),
        ("contributions.sex", ...),
        ("schema_version", "2.0"),
        ("created", "yesterday"),
        ("created", "2025-03-04T09:30:00"),
        ("created", "2025-02-30T09:30:00Z"),
        ("patient", None),
        ("patient", ""),
        ("risk.probability", 1.2),
        ("risk.probability", -0.1),
        ("risk.probability", "0.5"),
        ("risk.probability", True),
        ("risk.probability", float("nan")),
        ("risk.probability", np.float32("nan")),
        ("risk.probability", float("inf")),
        ("risk.interval", [0.2]),
        ("risk.interval", [0.2, 1.4]),
        ("risk.interval", [0.8, 0.2]),
        ("risk.interval", np.array([0.2, np.nan])),
        ("risk.decision", "maybe"),
        ("risk.threshold", None),
        ("risk.extra", 1),
        ("stage", "N1b"),
        ("features.sagittal", None),
        ("features.transverse.width_mm", -1),
        ("features.transverse.echogenicity_difference", 40.0),
        ("features.transverse.nodule_outside_gland", 0.5),
        ("location.plane", "sagittal"),
        ("location.atlas_interval", [0.7, 0.1]),
        ("contributions.texture", None),
        ("contributions.sex", float("-inf")),
        ("quality.transverse.nodules_found", 1.5),
        ("quality.transverse.contrast", [1]),
        ("vascularity.margin_fraction", 1.01),
        ("missing", "age"),
        ("missing", ["age", "age"]),
        ("warnings", [1]),
        ("provenance.seed", 0.5),
        ("provenance.weights.0.kind", "closed"),
        ("provenance.weights.0.file_sha256", "abc"),
        ("provenance.weights.1.trained_on_simulated_patients", "yes"),
        ("provenance.inputs.transverse", "A7" * 32),
        ("provenance.spacing.transverse.row_mm", 0),
        ("provenance.report.text", "solid hypoechoic nodule"),
        ("provenance.notice", "a medical device"),
        ("provenance.software.numpy", object()),
    ],
)
def test_a_broken_result_is_refused_with_one_line_that_names_the_place(
    full: dict[str, Any], path: str, value: Any
) -> None:
    with pytest.raises(LLNMError) as caught:
        validate_result(broken(full, path, value))
    message = str(caught.value)
    assert not isinstance(caught.value, InputError), "a result is ours, so a wrong one is our defect"
    assert "\n" not in message
    assert path.rsplit(".", maxsplit=1)[-1] in message


def test_without_a_probability_only_abstaining_without_an_interval_is_valid(full: dict[str, Any]) -> None:
    with pytest.raises(LLNMError, match=r"risk\.(interval|decision)"):
        validate_result(broken(full, "risk.probability", None))
    with pytest.raises(LLNMError, match="interval"):
        validate_result(broken(minimal_result(), "risk.interval", [0.1, 0.2]))
    for decision in ("positive", "negative"):
        with pytest.raises(LLNMError, match="decision"):
            validate_result(broken(minimal_result(), "risk.decision", decision))


def test_checked_values_are_plain_rounded_and_without_a_negative_zero(full: dict[str, Any]) -> None:
    full = broken(full, "contributions.sex", np.float64(-1e-9))
    full = broken(full, "contributions.age", np.float32(1 / 3))
    checked = checked_result(full)
    assert checked["contributions"]["age"] == round(float(np.float32(1 / 3)), DECIMALS)
    assert str(checked["contributions"]["sex"]) == "0.0"
    assert checked["risk"]["interval"] == [0.52, 0.81]
    assert type(checked["features"]["transverse"]["area_px"]) is int
    assert json.loads(json.dumps(checked, allow_nan=False)) == checked
