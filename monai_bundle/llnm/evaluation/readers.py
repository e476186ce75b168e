"""A reader study: how well readers did, alone, on average and beside a model, and how far they agree.

Comes in: a long table, one row a reader's reading of a case. Goes out: `ReaderStudy`. Every reader must have read every
case; what cannot be used is set aside by name or ends in an error. One reader's or the model's shares have Wilson's
intervals, areas DeLong's. Averages over readers, and the model less them, have a two-way bootstrap: readers and cases
are drawn independently, so that it answers for other readers and other cases. What is particular to one reader and one
case counts up to three times in it (Owen, Annals of Applied Statistics 2007), which errs on the wide side; fewer than
five readers say too little of others, and it is too narrow.
Agreement has a bootstrap over cases. Where ratings have more than two values, areas are also analysed after Obuchowski
and Rockette (`llnm.evaluation.mrmc`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.delong import delong_interval
from llnm.evaluation.discrimination import auc, confusion
from llnm.evaluation.intervals import LEVEL, RESAMPLES, Figure, figure_of
from llnm.evaluation.mrmc import Covariance, ModelComparison, compare_with_model, mean_area
from llnm.evaluation.scores import (
    FEW,
    MOST_EXCLUDED,
    TOO_FEW,
    Bools,
    Exclusion,
    Floats,
    Scores,
    name_exclusions,
    read_labels,
    read_table,
)

# Readers seldom read every case; but where more cases than this share must go, it is no longer the study planned.
MOST_INCOMPLETE = 0.2
ALL, FEW_READERS = "all", 5
_CONTRADICTIONS = ((["case"], "label"), (["case"], "model"), (["reader"], "group"), (["reader", "case"], "rating"))
_SHARES = {"sensitivity": ("tp", "fn"), "specificity": ("tn", "fp"), "accuracy": ("tp", "tn", "fp", "fn")}


@dataclass(frozen=True)
class Columns:
    """The names of the table's columns; `group` of the reader and `model`'s score of the case may be missing."""

    case: str
    reader: str
    rating: str
    label: str
    group: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Readings:
    """`rating` (r, n) of readers for cases, higher where the condition is suspected, and `label` (n,) of the cases.

    `group`: each reader's, "" for none. `model` (n,): its scores for the same cases.
    """

    rating: Floats
    label: Bools
    readers: tuple[str, ...]
    group: tuple[str, ...]
    model: Floats | None = None
    excluded: tuple[Exclusion, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def graded(self) -> bool:
        """Whether ratings have more than two values, so that they have an area under a curve."""
        return len(np.unique(self.rating)) > 2

    @property
    def groups(self) -> dict[str, npt.NDArray[np.int64]]:
        """Which readers belong to each group; all of them to the first."""
        own = np.array(self.group)
        named = sorted({name for name in self.group if name})
        return {ALL: np.arange(len(own)), **{name: np.flatnonzero(own == name) for name in named}}


@dataclass(frozen=True)
class Reader:
    """One reader's, or the model's, counts and figures."""

    name: str
    group: str
    counts: dict[str, int]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class ReaderStudy:
    """Everything measured; the keys of dictionaries are `all` and the readers' groups, then the figures' names.

    `differences`: the model less the readers' average. `areas`: the mean area after Obuchowski and Rockette, and
    `comparisons` the model's against it; both are empty where ratings are decisions. `agreement`: kappas of decisions.
    """

    threshold: float
    readers: tuple[Reader, ...]
    averages: dict[str, dict[str, Figure]]
    agreement: dict[str, dict[str, Figure]]
    areas: dict[str, Figure]
    model: Reader | None
    differences: dict[str, dict[str, Figure]]
    comparisons: dict[str, ModelComparison]


def read_readings(path: Path, columns: Columns, *, positive: str | None = None) -> Readings:
    """Readings from the CSV or Parquet table at `path`; `positive`: the label of the condition, if not 1.

    Raises InputError for a table that cannot be read or used, and says what to change.
    """
    table = read_table(path, [name for name in vars(columns).values() if name is not None])
    return check_readings(table, columns, positive=positive, source=path.name)


def check_readings(
    table: pd.DataFrame, columns: Columns, *, positive: str | None = None, source: str = "readings"
) -> Readings:
    """The same from a table; `source` stands in messages."""
    missing = [name for name in vars(columns).values() if name is not None and name not in table]
    if missing:
        raise InputError(f"{source}: has no column {missing[0]!r}; its columns are {', '.join(map(str, table))}")
    if table.empty:
        raise InputError(f"{source}: has no rows; give one row a reading")
    table = table.reset_index(drop=True)
    rows = _rows(table, columns, positive, source)
    given = table[columns.rating].notna().to_numpy()
    causes = {f"{getattr(columns, name)}: empty": rows[name].isna().to_numpy() for name in ("case", "reader", "label")}
    causes[f"{columns.rating}: empty"] = ~given
    causes[f"{columns.rating}: no number"] = given & ~np.isfinite(rows["rating"].to_numpy())
    usable = ~np.any(list(causes.values()), axis=0)
    _check_contradictions(rows[usable], columns, source)
    again = np.zeros(len(rows), dtype=bool)
    again[usable] = rows[usable].duplicated(["reader", "case"])
    causes["the same reading again"] = again
    usable &= ~again
    excluded = name_exclusions(causes)
    if (~usable).mean() > MOST_EXCLUDED:
        named = "; ".join(map(str, excluded))
        raise InputError(f"{source}: {(~usable).mean():.0%} of the rows cannot be used ({named}); mend the table")
    return _crossed(rows, usable, excluded, columns, source)


def measure_readers(
    readings: Readings,
    threshold: float | None = None,
    model_threshold: float = 0.5,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    covariance: Covariance = "jackknife",
) -> ReaderStudy:
    """The whole study. A rating at or above `threshold` calls a case positive (0.5 for ratings of 0 to 1).

    A group of one reader has averages without intervals. Raises InputError for a threshold that is missing or does not
    part the ratings.
    """
    threshold = _threshold(readings.rating, threshold)
    rating, label, score, groups = readings.rating, readings.label, readings.model, readings.groups
    rng = np.random.default_rng(seed)
    # How often each case counts: once for the value itself, which comes first, then in each draw.
    weight = np.vstack([np.ones(len(label)), _draw(len(label), resamples, rng)])
    averages = _averages(_measures(rating, label, threshold, weight, readings.graded), groups, rng)
    members = zip(readings.readers, readings.group, rating, strict=True)
    several = {name: rating[chosen] for name, chosen in groups.items() if len(chosen) > 1}
    agreement = {name: _agreement(rows >= threshold, weight) for name, rows in several.items()}
    graded = several if readings.graded else {}
    model, differences, comparisons = None, {}, {}
    if score is None:
        areas = {name: mean_area(rows, label, covariance=covariance, level=level) for name, rows in graded.items()}
    else:
        model = _reader("model", "", score, label, model_threshold, level, True)
        at = _measures(score[None], label, model_threshold, weight, readings.graded)
        differences = {name: {key: at[key][:, 0] - row[key] for key in row} for name, row in averages.items()}
        for name, rows in graded.items():
            comparisons[name] = compare_with_model(rows, score, label, covariance=covariance, level=level)
        areas = {name: comparison.readers for name, comparison in comparisons.items()}
    return ReaderStudy(
        threshold=threshold,
        readers=tuple(_reader(*member, label, threshold, level, readings.graded) for member in members),
        averages=_figures(averages, "readers and cases", level),
        agreement=_figures(agreement, "cases", level),
        areas=areas,
        model=model,
        differences=_figures(differences, "readers and cases", level),
        comparisons=comparisons,
    )


def fleiss_kappa(counts: Floats, weight: Floats | None = None) -> Floats:
    """Fleiss' kappa (Psychological Bulletin 1971) of `counts` (n, q): how many readers put a case into each category.

    `weight` (b, n): how often each case counts, a bootstrap's draws; gives (b,). NaN where all readings are the same.
    """
    weight = np.ones((1, len(counts))) if weight is None else weight
    readers = counts[0].sum()
    agreeing = ((counts**2).sum(axis=1) - readers) / (readers * (readers - 1))
    cases = weight.sum(axis=1)
    chance = ((weight @ counts / (cases * readers)[:, None]) ** 2).sum(axis=1)
    return _kappa(weight @ agreeing / cases, chance)


def mean_cohen_kappa(decision: Bools, weight: Floats | None = None) -> Floats:
    """Cohen's kappa of the readers' `decision` (r, n), averaged over all pairs of readers; `weight` as above.

    A pair of whom both always say the same and nothing else has no kappa and is left out.
    """
    weight = np.ones((1, decision.shape[1])) if weight is None else weight
    called = decision.astype(float)
    first, second = np.triu_indices(len(called), 1)
    share = weight @ called.T / weight.sum(axis=1, keepdims=True)
    kappas = np.full(len(weight), np.nan)
    for index, (row, own) in enumerate(zip(weight, share, strict=True)):
        both = ((called * row) @ called.T / row.sum())[first, second]
        one, other = own[first], own[second]
        pairs = _kappa(1 - one - other + 2 * both, one * other + (1 - one) * (1 - other))
        if not np.isnan(pairs).all():
            kappas[index] = np.nanmean(pairs)
    return kappas


def _rows(table: pd.DataFrame, columns: Columns, positive: str | None, source: str) -> pd.DataFrame:
    """The table with columns of our own names, text without blanks around it and numbers as numbers."""

    def text(name: str) -> pd.Series:
        return table[name].astype("string").str.strip().mask(lambda cells: cells == "")

    def numbers(name: str) -> Floats:
        return pd.to_numeric(table[name], errors="coerce").to_numpy(float, na_value=np.nan)

    rows = pd.DataFrame({"case": text(columns.case), "reader": text(columns.reader)})
    rows["rating"] = numbers(columns.rating)
    rows["label"] = read_labels(table[columns.label], positive, f"{source}: {columns.label}")
    rows["group"] = pd.NA if columns.group is None else text(columns.group)
    rows["model"] = np.nan if columns.model is None else numbers(columns.model)
    return rows


def _check_contradictions(rows: pd.DataFrame, columns: Columns, source: str) -> None:
    for keys, value in _CONTRADICTIONS:
        several = rows.groupby(keys)[value].nunique()
        if (several > 1).any():
            found = several.index[several > 1][0]
            names = found if isinstance(found, tuple) else (found,)
            who = ", ".join(f"{getattr(columns, key)} {name!r}" for key, name in zip(keys, names, strict=True))
            raise InputError(f"{source}: {getattr(columns, value)}: {who} has different ones; leave one of them")
    if (rows["group"] == ALL).any():
        raise InputError(f"{source}: {columns.group}: {ALL!r} stands for all readers; name the group differently")


def _crossed(
    rows: pd.DataFrame, usable: Bools, excluded: tuple[Exclusion, ...], columns: Columns, source: str
) -> Readings:
    """The readings of the cases that every reader has read."""
    used = rows[usable]
    # Sorted, so that the same readings give the same draws whatever the order of their rows.
    reader, readers = pd.factorize(used["reader"], sort=True)
    case, cases = pd.factorize(used["case"], sort=True)
    if len(readers) < 2:
        raise InputError(f"{source}: {columns.reader}: has {len(readers)} reader; a study needs at least two")
    rating = np.full((len(readers), len(cases)), np.nan)
    rating[reader, case] = used["rating"]
    complete = ~np.isnan(rating).any(axis=0)
    if (~complete).mean() > MOST_INCOMPLETE:
        lacking = np.isnan(rating).sum(axis=1)
        raise InputError(
            f"{source}: {(~complete).sum()} of {len(cases)} cases were not read by every reader; "
            f"{readers[lacking.argmax()]!r} lacks {lacking.max()}, the most; leave readers out or complete the readings"
        )
    unread = np.zeros(len(rows), dtype=bool)
    unread[usable] = ~complete[case]
    excluded = (*excluded, *name_exclusions({f"{columns.case}: not read by every reader": unread}))
    label = used.groupby(case)["label"].first().to_numpy()[complete] > 0
    warnings = _check_classes(label, f"{source}: {columns.label}")
    group = tuple("" if pd.isna(name) else str(name) for name in used.groupby(reader)["group"].first())
    warnings += _remarks_on_groups(group, columns)
    model = None
    if columns.model is not None:
        model = used.groupby(case)["model"].first().to_numpy(float)[complete]
        lost = np.flatnonzero(~((model >= 0) & (model <= 1)))
        if len(lost):
            raise InputError(
                f"{source}: {columns.model}: {len(lost)} cases have no score of 0 to 1, the first one {columns.case} "
                f"{cases[complete][lost[0]]!r}; give every case one, as the model is measured on the readers' cases"
            )
    return Readings(rating[:, complete], label, tuple(map(str, readers)), group, model, excluded, tuple(warnings))


def _check_classes(label: Bools, where: str) -> list[str]:
    sick, healthy = int(label.sum()), int((~label).sum())
    told = f"{sick} cases with the condition and {healthy} without"
    if min(sick, healthy) < TOO_FEW:
        raise InputError(f"{where}: {told}; at least {TOO_FEW} of each are needed")
    return [f"only {told}: intervals are rough"] if min(sick, healthy) < FEW else []


def _remarks_on_groups(group: tuple[str, ...], columns: Columns) -> list[str]:
    sizes = {ALL: len(group), **{name: group.count(name) for name in group if name}}
    small = {name: size for name, size in sizes.items() if size < FEW_READERS}
    few = [f"{name}: only {size} readers: its intervals are too narrow" for name, size in small.items()]
    lacking = [f"{columns.group}: {group.count('')} readers have none and are in no group's average"]
    return few + lacking if columns.group and "" in group else few


def _threshold(rating: Floats, threshold: float | None) -> float:
    low, high = rating.min(), rating.max()
    span = f"ratings go from {low:g} to {high:g}"
    if threshold is None and (low < 0 or high > 1):
        raise InputError(f"threshold: {span}; say from which one on a case is called positive")
    if threshold is None:
        return 0.5
    if not low < threshold <= high:
        raise InputError(f"threshold: {threshold:g} does not part the ratings; {span}, give one between")
    return threshold


def _reader(
    name: str, group: str, rating: Floats, label: Bools, threshold: float, level: float, graded: bool
) -> Reader:
    scores = Scores(rating, label, np.arange(len(label)))
    counts = {key: int(value) for key, value in confusion(count(scores), threshold).items()}
    figures = {}
    for measure, parts in _SHARES.items():
        whole = sum(counts[part] for part in parts)
        right = sum(counts[part] for part in parts if part in ("tp", "tn"))
        low, high = stats.binomtest(right, whole).proportion_ci(level, method="wilson")
        figures[measure] = Figure(right / whole, float(low), float(high), f"Wilson, {level:.0%}")
    if graded:
        figures["auc"] = delong_interval(scores, level)
    return Reader(name, group, counts, figures)


def _draw(number: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each of `number` is drawn with replacement, (resamples, number)."""
    return rng.multinomial(number, np.full(number, 1 / number), size=resamples).astype(float)


