"""Forms: numbers as short texts for people, and the console on which they are shown."""

from rich.console import Console

_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))


def console_on(err=False):
    return Console(stderr=err, highlight=False, markup=False)


def times(dense, macs):
    return f"{dense / macs:,.1f}" if macs else "-"


def percent(value):
    return "-" if value is None else f"{value:.2%}"


def number(value):
    return "-" if value is None else f"{value:.4f}"


def tenths(value):
    return "-" if value is None else f"{value:.1f}"


def unit_of(joules):
    """(size, name) of a unit in which so many joules are easily read."""
    return next((one for one in _UNITS if joules >= one[0]), _UNITS[-1])


def form_joules(value):
    """Joules in a unit in which they are easily read."""
    if value is None:
        return "-"
    size, unit = unit_of(value)
    return f"{value / size:,.3g} {unit}" if value < 1000 else f"{value:,.0f} J"


def count(value):
    return "-" if value is None else f"{value:,.0f}"


def mebibytes(value):
    if value is None:
        return "-"
    return f"{value / 2**20:,.1f} MiB"


def form_bytes(value):
    return mebibytes(value) if value >= 2**20 else f"{value / 2**10:,.1f} KiB"


def word(value):
    if isinstance(value, dict):
        named = ((name if "." in name else name.replace("_", " "), one) for name, one in value.items())
        return ", ".join(f"{name} {word(one)}" for name, one in named)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
