"""Calls: kernels bound to the arguments that stay, for what is called at every step.

numba looks up, at each call of a kernel, which of its compiled versions the arguments need; for dozens of arrays that
takes as long as a small network's step. Here it is looked up once.
"""

import numba

_LEADING = (numba.int64,) * 4


def bind(kernel, arguments):
    """kernel(lo, hi, start, steps, *arguments) as a function of the four whole numbers, which must be Python's.

    Compiled, or fetched from the cache, at once. The arguments must stay what they are: arrays may change in content.
    """
    run = kernel
    if hasattr(kernel, "compile"):  # not where the JIT is switched off
        run = kernel.compile((*_LEADING, *(numba.typeof(given) for given in arguments)))

    def call(lo, hi, start, steps):
        run(lo, hi, start, steps, *arguments)

    return call
