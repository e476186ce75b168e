"""`python -m server`: starts the annotation server; `python -m server token` gives a user a token."""

import sys
from pathlib import Path

# MONAILabel loads an app from its own folder: everything is imported as `main` and `lib`.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from start import cli

if __name__ == "__main__":
    cli()
