"""Emitting C: a network's parts, in float32 or in fixed point, as C99 for microcontrollers.

What is printed allocates nothing, calls nothing but the mathematics of float32 (`expf`, `tanhf`), knows neither
recursion nor arrays of variable length, and keeps all that changes in a struct that the caller owns.
"""
