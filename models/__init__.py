"""Baselines written with torch, imported as `evsim.models`."""
