"""Writes numpy.npz, the file with which the reader is compared with NumPy's own writer."""

import pathlib

import numpy as np

info = np.iinfo(np.int64)
np.savez_compressed(
    pathlib.Path(__file__).with_name("numpy.npz"),
    f4=np.arange(6, dtype=np.float32).reshape(2, 3) / 2,
    f8_fortran=np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 3),
    i8=np.array([info.min, -100, info.max]),
    i4_big_endian=np.array([1, -2], dtype=">i4"),
    u1=np.array([0, 255], dtype=np.uint8),
    b1=np.array([True, False]),
    scalar=np.float64(7.0),
    empty=np.zeros((0, 3), dtype=np.float32),
)
