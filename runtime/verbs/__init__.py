"""Verbs of the command line, one module each; `runtime/cli.py` gathers them."""