def _measures(rating: Floats, label: Bools, threshold: float, weight: Floats, graded: bool) -> dict[str, Floats]:
    """Each reader's figures for each row of `weight`, (1 + b, r)."""
    right = ((rating >= threshold) == label).astype(float).T
    groups = {"sensitivity": label, "specificity": ~label, "accuracy": np.ones(len(label), dtype=bool)}
    # A draw in which a class is missing has no share of it.
    with np.errstate(invalid="ignore"):
        found = {
            key: weight[:, on] @ right[on] / weight[:, on].sum(axis=1, keepdims=True) for key, on in groups.items()
        }
    return {**found, "auc": np.stack([_area(row, label, weight) for row in rating], axis=1)} if graded else found


def _averages(
    measures: dict[str, Floats], groups: dict[str, npt.NDArray[np.int64]], rng: np.random.Generator
) -> dict[str, dict[str, Floats]]:
    """Each group's average of each measure, (1 + b,), readers being drawn for the draws, which one alone has not."""
    averages = {}
    for name, chosen in groups.items():
        readers = len(chosen)
        share = _draw(readers, len(measures["accuracy"]), rng) / readers
        share[0] = 1 / readers
        if readers == 1:
            share[1:] = np.nan
        averages[name] = {key: np.einsum("br,br->b", values[:, chosen], share) for key, values in measures.items()}
    return averages


