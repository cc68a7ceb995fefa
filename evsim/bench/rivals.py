"""Rivals: other libraries' ways, looked up by name when they are wanted; what is not installed says so in its row."""

from evsim.bench.timing import Way, failure
from evsim.registry import load_optional

MODULES = {"torch": "evsim.models.rivals", "braintrace": "evsim.models.braintrace_rival"}


def rival(name, kind, maker, *given, steps=1, **options):
    """A Way of `maker` in the module of rivals of that kind, called with what is given; or one that is missing."""
    try:
        made = getattr(load_optional(MODULES[kind], name), maker)(*given)
    except ImportError as error:
        package = (error.name or kind).partition(".")[0]
        return Way(name, ours=False, missing=f"{package} is not installed", **options)
    except Exception as error:  # theirs: the benchmark goes on
        return Way(name, ours=False, missing=failure(error), **options)
    return Way(name, made, steps, ours=False, **options)
