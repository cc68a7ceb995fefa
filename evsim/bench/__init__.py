"""The benchmark: our ways and the rivals', timed in turns in one process, beside what this machine can do at all."""
