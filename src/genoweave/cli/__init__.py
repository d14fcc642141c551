"""The command line: parse, check, call. No science."""

from genoweave.cli.app import main, program

__all__ = ["main", "program"]
