"""Whether a new site's patients, their scores and what the scores mean differ from those a model was checked on.

Comes in: a reference table and a new one: scores and, if known, labels and inputs of the model. Goes out: `Drift`, how
far each column moved, what became of the calibration, what to do, and a verdict by this rule:

- A column moved by its population stability index (PSI): below 0.1 it did not, from 0.1 on it is worth a `watch`, from
  0.25 on an `alarm` (the convention of credit scoring: Siddiqi, Credit Risk Scorecards, 2006). A PSI of few patients is
  large by chance alone, about (bins - 1) x (1/n + 1/m) without any drift (Yurdakul and Naranjo, J Risk Model Validation
  2020): it counts only above what random splits of all patients together exceed in 5 % at most, over all columns.
- For an alarm a test must say so too: Kolmogorov-Smirnov for numbers, chi-squared for categories, Fisher's for missing
  values, with Holm's correction over all of them. A category that the reference never had is a `watch`.
- Calibration in the large, observed over expected patients with the condition: an `alarm` where the 95 % interval of
  its change from the reference (its own, if that has no labels) excludes 1; a `watch` where its own or the slope's do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.calibration import calibration_line
from llnm.evaluation.delong import delong_interval
from llnm.evaluation.intervals import LEVEL, Figure
from llnm.evaluation.scores import FEW, MOST_EXCLUDED, PATIENT_COLUMN, Exclusion, Floats, Scores, check_scores

WATCH, ALARM, SIGNIFICANT = 0.1, 0.25, 0.05
BINS, DRAWS = 10, 2000
# Numbers of no more different values are grades, or yes and no; texts of more are no categories but names or dates.
MOST_GRADES, MOST_CATEGORIES = 10, 50
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
Verdict = Literal["none", "watch", "alarm"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Kind = Literal["numbers", "categories"]
Counts = npt.NDArray[np.int64]
Names = tuple[str, str, str, str]
Measured = tuple[int, dict[str, Figure]]


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column moved.

    `psi_limit`: what chance exceeds in 5 % (see above). `p` is of the values that are there, by `test`, `missing_p` of
    the share of those that are not, both corrected. `difference`: the standardised mean difference, new minus
    reference, or that in share of `difference_of`, the category that moved most. `bins`: name, rows before and now.
    """

    column: str
    kind: Kind
    verdict: Verdict
    psi: float
    psi_limit: float
    test: str
    p: float | None
    difference: Figure
    difference_of: str | None
    missing_reference: float
    missing_new: float
    missing_p: float | None
    new_categories: tuple[str, ...]
    vanished_categories: tuple[str, ...]
    bins: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class CalibrationDrift:
    """What scores say of labels, by the names in `_labelled`; `change`: observed/expected, `new` by `reference`."""

    verdict: Verdict
    patients: int
    new: dict[str, Figure]
    reference: dict[str, Figure] | None
    change: Figure


@dataclass(frozen=True)
class Drift:
    """What was found, the worst of its verdicts, and what to do about it; `notes` say what was not used, and why."""

    verdict: Verdict
    columns: tuple[ColumnDrift, ...]
    calibration: CalibrationDrift | None
    suggestions: tuple[str, ...]
    notes: tuple[str, ...]


class _Column(NamedTuple):
    """One column of both tables: numbers (NaN is missing) or texts (NA is missing)."""

    name: str
    kind: Kind
    reference: pd.Series
    new: pd.Series


