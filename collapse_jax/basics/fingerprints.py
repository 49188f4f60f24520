"""Short fingerprints of arrays."""

import hashlib
from typing import Any

import numpy as np


def digest(*arrays: Any) -> str:
    """A short fingerprint of arrays, by which a dataset remembers what data it came from."""
    sha = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


def digest_array(*arrays: Any) -> np.ndarray:
    """The same as whole numbers: as text, a program would be compiled for each. `[2]`"""
    return np.frombuffer(bytes.fromhex(digest(*arrays)), np.uint32)
