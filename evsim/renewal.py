"""Renewal: how a learner follows a network whose masks have changed (`evsim.Network.rewire`)."""

from typing import Any


class Renewal:
    """Base of `evsim.learner.Learner` that makes all that depends on the masks anew, at the start of new sequences.

    A learner's structure, tiles and arrays are those of one layout of the network. Once that has been replaced, `reset`
    makes them as the constructor does, from `config`; options, counts and what random numbers are left stay, and the
    gradient is 0. Until then nothing else can be asked of the learner that needs both.
    """

    net: Any
    streams: int
    _layout: Any
    _forward: Any
    _counts: Any
    _pool: Any
    _pressure: Any
    _version: int
    _begun: bool

    def config(self) -> dict[str, Any]:
        """What the constructor takes beside the network."""
        raise NotImplementedError

    @property
    def in_sequence(self):
        """Have steps been taken since the last reset?"""
        return self._begun

    def _check_masks(self):
        """ValueError if the network has other masks than the learner was made for."""
        if self.net.layout is not self._layout:
            raise ValueError(
                "the network's masks have changed since the learner's last reset: call reset(), which begins new "
                "sequences with them and drops gradients that were not used"
            )

    def _renew(self):
        """Be what the constructor makes of the network as it is now."""
        make: Any = type(self)
        made = make(self.net, **{**self.config(), "streams": len(self._forward.stored)})
        made._inherit(self)
        vars(self).update(vars(made))

    def _inherit(self, old):
        """Take from the learner that was there before what outlives a change of masks."""
        self._counts, self._pool, self.streams = old._counts, old._pool, old.streams
        if self._pressure is not None:
            self._pressure.rate[:] = old._pressure.rate
        self._version = old._version  # weights have changed, and the next step is to heed it
