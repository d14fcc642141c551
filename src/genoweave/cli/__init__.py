"""The command line: parse, check, call. No science."""

from genoweave.cli.app import main

__all__ = ["main"]
