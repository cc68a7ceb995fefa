"""Fixed point: a trained network in integers, and the golden model that says, bit for bit, what they give.

Every number is a mantissa times a power of two that its whole tensor shares. There is one rounding (to the nearest,
halves up: `evsim.fixed.format.requantise`), values saturate, symmetrically, and sums over synapses are exact.
"""
