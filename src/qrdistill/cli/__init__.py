"""The command line: parse, call the public API, print."""

from qrdistill.cli.main import main

__all__ = ["main"]
