"""Prints a script that completes blcperf's verbs and options in a shell.

For example:
  blcperf completion bash > ~/.local/share/bash-completion/completions/blcperf
  blcperf completion zsh > "${fpath[1]}/_blcperf"
  blcperf completion fish > ~/.config/fish/completions/blcperf.fish
"""

from __future__ import annotations

import argparse

NAME = "completion"
SUMMARY = "a completion script for bash, zsh or fish"

SHELLS = ("bash", "zsh", "fish")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
    """Prints the script; returns 0."""
    import shtab

    from pytest_blcperf.cli import parser

    print(shtab.complete(parser(), arguments.shell))
    return 0
