"""`python -m qrdistill` is the command line."""

from qrdistill.cli import main

if __name__ == "__main__":
    main()
