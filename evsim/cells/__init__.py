"""Kinds of units: one file each, named in the registry."""
