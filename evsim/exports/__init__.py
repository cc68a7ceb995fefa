"""What a trained network can be written as, for other programs and for hardware; one module each."""
