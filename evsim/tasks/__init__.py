"""Tasks to train on: one file each, named in the registry."""
