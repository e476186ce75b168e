"""`python -m llnm`: the same as `llnm`, for launchers that start a module (`torchrun -m llnm train ...`)."""

from llnm.cli import main

if __name__ == "__main__":
    main()
