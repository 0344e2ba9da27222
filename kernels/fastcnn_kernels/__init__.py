"""Hand-written kernels for convolutional networks, compiled by Numba: arrays in, arrays out.

One module a family. A kernel is called with arrays (`relu_forward(x, y)`) or bound into a program of many
(`team.Program`). It knows no layer and no device choice, allocates nothing, and works for every shape.
"""
