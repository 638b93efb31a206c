"""One number that tells whether two sets of tensors are equal to the bit."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

_AS_INTEGER = {torch.bfloat16: torch.int16, torch.bool: torch.uint8}


def state_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over names, dtypes, shapes and little-endian bytes, in the order of the names.

    The same on every platform, device and memory layout; NaNs and the sign of zero count.

    Raises:
        TypeError: a value is not a dense tensor.
    """
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise TypeError(f"state_digest: {name!r} is {type(tensor).__name__}, expected a dense tensor")
        # Lengths in front, so that no two different sets run into the same bytes.
        head = f"{len(name.encode())}:{name}|{str(tensor.dtype).removeprefix('torch.')}|{list(tensor.shape)}|"
        state.update(head.encode())
        state.update(little_endian_bytes(tensor))
    return state.hexdigest()


def little_endian_bytes(tensor: Tensor) -> bytes:
    """The values in row-major order, little-endian."""
    plain = tensor.detach().cpu().contiguous()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    if plain.dtype in _AS_INTEGER:
        plain = plain.view(_AS_INTEGER[plain.dtype])
    array = plain.numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
