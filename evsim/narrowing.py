"""Narrowing: a half-width of the pseudo-derivative that changes as training goes on."""

from evsim.check import check_positive
from evsim.schedule import as_schedule


class Narrowing:
    """Sets the half-width of all layers of `net`: a number, or a function of the updates done (`evsim.schedule`).

    A wide pseudo-derivative lets many units learn, a narrow one leaves more of them out of the update. updates: how
    many were done before. ValueError where it is not a finite number above 0.
    """

    def __init__(self, half_width, net, updates=0):
        self.schedule, self.net = as_schedule(half_width), net
        self.follow(updates)

    def follow(self, updates):
        """After so many updates: give the layers their half-width, if that has changed."""
        width = check_positive("half_width", self.schedule(updates))
        if any(cell.half_width != width for cell in self.net.layers):
            self.net.set_half_width(width)
