"""Procedural objects: words and captions, shapes of signed-distance primitives, their renders and volumes, and data sets of them.

`words` and `captions` are plain Python; `render`, `voxels` and `dataset` need numba (the `train` extra) where they trace rays.
"""
