"""Fixed point: networks in whole numbers, what they lose, and what a target has room for."""
