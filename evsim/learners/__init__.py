"""Gradient engines: one file each, named in the registry."""
