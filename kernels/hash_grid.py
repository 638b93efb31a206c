"""Multiresolution hash encoding (instant-ngp). Being written by H8 (stage II); H3 leaves stage II kernels alone, see /tmp/brief/stage2.txt."""
