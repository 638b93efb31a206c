"""Priors that score pictures against a prompt, behind one protocol."""
