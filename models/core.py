"""Core: the recurrent part of a torch model, the memory m_t = g(m_{t-1}, x_t), behind one small interface.

Cells of evsim (`evsim.models.network.EventCore`), torch's LSTM and GRU, norse's LIF and LSNN all fit it.
"""

import torch
from torch import nn

from evsim.check import check_choice, check_count
from evsim.registry import load_optional

from .dropout import Dropout


class Core(nn.Module):
    """What a trainer needs of a recurrent network.

    n_in: inputs. width: numbers in m_t. hears: what x may be: "numbers" (batch, T, n_in), "tokens" (batch, T), whole
    numbers below n_in, each in place of n_in numbers. A state is a tuple of tensors, each (batch, ...); all zeros at
    the start.
    """

    hears: tuple[str, ...] = ("numbers",)
    n_in: int
    width: int

    def begin(self, batch):
        """The state before the first step of `batch` sequences."""
        raise NotImplementedError

    def unroll(self, x, state):
        """Steps x (batch, T, n_in) from `state` -> (m (batch, T, width), the state after them)."""
        raise NotImplementedError

    def project(self):
        """Bring parameters that have a range back into it; few cores have such."""

    def _like(self):
        """A parameter, whose dtype and device the state has."""
        return next(self.parameters())


class GatedCore(Core):
    """torch's nn.LSTM or nn.GRU; kind: "lstm" or "gru". m_t is the top layer's h_t.

    embed: numbers into which inputs are brought first, by weights N(0, 1), as for one-hot inputs; None: as they are.
    forget_bias: where an LSTM's forget gate starts (its two biases together). Far above 1 an untrained state lives for
    hundreds of steps, which flatters truncated methods. dropout: the part of its inputs, as brought in, of what one
    layer tells the next, and of m that is set to 0 in training.
    """

    def __init__(self, kind, n_in, units, layers=1, embed=None, forget_bias=1.0, dropout=0.0):
        super().__init__()
        self.kind = check_choice("kind", kind, ("lstm", "gru"))
        self.n_in, self.width, self.layers = check_count("n_in", n_in), check_count("units", units), layers
        check_count("layers", layers)
        made = nn.LSTM if kind == "lstm" else nn.GRU
        self.embed = nn.Identity() if embed is None else embedding(n_in, check_count("embed", embed))
        heard, between = n_in if embed is None else embed, dropout if layers > 1 else 0.0
        self.body = made(heard, units, layers, batch_first=True, dropout=between)
        if kind == "lstm":
            with torch.no_grad():
                for k in range(layers):
                    getattr(self.body, f"bias_ih_l{k}")[units : 2 * units] = forget_bias
                    getattr(self.body, f"bias_hh_l{k}")[units : 2 * units] = 0.0
        self.drop = Dropout(dropout)

    def begin(self, batch):
        states = 2 if self.kind == "lstm" else 1
        return tuple(self._like().new_zeros(batch, self.layers, self.width) for _ in range(states))

    def unroll(self, x, state):
        given = tuple(part.transpose(0, 1).contiguous() for part in state)  # torch has layers in front
        with self.drop.draws(x):
            m, after = self.body(self.drop(self.embed(x)), given if self.kind == "lstm" else given[0])
            m = self.drop(m)
        return m, tuple(part.transpose(0, 1) for part in (after if self.kind == "lstm" else (after,)))


class NorseCore(Core):
    """norse's LIFRecurrentCell or LSNNRecurrentCell, stacked; kind: "norse-lif" or "norse-lsnn". m_t: the top's spikes.

    options go to every cell. Needs norse. ValueError for a v_leak other than 0, where membranes would have to start.
    """

    def __init__(self, kind, n_in, units, layers=1, **options):
        super().__init__()
        norse = load_optional("norse.torch", f"cell {kind!r}")
        kinds = {"norse-lif": norse.LIFRecurrentCell, "norse-lsnn": norse.LSNNRecurrentCell}
        made = kinds[check_choice("kind", kind, kinds)]
        self.kind, self.n_in, self.width = kind, check_count("n_in", n_in), check_count("units", units)
        check_count("layers", layers)
        self.cells = nn.ModuleList(made(n_in if k == 0 else units, units, **options) for k in range(layers))
        leak = getattr(options.get("p"), "v_leak", 0)
        if torch.any(torch.as_tensor(leak) != 0):
            raise ValueError(f"v_leak={leak} is not usable: states start at 0 here, so give v_leak=0")
        self._state = norse.LSNNState if kind == "norse-lsnn" else norse.LIFState

    def begin(self, batch):
        return tuple(self._like().new_zeros(batch, self.width) for _ in self._state._fields * len(self.cells))

    def unroll(self, x, state):
        size, m = len(self._state._fields), []
        states = [self._state(*state[k * size : (k + 1) * size]) for k in range(len(self.cells))]
        for heard in x.unbind(1):
            for k, cell in enumerate(self.cells):
                heard, states[k] = cell(heard, states[k])
            m.append(heard)
        return torch.stack(m, 1), tuple(part for one in states for part in one)


def embedding(n_in, n_out, active=1):
    """nn.Linear whose outputs start as N(0, 1), for inputs of which `active` at a time are 1 and the others 0."""
    made = nn.Linear(n_in, n_out)
    nn.init.normal_(made.weight, std=active**-0.5)
    nn.init.zeros_(made.bias)
    return made