def compare_sites(
    reference: pd.DataFrame,
    new: pd.DataFrame,
    score: str,
    inputs: Sequence[str] = (),
    *,
    label: str | None = None,
    positive: str | None = None,
    patient: str | None = None,
    names: tuple[str, str] = ("reference", "new"),
) -> Drift:
    """How `new` differs from `reference` in the columns `score` and `inputs`, and in what the score says of `label`.

    `label` must be in `new` and may be in `reference`; `positive` and `patient` as in `read_scores`. Of a patient with
    several rows the first is compared, while calibration is measured over all, clustered. `names` of the tables stand
    in messages. Raises InputError for a column that is missing or cannot be used.
    """
    notes: list[str] = []
    needed = [score, *inputs, *([patient] if patient else [])]
    before = _usable(reference, score, needed, names[0], notes)
    after = _usable(new, score, [*needed, *([label] if label else [])], names[1], notes)
    patient = patient or PATIENT_COLUMN
    firsts = [_first_rows(table, patient, where, notes) for table, where in zip((before, after), names, strict=True)]
    wanted = dict.fromkeys((score, *inputs))
    columns = [_column(name, [table[name] for table in firsts], name == score, names, notes) for name in wanted]
    found = _judged([_moved(column, len(columns), np.random.default_rng(0)) for column in columns])
    calibration: CalibrationDrift | None = None
    if label is not None:
        ours = _labelled(after, (names[1], score, label, patient), positive, notes)
        known = label in before
        theirs = _labelled(before, (names[0], score, label, patient), positive, notes) if known else None
        calibration = _calibration_drift(ours, theirs)
    verdicts = [part.verdict for part in (*found, calibration) if part is not None]
    command = f"llnm calibrate {names[1]} --label {label or 'COLUMN'} --score {score} --out site.json"
    advice = [_about_scores(found[0], calibration, command), *map(_about_input, found[1:])]
    return Drift(
        max(verdicts, key=VERDICTS.index), found, calibration, tuple(line for line in advice if line), tuple(notes)
    )


