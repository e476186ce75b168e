"""A campaign from the shell, in the folder `server/`: `python -m lib.campaign status|verify|export FOLDER`.

Comes in: the campaign's folder (`STUDIES/.llnm/campaign`). Goes out: the status as JSON, whether log and labels are
whole, or the agreed set as a training folder. Exit codes are llnm's: 2 is the input, with one line on what to do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lib.campaign.campaign import Campaign
from lib.campaign.export import export_agreed
from lib.campaign.store import DATABASE

from llnm import NOTICE
from llnm.errors import InputError, LLNMError


def arguments() -> argparse.ArgumentParser:
    """The options of the three commands."""
    parser = argparse.ArgumentParser("python -m lib.campaign", description=__doc__, epilog=NOTICE)
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser("status", help="how the campaign stands, as JSON")
    verify = commands.add_parser("verify", help="whether the audit log and every label are as they were written")
    verify.add_argument("--head", metavar="'N HASH'", help="a head noted earlier: is it still in the log?")
    export = commands.add_parser("export", help="the agreed set as a folder that `llnm train` reads")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    for command in (status, verify, export):
        command.add_argument("folder", type=Path, help="the campaign's folder")
    return parser


def run(options: argparse.Namespace) -> str:
    """What a command prints. Raises InputError for no campaign, a broken log, an export that cannot be."""
    if not (options.folder / DATABASE).is_file():
        raise InputError(f"{options.folder}: holds no campaign ({DATABASE}); give STUDIES/.llnm/campaign")
    campaign = Campaign(options.folder)
    try:
        if options.command == "status":
            return json.dumps(campaign.status(), indent=1)
        if options.command == "export":
            count = export_agreed(campaign, options.out)
            return f"{options.out}: {count} images with their masks. {NOTICE}"
        entries = campaign.audit()
        if options.head is not None and options.head.split() not in ([str(e.n), e.hash] for e in entries):
            raise InputError("audit log: does not hold the head that was noted; entries were cut off, restore a backup")
        last = entries[-1]
        return f"whole: {len(entries)} entries, every label as submitted; head: {last.n} {last.hash}"
    finally:
        campaign.close()


def main() -> None:
    """The command line."""
    try:
        print(run(arguments().parse_args()))
    except LLNMError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
