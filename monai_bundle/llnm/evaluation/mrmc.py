"""Areas under the ROC curve of several readers who read the same cases: do modalities, or a model and readers, differ?

Comes in: ratings of every reader for every case (a fully crossed study) and the cases' labels. Goes out: the averages
over readers with intervals, and tests of their differences, for readers and cases like those of the study (random
readers) and for these very readers (fixed readers).

The analysis of variance of Obuchowski and Rockette (Communications in Statistics 24:285, 1995): reader j's area with
modality i is a mean + modality + reader + reader x modality + error, and errors are correlated since the cases are the
same: Cov1 for one reader's two modalities, Cov2 for two readers of one modality, Cov3 for two readers of two. The
variance of the errors and these three are averages over the covariance matrix of all areas, by the jackknife over
cases or by DeLong. With t modalities and r readers, and after Hillis (Statistics in Medicine 26:596, 2007) and Hillis,
Berbaum and Metz (Academic Radiology 15:647, 2008):

    random readers  F = MS(T) / E with E = MS(T*R) + r max(Cov2 - Cov3, 0), on t - 1 and
                    E^2 / (MS(T*R)^2 / ((t - 1) (r - 1))) degrees of freedom; a difference has the variance 2 E / r
    fixed readers   chi-square = (t - 1) MS(T) / E with E = Var - Cov1 + (r - 1) max(Cov2 - Cov3, 0), on t - 1 degrees
    one modality    its mean area has the variance E / r with E = MS(R) + r max(Cov2, 0), on E^2 / (MS(R)^2 / (r - 1))
                    degrees of freedom (fixed readers: E = Var + (r - 1) max(Cov2, 0), normal), from its own data

Readers against a model that works alone: the model is a reader who does not vary. Its area A0 less each reader's,
d_j = A0 - A_j, is treated as a single modality whose mean is tested against 0: t = mean(d) / sqrt(E / r) with E as
above, where MS(R) is the variance of the d_j, and Cov2 the mean over pairs of readers of
Cov(d_j, d_k) = Cov(A_j, A_k) - Cov(A_j, A0) - Cov(A_k, A0) + Var(A0). The same t, degrees of freedom and p come from
two modalities of which every "reader" of the second one is the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.delong import delong_covariance, placements
from llnm.evaluation.intervals import LEVEL, Figure
from llnm.evaluation.scores import TOO_FEW, Bools, Floats

Covariance = Literal["jackknife", "delong"]
Kind = Literal["random", "fixed"]
_TOLD: dict[Kind, str] = {"random": "random readers, random cases", "fixed": "fixed readers, random cases"}
# A variance below this is rounding.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class Difference:
    """`first` minus `second`, its test statistic (t, or z where `degrees` is None) and the two-sided p."""

    first: str
    second: str
    difference: Figure
    statistic: float
    degrees: float | None
    p: float


@dataclass(frozen=True)
class Inference:
    """The test that all modalities are equal, each modality's mean area, and every difference between two.

    `statistic`: F on `numerator` and `degrees` degrees of freedom, or chi-square on `numerator` where `degrees` is
    None.
    """

    readers: Kind
    statistic: float
    numerator: int
    degrees: float | None
    p: float
    areas: dict[str, Figure]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class ModalityComparison:
    """Modalities compared: `area` (t, r) and the model's variances and covariances.

    `variance`, `same_reader` (Cov1), `same_modality` (Cov2) and `different` (Cov3) are those of the errors, `reader`
    and `interaction` the variances of readers and of readers with modalities, estimates that can be negative.
    `random` is None for a single reader, from whom nothing can be said about others.
    """

    area: Floats
    variance: float
    same_reader: float
    same_modality: float
    different: float
    reader: float
    interaction: float
    random: Inference | None
    fixed: Inference


@dataclass(frozen=True)
class ModelComparison:
    """A model against readers: the readers' mean area, the model's, and model minus readers; `random` as above."""

    readers: Figure
    model: float
    random: Difference | None
    fixed: Difference


@dataclass(frozen=True)
class _Squares:
    """Mean squares of areas (t, r), and the averages of their error covariances."""

    modality: float
    reader: float
    interaction: float
    variance: float
    same_reader: float
    same_modality: float
    different: float

    @property
    def excess(self) -> float:
        """By how much two readers agree more on one modality than on two; an estimate below 0 is none."""
        return max(self.same_modality - self.different, 0.0)


def compare_modalities(
    rating: Floats,
    label: Bools,
    names: Sequence[str] | None = None,
    *,
    covariance: Covariance = "jackknife",
    level: float = LEVEL,
) -> ModalityComparison:
    """Modalities compared from `rating` (t, r, n), higher where a reader suspects the condition, and `label` (n,).

    Raises InputError for fewer than two modalities, a rating that is missing, or too few cases of a class.
    """
    if rating.ndim != 3:
        raise InputError(f"rating: has {rating.ndim} dimensions; give modalities, readers and cases")
    modalities, readers, cases = rating.shape
    area, joint = area_covariance(rating.reshape(modalities * readers, cases), label, covariance)
    shape = (modalities, readers)
    return obuchowski_rockette(area.reshape(shape), joint.reshape(shape + shape), names, level=level)


def compare_with_model(
    rating: Floats, model: Floats, label: Bools, *, covariance: Covariance = "jackknife", level: float = LEVEL
) -> ModelComparison:
    """The `model`'s scores (n,) against the readers' `rating` (r, n) of the same cases; raises InputError as above."""
    area, joint = area_covariance(np.vstack([rating, model]), label, covariance)
    readers, alone = joint[:-1, :-1], joint[:-1, -1]
    paired = readers - alone[:, None] - alone[None, :] + joint[-1, -1]
    against = area[-1] - area[:-1]
    several = len(against) > 1
    return ModelComparison(
        readers=_mean(area[:-1], readers, "random" if several else "fixed", level)[0],
        model=float(area[-1]),
        random=_against_zero(against, paired, "random", level) if several else None,
        fixed=_against_zero(against, paired, "fixed", level),
    )


def mean_area(
    rating: Floats,
    label: Bools,
    *,
    covariance: Covariance = "jackknife",
    level: float = LEVEL,
    readers: Kind = "random",
) -> Figure:
    """The mean area of readers from their `rating` (r, n) with one modality; raises InputError as above."""
    area, joint = area_covariance(rating, label, covariance)
    return _mean(area, joint, readers, level)[0]


def obuchowski_rockette(
    area: Floats, covariance: Floats, names: Sequence[str] | None = None, *, level: float = LEVEL
) -> ModalityComparison:
    """The analysis from `area` (t, r) and the `covariance` of its errors (t, r, t, r).

    Raises InputError for fewer than two modalities or a wrong number of `names`.
    """
    modalities, readers = area.shape
    if modalities < 2:
        raise InputError("modalities: one alone cannot be compared; give at least two")
    names = [str(index + 1) for index in range(modalities)] if names is None else list(names)
    if len(set(names)) != modalities:
        raise InputError(f"modalities: {len(set(names))} different names for {modalities}; name each")
    squares = _squares(area, covariance)
    kinds: tuple[Kind, ...] = ("random", "fixed") if readers > 1 else ("fixed",)
    found = {kind: _inference(area, covariance, squares, names, kind, level) for kind in kinds}
    return ModalityComparison(
        area,
        squares.variance,
        squares.same_reader,
        squares.same_modality,
        squares.different,
        (squares.reader - squares.interaction) / modalities - squares.same_reader + squares.different,
        squares.interaction - squares.variance + squares.same_reader + squares.excess,
        found.get("random"),
        found["fixed"],
    )


def area_covariance(rating: Floats, label: Bools, covariance: Covariance = "jackknife") -> tuple[Floats, Floats]:
    """(areas (k,), their covariance (k, k) over cases) of `rating` (k, n) for cases with `label` (n,).

    Raises InputError for an unknown `covariance`, a rating that is no number, or too few cases of a class.
    """
    if rating.ndim != 2 or rating.shape[1] != len(label):
        raise InputError(f"rating: has shape {rating.shape}; give one row a reader and {len(label)} cases in each")
    if not np.isfinite(rating).all():
        raise InputError("rating: some are missing or no numbers; every reader must have read every case")
    sick, healthy = int(label.sum()), int((~label).sum())
    if min(sick, healthy) < TOO_FEW:
        raise InputError(
            f"label: {sick} cases with the condition and {healthy} without; at least {TOO_FEW} of each are needed"
        )
    if covariance == "delong":
        return delong_covariance(rating, label, np.arange(len(label)))
    if covariance != "jackknife":
        raise InputError(f"covariance: {covariance!r} is not known; choose jackknife or delong")
    return _jackknife(rating, label)


def _jackknife(rating: Floats, label: Bools) -> tuple[Floats, Floats]:
    areas, components = zip(*(placements(row, label) for row in rating), strict=True)
    area, parts = np.array(areas)[:, None], np.array(components)
    # The area is the mean of a class's components, so that leaving out one case of it needs no new area.
    others = np.where(label, label.sum(), (~label).sum()) - 1
    left = area + (area - parts) / others
    away = left - left.mean(axis=1, keepdims=True)
    return area[:, 0], away @ away.T * (len(label) - 1) / len(label)


def _squares(area: Floats, covariance: Floats) -> _Squares:
    modalities, readers = area.shape
    by_modality, by_reader = area.mean(axis=1), area.mean(axis=0)
    rest = area - by_modality[:, None] - by_reader[None, :] + area.mean()
    one_modality = np.eye(modalities, dtype=bool)[:, None, :, None]
    one_reader = np.eye(readers, dtype=bool)[None, :, None, :]

    def average(pairs: Bools) -> float:
        pairs = np.broadcast_to(pairs, covariance.shape)
        return float(covariance[pairs].mean()) if pairs.any() else 0.0

    return _Squares(
        modality=float(readers * by_modality.var(ddof=1)),
        reader=float(modalities * by_reader.var(ddof=1)) if readers > 1 else 0.0,
        interaction=float((rest**2).sum() / max((modalities - 1) * (readers - 1), 1)),
        variance=average(one_modality & one_reader),
        same_reader=average(~one_modality & one_reader),
        same_modality=average(one_modality & ~one_reader),
        different=average(~one_modality & ~one_reader),
    )


def _inference(
    area: Floats, covariance: Floats, squares: _Squares, names: Sequence[str], kind: Kind, level: float
) -> Inference:
    modalities, readers = area.shape
    free = modalities - 1
    if kind == "random":
        error = squares.interaction + readers * squares.excess
        degrees = _degrees(error, squares.interaction, free * (readers - 1))
        statistic = _ratio(squares.modality, error)
    else:
        error = max(squares.variance - squares.same_reader + (readers - 1) * squares.excess, 0.0)
        degrees = None
        statistic = _ratio(free * squares.modality, error)
    mean = area.mean(axis=1)
    spread = float(np.sqrt(2 * error / readers))
    differences = tuple(
        _difference((names[first], names[second]), float(mean[first] - mean[second]), spread, degrees, kind, level)
        for first, second in combinations(range(modalities), 2)
    )
    areas = {name: _mean(area[i], covariance[i, :, i, :], kind, level)[0] for i, name in enumerate(names)}
    # A chi-square on its degrees of freedom is an F with infinitely many below.
    p = _p(statistic if kind == "random" else statistic / free, free, degrees)
    return Inference(kind, statistic, free, degrees, p, areas, differences)


def _mean(values: Floats, covariance: Floats, kind: Kind, level: float) -> tuple[Figure, float, float | None]:
    """The mean of readers' `values` (r,) with its interval, standard error and degrees of freedom."""
    readers = len(values)
    if kind == "random" and readers < 2:
        raise InputError("readers: one alone says nothing about others; give at least two")
    others = ~np.eye(readers, dtype=bool)
    shared = max(float(covariance[others].mean()), 0.0) if readers > 1 else 0.0
    degrees = None
    if kind == "random":
        square = float(values.var(ddof=1))
        error = square + readers * shared
        degrees = _degrees(error, square, readers - 1)
    else:
        error = float(np.diag(covariance).mean()) + (readers - 1) * shared
    spread = float(np.sqrt(max(error, 0.0) / readers))
    return _figure(float(values.mean()), spread, degrees, kind, level), spread, degrees