def stability_index(reference: npt.ArrayLike, new: npt.ArrayLike) -> Floats:
    """Population stability index of counts (..., bins): sum of (q - p) ln(q / p) over the shares p and q of the bins.

    A bin that is empty in one table holds half a row (the logarithm of 0 is infinite), one empty in both is left out.
    """
    counts = [np.asarray(table, dtype=float) for table in (reference, new)]
    held = (counts[0] + counts[1]) > 0
    p, q = (np.maximum(table, 0.5) / table.sum(axis=-1, keepdims=True) for table in counts)
    return np.asarray(np.where(held, (q - p) * np.log(q / p), 0.0).sum(axis=-1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) correction of several p, in their order."""
    corrected, least = [1.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = least
    return corrected


def _usable(table: pd.DataFrame, score: str, columns: Sequence[str], where: str, notes: list[str]) -> pd.DataFrame:
    """The rows whose score is a probability or is missing, as numbers; what else there is goes to `notes`."""
    for column in columns:
        if column not in table:
            raise InputError(f"{where}: has no column {column!r}; its columns are {', '.join(map(str, table))}")
    if table.empty:
        raise InputError(f"{where}: has no rows; give one row a patient")
    values = pd.to_numeric(table[score], errors="coerce").to_numpy(float, na_value=np.nan)
    wrong = table[score].notna().to_numpy() & ~((values >= 0) & (values <= 1))
    reason = f"{where}: {score}: no probability of 0 to 1"
    if wrong.mean() > MOST_EXCLUDED:
        raise InputError(f"{reason} in {wrong.mean():.0%} of the rows; mend the table")
    if wrong.any():
        notes.append(str(Exclusion(reason, int(wrong.sum()), tuple(int(row) + 2 for row in np.flatnonzero(wrong)[:5]))))
    return table.assign(**{score: values})[~wrong].reset_index(drop=True)


def _first_rows(table: pd.DataFrame, patient: str, where: str, notes: list[str]) -> pd.DataFrame:
    """The first row of each patient, since rows of one patient are not independent."""
    if patient in table:
        further = (table[patient].duplicated() & table[patient].notna()).to_numpy(bool)
        if further.any():
            notes.append(f"{where}: {patient}: further rows of the same patients are not compared: {further.sum()}")
        table = table[~further]
    if len(table) < FEW:
        notes.append(f"{where}: only {len(table)} patients: no more than a large drift can be seen")
    return table


def _column(name: str, pair: Sequence[pd.Series], is_score: bool, where: tuple[str, str], notes: list[str]) -> _Column:
    """What the column holds, as its reference tells: numbers or categories."""
    texts = [cells.astype("string").str.strip() for cells in pair]
    texts = [text.mask(text == "") for text in texts]
    numbers = [pd.to_numeric(text, errors="coerce").astype(float).where(np.isfinite) for text in texts]
    odd = [int((text.notna() & values.isna()).sum()) for text, values in zip(texts, numbers, strict=True)]
    if texts[0].isna().all():
        raise InputError(f"{where[0]}: {name}: is empty; choose a column with values")
    numeric = is_score or odd[0] <= MOST_EXCLUDED * texts[0].notna().sum()
    if is_score or (numeric and numbers[0].nunique() > MOST_GRADES):
        for cells, table in zip(odd, where, strict=True):
            if cells:
                notes.append(f"{table}: {name}: cells that are no number count as missing: {cells}")
        return _Column(name, "numbers", numbers[0], numbers[1])
    if numeric:  # 1, 1.0 and 01 are the same grade
        grades = [values.map("{:.10g}".format).astype("string") for values in numbers]
        texts = [text.where(values.isna(), grade) for text, values, grade in zip(texts, numbers, grades, strict=True)]
    if (different := texts[0].nunique()) > MOST_CATEGORIES:
        raise InputError(
            f"{where[0]}: {name}: has {different} different texts; give at most {MOST_CATEGORIES}, or numbers"
        )
    return _Column(name, "categories", texts[0], texts[1])


def _moved(column: _Column, columns: int, rng: np.random.Generator) -> ColumnDrift:
    """The column's figures, with p still uncorrected and without a verdict."""
    names, there = _binned(column)
    known, missing = there.sum(axis=1), np.array([values.isna().sum() for values in (column.reference, column.new)])
    counts = np.column_stack([there, missing]) if missing.any() else there
    # All rows of both dealt out at random, so often that some splits lie beyond the limit.
    drawn = rng.multivariate_hypergeometric(counts.sum(axis=0), counts[0].sum(), size=max(DRAWS, 100 * columns))
    chance = stability_index(drawn, counts.sum(axis=0) - drawn)
    test, p = _test(column, there, rng)
    graded = column.kind == "categories"
    difference, of = _share_difference(names, there) if graded else (_mean_difference(column), None)
    absent = [tuple(name for name, rows in zip(names, table, strict=True) if graded and not rows) for table in there]
    return ColumnDrift(
        column=column.name,
        kind=column.kind,
        verdict="none",
        psi=float(stability_index(counts[0], counts[1])),
        psi_limit=float(np.quantile(chance, 1 - SIGNIFICANT / columns)),
        test=test,
        p=p,
        difference=difference,
        difference_of=of,
        missing_reference=float(missing[0] / counts[0].sum()),
        missing_new=float(missing[1] / counts[1].sum()),
        missing_p=float(stats.fisher_exact(np.array([missing, known])).pvalue) if missing.any() else None,
        new_categories=absent[0],
        vanished_categories=absent[1],
        bins=tuple((name, int(a), int(b)) for name, (a, b) in zip([*names, "missing"], counts.T, strict=False)),
    )


def _binned(column: _Column) -> tuple[list[str], Counts]:
    """Names and counts (2, bins) of what is there: categories, or the reference's ten bins of equal numbers."""
    if column.kind == "categories":
        names = sorted({*column.reference.dropna(), *column.new.dropna()})
        codes = [pd.Categorical(values.dropna(), names).codes for values in (column.reference, column.new)]
    else:
        known = [values.dropna().to_numpy() for values in (column.reference, column.new)]
        # Above an edge at the reference's largest value would be nobody.
        most = max(known[0][known[0] < known[0].max()], default=known[0].max())
        edges = np.unique(np.minimum(np.quantile(known[0], np.arange(1, BINS) / BINS), most))
        ends = [f"{edge:.4g}" for edge in edges]
        names = [f"up to {ends[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(ends)), f"above {ends[-1]}"]
        codes = [np.searchsorted(edges, values, side="left") for values in known]
    return names, np.array([np.bincount(code, minlength=len(names)) for code in codes])


def _test(column: _Column, counts: Counts, rng: np.random.Generator) -> tuple[str, float | None]:
    """Name and p of the test of the values that are there; no p where one table has none."""
    test = "Kolmogorov-Smirnov" if column.kind == "numbers" else "chi-squared"
    if counts.sum(axis=1).min() == 0:
        return test, None
    if column.kind == "numbers":
        return test, float(stats.ks_2samp(column.reference.dropna(), column.new.dropna(), method="asymp").pvalue)
    expected = stats.contingency.expected_freq(counts)
    if expected.min() >= 5:
        return test, float(stats.chi2_contingency(counts, correction=False).pvalue)
    # The distribution of chi-squared is no guide where so few are expected.
    drawn = rng.multivariate_hypergeometric(counts.sum(axis=0), counts[0].sum(), size=DRAWS)
    found, chance = ((rows - expected[0]) ** 2 @ (1 / expected).sum(axis=0) for rows in (counts[0], drawn))
    p = (1 + np.sum(chance >= found * (1 - 1e-9))) / (1 + DRAWS)
    return f"{test}, p from {DRAWS} random splits", float(p)


def _mean_difference(column: _Column) -> Figure:
    """Standardised mean difference with its interval (Hedges and Olkin 1985)."""
    first, second = column.reference.dropna(), column.new.dropna()
    n, m = len(first), len(second)
    spread = float(np.sqrt(((n - 1) * first.var() + (m - 1) * second.var()) / max(1, n + m - 2)))
    if not spread > 0:  # NaN where one table has fewer than two
        return Figure(None)
    d = float(second.mean() - first.mean()) / spread
    reach = Z * float(np.sqrt(1 / n + 1 / m + d**2 / (2 * (n + m))))
    return Figure(d, d - reach, d + reach, f"standardised mean difference, {LEVEL:.0%}")


def _share_difference(names: Sequence[str], counts: Counts) -> tuple[Figure, str | None]:
    """The largest difference in share with its interval (Newcombe 1998), and the category's name."""
    n, m = counts.sum(axis=1)
    if min(n, m) == 0:
        return Figure(None), None
    at = int(np.argmax(np.abs(counts[1] / m - counts[0] / n)))
    (p, p_low, p_high), (q, q_low, q_high) = (_share(int(counts[i, at]), int(size)) for i, size in enumerate((n, m)))
    low, high = q - p - np.hypot(q - q_low, p_high - p), q - p + np.hypot(q_high - q, p - p_low)
    return Figure(q - p, float(low), float(high), f"difference of shares, Newcombe, {LEVEL:.0%}"), names[at]


def _share(part: int, whole: int) -> tuple[float, float, float]:
    """A share with its Wilson interval."""
    interval = stats.binomtest(part, whole).proportion_ci(LEVEL, method="wilson")
    return part / whole, float(interval.low), float(interval.high)


def _judged(found: Sequence[ColumnDrift]) -> tuple[ColumnDrift, ...]:
    """The columns with p corrected over all of them, and their verdicts."""
    given = {(i, name): getattr(column, name) for i, column in enumerate(found) for name in ("p", "missing_p")}
    tested = [key for key, p in given.items() if p is not None]
    given.update(zip(tested, holm([given[key] for key in tested]), strict=True))
    judged = []
    for i, column in enumerate(found):
        p, missing_p = given[i, "p"], given[i, "missing_p"]
        psi = column.psi if column.psi > column.psi_limit else 0.0
        least = min(value for value in (p, missing_p, 1.0) if value is not None)
        watch = psi >= WATCH or bool(column.new_categories)
        verdict: Verdict = "alarm" if psi >= ALARM and least < SIGNIFICANT else "watch" if watch else "none"
        judged.append(replace(column, verdict=verdict, p=p, missing_p=missing_p))
    return tuple(judged)


def _labelled(table: pd.DataFrame, names: Names, positive: str | None, notes: list[str]) -> Measured:
    """Patients and figures of the rows that have label and score; `names` of table, score, label and patient."""
    where, score, label, patient = names
    known = (table[label].notna() & table[score].notna()).to_numpy(bool)
    if not known.all():
        notes.append(f"{where}: {label}: rows without label or score are left out of the calibration: {(~known).sum()}")
    rows = table[known]
    scores = check_scores(rows[score], rows[label], rows.get(patient), positive=positive, names=names)
    notes += [f"{where}: {cause.reason}: {cause.rows} rows left out of the calibration" for cause in scores.excluded]
    notes += [f"{where}: {warning}" for warning in scores.warnings]
    sick = np.bincount(scores.patient, scores.label) > 0
    return scores.patients, {
        "prevalence": Figure(*_share(int(sick.sum()), len(sick)), f"Wilson, {LEVEL:.0%}"),
        "auc": delong_interval(scores),
        **calibration_line(scores),
        "observed_expected": _observed_expected(scores),
    }


def _observed_expected(scores: Scores) -> Figure:
    """Patients with the condition over the sum of scores; the interval is that of a ratio of two sums."""
    observed, expected = (np.bincount(scores.patient, values) for values in (scores.label, scores.score))
    if expected.sum() == 0:
        return Figure(None)
    ratio = float(observed.sum() / expected.sum())
    off = np.sum((observed - ratio * expected) ** 2)
    error = np.sqrt(off * scores.patients / (scores.patients - 1)) / observed.sum()
    return _ratio(ratio, float(error))


def _ratio(ratio: float, error: float) -> Figure:
    """A ratio with the interval of its logarithm, whose standard error is `error`."""
    reach = float(np.exp(Z * error))
    return Figure(ratio, ratio / reach, ratio * reach, f"Wald on the logarithm, {LEVEL:.0%}")


def _calibration_drift(new: Measured, reference: Measured | None) -> CalibrationDrift:
    ours, change = new[1]["observed_expected"], Figure(None)
    theirs = reference[1]["observed_expected"] if reference else None
    if theirs is not None and ours.value and ours.high and theirs.value and theirs.high:
        error = np.hypot(np.log(ours.high / ours.value), np.log(theirs.high / theirs.value)) / Z
        change = _ratio(ours.value / theirs.value, float(error))
    off = _excludes_one(ours) or _excludes_one(new[1]["calibration_slope"])
    drifted = _excludes_one(change if reference else ours)
    verdict: Verdict = "alarm" if drifted else "watch" if off else "none"
    return CalibrationDrift(verdict, *new, reference[1] if reference else None, change)


def _excludes_one(figure: Figure) -> bool:
    return figure.low is not None and figure.high is not None and not figure.low <= 1 <= figure.high


def _about_scores(score: ColumnDrift, calibration: CalibrationDrift | None, command: str) -> str:
    if calibration is None:
        return "" if score.verdict == "none" else f"the scores moved: get labels, then recalibrate with: {command}"
    if calibration.verdict != "none":
        ratio, slope = calibration.new["observed_expected"], calibration.new["calibration_slope"]
        return f"observed/expected is {ratio}, the calibration slope {slope}: recalibrate with: {command}"
    return "" if score.verdict == "none" else "the scores moved, but still mean what they say: no need to recalibrate"


def _about_input(column: ColumnDrift) -> str:
    if column.verdict == "none":
        return ""
    reasons = []
    if column.psi > column.psi_limit and column.psi >= WATCH:
        reasons.append(f"PSI {column.psi:.2f}, by chance up to {column.psi_limit:.2f}")
    if column.new_categories:
        reasons.append(f"values that the reference never had: {', '.join(column.new_categories[:5])}")
    if column.missing_p is not None and column.missing_p < SIGNIFICANT:
        reasons.append(f"missing in {column.missing_new:.0%}, at the reference in {column.missing_reference:.0%}")
    return f"check the input column {column.column}: {'; '.join(reasons)}"
