"""The command line: one door to the pipeline, with documented exit codes.

Comes in: arguments. Goes out: files, a short summary, and an exit code: 0 done; 1 a defect of ours; 2 the input; 3
interrupted, can be resumed; 4 an optional part is not installed. Heavy imports happen inside the commands, so that
`llnm --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from llnm import NOTICE
from llnm.cli import atlas_view  # noqa: F401 (its commands join `atlas`)
from llnm.cli.atlas import atlas
from llnm.cli.baseline import baseline
from llnm.cli.classes import classes
from llnm.cli.cohort import cohort
from llnm.cli.common import errors
from llnm.cli.drift import drift
from llnm.cli.evaluate import calibrate, evaluate
from llnm.cli.features import features
from llnm.cli.info import info
from llnm.cli.masks import masks
from llnm.cli.measure import measure
from llnm.cli.predict import predict
from llnm.cli.progress import tell_error
from llnm.cli.readers import readers
from llnm.cli.segment import segment
from llnm.cli.simulate import simulate
from llnm.cli.train import train
from llnm.errors import LLNMError

INTERRUPTED = 3
SHELL_INTERRUPTED = 130
app = typer.Typer(
    name="llnm",
    help=f"Risk of lateral lymph node metastasis from thyroid ultrasound, with its reasons. {NOTICE}",
    epilog="Exit codes: 0 done, 1 a defect of ours, 2 the input, 3 interrupted, 4 an optional part is not installed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
networks = (predict, segment, features, simulate, train, measure, info)
statistics = (evaluate, calibrate, classes, readers, masks, drift, baseline)
for command in (*networks, *statistics):
    app.command()(command)
app.add_typer(cohort)
app.add_typer(atlas)


def main() -> None:
    """Run a command; every failure ends in one line on standard error and its exit code."""
    # No model hub is ever asked, whatever the user's environment says.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        app()
    except LLNMError as error:
        tell_error(type(error).__name__, str(error))
        errors.print(f"[bold red]llnm:[/] {_one_line(error)}", markup=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as stop:
        # typer catches the interruption itself and leaves with the shell's own code for it.
        if stop.code == SHELL_INTERRUPTED:
            _interrupted()
        raise
    except Exception as error:
        tell_error(type(error).__name__, f"a defect of ours: {error}; please report it")
        errors.print(
            f"llnm: a defect of ours: {type(error).__name__}: {_one_line(error)}; please report it "
            "(LLNM_DEBUG=1 shows where)",
            markup=False,
        )
        if os.environ.get("LLNM_DEBUG"):
            raise
        sys.exit(1)


def _interrupted() -> NoReturn:
    tell_error("Interrupted", "interrupted, nothing half-written is left; start it again")
    errors.print("llnm: interrupted; nothing half-written is left")
    sys.exit(INTERRUPTED)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).replace("[", "\\[")
