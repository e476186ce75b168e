"""The scores, labels and figures that LLNM-Net was published with, from the workbook among the test data."""

from functools import lru_cache

import pandas as pd

# Column of the scores in Figure 3c (labels stand beside it) and of the figures in Figure 3a.
COHORTS = {"train": (6, 1), "validation": (8, 2), "external": (10, 3)}
FIGURES = ("auc", "specificity", "sensitivity", "accuracy", "npv", "ppv")


@lru_cache
def sheet(data, name):
    return pd.read_excel(data / "published" / "source_data.xlsx", sheet_name=name, header=None)


def cohort_table(data, cohort):
    """Columns `score` and `llnm` as they were published, the corrupt score included."""
    column = COHORTS[cohort][0]
    table = sheet(data, "Figure 3c").iloc[3:, [column, column + 1]].dropna(how="all")
    return table.set_axis(["score", "llnm"], axis=1).reset_index(drop=True)


def published_figures(data, cohort):
    """Columns figure, value, low, high as printed in Figure 3a."""
    cells = sheet(data, "Figure 3a").iloc[4:10, COHORTS[cohort][1]]
    rows = [
        (name, *cell.replace("(", "").replace(")", "").replace("-", " ").split())
        for name, cell in zip(FIGURES, cells, strict=True)
    ]
    return pd.DataFrame(rows, columns=["figure", "value", "low", "high"])
