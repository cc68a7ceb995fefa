"""Networks in fixed point, and their 10,000 random steps, that every compiler and machine must agree on."""

import functools

from compiled import folder, model_of, write
from quantised import events, fixed_network, inputs

STEPS = 10_000

# name: cells, bits of weights, bits of states, readout, inputs, options of the cells.
NETWORKS = {
    "lif": (("lif",), 4, 16, "linear", events, {}),
    "lif zero": (("lif",), 8, 32, "leaky", inputs, {"reset": "zero"}),
    "cubalif": (("cubalif",), 16, 16, "leaky", events, {}),
    "alif": (("alif",), 8, 16, "linear", inputs, {}),
    "alif zero": (("alif",), 4, 32, "linear", events, {"reset": "zero"}),
    "adlif zero": (("adlif",), 16, 32, "linear", inputs, {"reset": "zero"}),
    "egru": (("egru",), 8, 16, "leaky", events, {}),
    "egru wide": (("egru",), 16, 32, "linear", inputs, {}),
    "egru always": (("egru",), 4, 16, "linear", inputs, {"always": True}),
    "evrnn": (("evrnn",), 8, 16, "linear", inputs, {}),
    "evrnn binary": (("evrnn",), 4, 16, "leaky", events, {"graded": False}),
    "egru, adlif": (("egru", "adlif"), 8, 16, "leaky", inputs, {}),
    "evrnn, egru": (("evrnn", "egru"), 4, 32, "linear", inputs, {}),
    "cubalif, evrnn": (("cubalif", "evrnn"), 16, 16, "linear", events, {}),
}


@functools.cache
def fixed(name):
    """The `FixedNetwork` of that name."""
    kinds, bits, state_bits, readout, heard, options = NETWORKS[name]
    return fixed_network(kinds, bits, state_bits, readout, heard, **options)


@functools.cache
def written(name):
    """The folder with that network's C, whose test takes STEPS random steps: the hash is computed once."""
    heard = NETWORKS[name][4]
    one = fixed(name)
    return write(folder(), model_of(one), [one.given.quantise(heard(30, seed)) for seed in (1, 2)], STEPS)
