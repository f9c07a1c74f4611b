"""`python -m tightbound` is `tightbound`."""

from tightbound.cli.main import main

if __name__ == "__main__":
    main()
