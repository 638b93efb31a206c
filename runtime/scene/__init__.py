"""The things that are optimized: cameras, Gaussian blobs, parts of them."""