def _figures(found: dict[str, dict[str, Floats]], drawn: str, level: float) -> dict[str, dict[str, Figure]]:
    def figure(values: Floats) -> Figure:
        told = f"percentile bootstrap over {drawn}, {len(values) - 1} draws, {level:.0%}"
        return figure_of(float(values[0]), values[1:], told, level)

    return {name: {key: figure(values) for key, values in row.items()} for name, row in found.items()}


def _area(rating: Floats, label: Bools, weight: Floats) -> Floats:
    values, code = np.unique(rating, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(len(values)))
    positive, negative = (np.add.reduceat((weight * cases)[:, order], starts, axis=1) for cases in (label, ~label))
    return auc(Cells(values, positive, negative, np.zeros((len(weight), 2))))


def _agreement(decision: Bools, weight: Floats) -> dict[str, Floats]:
    counts = np.stack([decision.sum(axis=0), (~decision).sum(axis=0)], axis=1).astype(float)
    return {"fleiss_kappa": fleiss_kappa(counts, weight), "mean_cohen_kappa": mean_cohen_kappa(decision, weight)}


def _kappa(agreeing: Floats, chance: Floats) -> Floats:
    return np.divide(agreeing - chance, 1 - chance, out=np.full(chance.shape, np.nan), where=chance < 1 - 1e-12)