def _against_zero(values: Floats, covariance: Floats, kind: Kind, level: float) -> Difference:
    _, spread, degrees = _mean(values, covariance, kind, level)
    return _difference(("model", "readers"), float(values.mean()), spread, degrees, kind, level)


def _difference(
    names: tuple[str, str], value: float, spread: float, degrees: float | None, kind: Kind, level: float
) -> Difference:
    statistic = float(np.copysign(np.sqrt(_ratio(value**2, spread**2)), value))
    figure = _figure(value, spread, degrees, kind, level)
    return Difference(*names, figure, statistic, degrees, _p(statistic**2, 1, degrees))


def _figure(value: float, spread: float, degrees: float | None, kind: Kind, level: float) -> Figure:
    law = stats.norm if degrees is None else stats.t(degrees)
    reach = float(law.ppf((1 + level) / 2)) * spread
    told = "normal" if degrees is None else f"t with {degrees:.1f} degrees of freedom"
    if spread**2 < _ROUNDING:
        told = "nothing varies"
    return Figure(value, value - reach, value + reach, f"Obuchowski-Rockette, {_TOLD[kind]}, {told}, {level:.0%}")


def _degrees(error: float, square: float, free: int) -> float | None:
    """Degrees of freedom of `error`, of which only `square` varies with readers; None for infinitely many."""
    return None if square < _ROUNDING else float(error**2 / (square**2 / free))


def _ratio(part: float, whole: float) -> float:
    if whole < _ROUNDING:
        return 0.0 if part < _ROUNDING else float("inf")
    return part / whole


def _p(statistic: float, numerator: int, degrees: float | None) -> float:
    """How often F on `numerator` and `degrees` degrees of freedom is at least `statistic`; None for infinitely many."""
    if degrees is None:
        return float(stats.chi2.sf(statistic * numerator, numerator))
    return float(stats.f.sf(statistic, numerator, degrees))
