"""The ways kernels are compiled.

cache: compiled once per machine. nogil: threads run them side by side. error_model: no check before each division.
fastmath off: sums are taken in the order they are written. _nrt off: kernels allocate nothing, so arrays passed between
them need no reference counts, which would cost more than a short row's arithmetic.
jit_inline: for what is called row by row, where passing dozens of arguments would cost more than the work.
jit_fused: a product and the sum it goes into may be one instruction, rounded once; sums keep their order.
jit_summed: sums in any order, for the benchmark's own loops: what the machine could do at best.
bind: for what is called at every step. numba looks up, at each call, which compiled version the arguments need; for
dozens of arrays that takes as long as a small network's step.
"""

from typing import Any

import numba

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False}

_NUMBERS = (numba.int64,) * 4

jit: Any = numba.njit(**_OPTIONS)
jit_inline: Any = numba.njit(inline="always", **_OPTIONS)

_FUSED: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract"}}
jit_fused: Any = numba.njit(**_FUSED)
jit_fused_inline: Any = numba.njit(inline="always", **_FUSED)

_SUMMED: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "reassoc"}}
jit_summed: Any = numba.njit(**_SUMMED)


def bind(kernel, arguments):
    """kernel(lo, hi, start, steps, *arguments) as a function of the four numbers, which must be Python's ints.

    Compiled, or fetched from the cache, at once. Arrays among the arguments may change in content, not in type.
    """
    run = kernel
    if hasattr(kernel, "compile"):  # not where the JIT is switched off
        run = kernel.compile((*_NUMBERS, *(numba.typeof(given) for given in arguments)))

    def call(lo, hi, start, steps):
        run(lo, hi, start, steps, *arguments)

    return call
