"""Interaction scripts that run, and a library of gestures in scripts/lib."""
