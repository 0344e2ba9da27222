"""A machine for PTX: executes what Numba's CUDA target compiles, without a device, and watches it.

`text` reads the assembler's text, `arithmetic` says what instructions compute, `memory` what loads and stores do, and
which of them are mistakes; `machine` executes a grid of blocks, `driver` stands in for the CUDA driver.

All threads of many blocks go through an instruction together, as arrays of NumPy: a machine for tests, not for work.
"""
