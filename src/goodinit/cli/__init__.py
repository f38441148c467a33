"""The command line: parse, call, print. Torch is imported only once a command needs it."""

from __future__ import annotations

from goodinit.cli.app import main

__all__ = ["main"]
