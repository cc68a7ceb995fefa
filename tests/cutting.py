"""A training that is cut after so many pieces, for the tests of going on."""

import pytest


def cut_after(trainer, pieces, epochs, path):
    """Fit with a checkpoint after every piece (where `SAVE_SECONDS` is below 0), and break off after so many."""
    seen = []

    def cut(info):
        seen.append(info)
        if len(seen) > pieces:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trainer.fit(epochs=epochs, checkpoint=path, progress=cut)
