"""Torch models that hear tokens: what they hear, embeddings, contexts, tied weights; what is refused."""

import copy

import numpy as np
import pytest
import torch
from language import HEARERS, Drawn, Letters, T, V, close, gradients, model, one_hot, tokens
from oracle import SINGLE, network
from test_cli import _here, run  # noqa: F401
from torch import nn

from evsim.backends import refuse_others
from evsim.models import (
    ContextPredictor,
    EmbeddedCore,
    EventCore,
    GatedCore,
    LinearPredictor,
    MemUP,
    Model,
    TiedPredictor,
    build_core,
    build_model,
    from_evsim,
    to_evsim,
    truncated,
)
from evsim.models.checkpoint import load_weights
from evsim.models.detector import build_detector
from evsim.models.rollout import rollout_loss
from evsim.models.streams import Streams
from evsim.models.tokens import TokenLinear
from evsim.registry import lookup

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("stack", [*SINGLE, ("egru", "alif")], ids="-".join)
def test_evsims_cells_hear_a_token_as_a_one_among_zeros(stack):
    net = network(stack, n_in=V, density=0.5, dtype="float64", density_in=0.7)
    x, mine = tokens(), from_evsim(net)
    out, plain = mine(x)[0], mine(one_hot(x))[0]
    assert torch.equal(out, plain)
    np.testing.assert_allclose(out.detach().numpy(), net.run(one_hot(x).numpy()), rtol=1e-10, atol=1e-12)
    trained = [p for p in mine.parameters() if p.requires_grad]
    for one, other in zip(gradients((out**2).sum(), trained), gradients((plain**2).sum(), trained)):
        close(one, other)
    assert not torch.equal(out, mine(x.flip(1))[0])


@pytest.mark.parametrize("cell", HEARERS)
@pytest.mark.parametrize("dtype, most", [("float64", 1e-12), ("float32", 1e-6)])
def test_every_core_of_tokens_goes_on_where_it_stopped(cell, dtype, most):
    core, x = build_core(cell, V, 6, 2, seed=2, dtype=dtype, tokens=True), tokens()
    assert core.n_in == V and "tokens" in core.hears
    whole, end = core.unroll(x, core.begin(3))
    assert whole.shape == (3, T, 6) and whole.dtype == getattr(torch, dtype)
    state, parts = core.begin(3), []
    for t in range(T):
        m, state = core.unroll(x[:, t : t + 1], state)
        parts.append(m)
    close(torch.cat(parts, 1), whole, most)
    for mine, wanted in zip(state, end, strict=True):
        assert len(mine) == 3
        close(mine, wanted, most)


def test_an_embedding_is_looked_up_and_learned():
    core = build_core("lstm", V, 6, tokens=True, embed=4, dtype="float64")
    assert isinstance(core, EmbeddedCore) and core.body.n_in == 4
    x = tokens(kinds=V - 2)
    m = core.unroll(x, core.begin(3))[0]
    product = core.body.unroll(one_hot(x) @ core.embed.weight, core.begin(3))[0]
    assert torch.equal(m, product)
    (mine,), (wanted,) = (gradients((said**2).sum(), [core.embed.weight]) for said in (m, product))
    close(mine, wanted)
    assert mine[: V - 2].abs().min() > 0 and not mine[V - 2 :].any()  # which never came


def test_an_embedding_starts_as_a_gated_cores_inputs_do():
    core = build_core("lstm", 5000, 6, tokens=True, embed=16)
    weight = core.embed.weight.detach()
    assert abs(float(weight.mean())) < 0.02 and abs(float(weight.std()) - 1) < 0.02
    assert build_core("lstm", V, 6, tokens=True).embed.weight.shape == (V, 32)
    same = build_core("lstm", 5000, 6, tokens=True, embed=16)
    other = build_core("lstm", 5000, 6, tokens=True, embed=16, seed=1)
    assert torch.equal(same.embed.weight, weight) and not torch.equal(other.embed.weight, weight)


def test_evsims_cells_have_an_embedding_where_it_is_given():
    mine = model("egru", embed=5)
    assert isinstance(mine.core, EmbeddedCore) and isinstance(mine.core.body, EventCore) and mine.core.body.n_in == 5
    with pytest.raises(TypeError, match=r"no embedding of tokens, and this model has one of 5 numbers: build one"):
        to_evsim(mine)
    with torch.no_grad():
        mine.core.body.get_parameter("layers/0/threshold").fill_(2.0)
    mine.project()
    assert float(mine.core.body.get_parameter("layers/0/threshold").detach().max()) == 1.0


def test_a_layer_of_tokens_is_one_of_one_hot_vectors():
    mine, plain = TokenLinear(V, 5, 3).double(), nn.Linear(3 * V, 5).double()
    with torch.no_grad():
        mine.bias.normal_()
        plain.weight.copy_(mine.weight.flatten(0, 1).T)
        plain.bias.copy_(mine.bias)
    x = tokens(4, 3)
    x[0, 0] = x[1, :2] = -1
    heard = one_hot(x.clamp(min=0)) * (x >= 0)[..., None]
    out, wanted = mine(x), plain(heard.flatten(1))
    close(out, wanted)
    grads = gradients((out**2).sum(), (mine.weight, mine.bias))
    close((grads[0].flatten(0, 1).T, grads[1]), tuple(gradients((wanted**2).sum(), (plain.weight, plain.bias))))


@pytest.mark.parametrize("steps", [1, 3])
def test_contexts_of_tokens_are_those_of_one_hot_vectors(steps):
    """The same weights, once over tokens, and once over vectors, which begin with zeros before the first step."""
    core = EventCore(network(("egru",), n_in=V, dtype="float64"))
    mine = Model(core, ContextPredictor(core.width, V, V, steps, 8, 4, tokens=True).double())
    plain = Model(core, ContextPredictor(core.width, V, V, steps, 8, 4).double())
    plain.predictor.body = mine.predictor.body
    with torch.no_grad():
        plain.predictor.embed.weight.copy_(mine.predictor.embed.weight.flatten(0, 1).T)
    x = tokens()
    close(mine(x)[0], plain(one_hot(x))[0])
    small = mine.contexts(mine.padded(x.to(torch.uint8)), torch.tensor([[0, 5]] * 3))
    found = mine.contexts(mine.padded(x), torch.tensor([[0, 5]] * 3))
    assert torch.equal(small.long(), found) and torch.equal(mine.predictor.embed(small), mine.predictor.embed(found))
    assert found.shape == (3, 2, steps) and (found[:, 0, :-1] == -1).all()
    assert torch.equal(found[:, 0, -1], x[:, 0]) and torch.equal(found[:, 1], x[:, 6 - steps : 6])


@pytest.mark.parametrize("cell", ["lstm", "qrnn", "egru"])
def test_windows_of_tokens_are_learned_from_as_by_hand(cell):
    """What a rollout of streams minimises, window after window, against plain loops over the same tokens."""
    mine = model(cell)
    streams, given = Streams(Drawn(), mine, 4, 5), Drawn().take(4)
    state = mine.begin(4)
    for first in (0, 5, 10):
        loss, after, _ = rollout_loss(mine, streams, truncated(5), "cross_entropy", None)
        x, wanted = (part[:, first : first + 5] for part in given[:2])
        out, state = mine(x, state)
        plain = nn.functional.cross_entropy(out.flatten(0, 1), wanted.flatten())
        close(loss, plain)
        trained = [p for p in mine.parameters() if p.requires_grad]
        for one, other in zip(gradients(loss, trained), gradients(plain, trained)):
            close(one, other)
        streams.move_on(after)
        state = tuple(part.detach() for part in state)


@pytest.mark.parametrize("detector", ["entropy", "surprise", "random"])
def test_memup_asks_about_tokens(detector):
    mine = model("gru", predictor="context", context=2, hidden=8, dtype="float32", dropout=0.2)
    found = build_detector(detector, mine, Letters())
    streams = Streams(Drawn(), mine, 4, 4, found.scores)
    assert streams.uncertainty.shape == (4, T) and streams.uncertainty.is_floating_point()
    if detector == "entropy":  # what it sees is the context: equal ones are as uncertain
        x = streams.x.clone()
        x[:, 4:] = x[:, 2:3]
        scores = found.scores(x, mine.padded(x), streams.targets, streams.keep)
        close(scores[:, 5:], scores[:, 5:6].expand(-1, T - 5))
        assert not torch.isclose(scores[:, 0], scores[:, 1]).all()
    if detector == "surprise":  # it does not drop what it judges by
        again = found.scores(streams.x, streams.padded, streams.targets, streams.keep)
        assert mine.training and torch.equal(again, streams.uncertainty)
    loss, _, counted = rollout_loss(mine, streams, MemUP(4, 2), "cross_entropy", torch.Generator().manual_seed(0))
    loss.backward()
    assert counted["targets"] == 8 and mine.core.embed.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("embed", [6, 4])
def test_tied_weights_are_learned_from_both_sides(embed):
    """Against a twin with a matrix for each side: outputs are equal, and the gradients of the two add up."""
    mine = model("gru", tied=True, embed=embed)
    weight, scale = mine.core.embed.weight, embed**-0.5
    assert mine.predictor.weight is weight and (mine.predictor.projection is None) == (embed == 6)
    assert sum(p is weight for p in mine.parameters()) == 1
    own = sum(p.numel() for p in mine.core.body.parameters())
    assert sum(p.numel() for p in mine.parameters()) == own + V * embed + V + (0 if embed == 6 else 6 * embed)
    twin = Model(copy.deepcopy(mine.core), nn.Identity())
    readout = (weight.detach() * scale).requires_grad_()
    x, wanted = tokens(), tokens(4)[1:]
    project = torch.eye(6, dtype=torch.float64) if embed == 6 else mine.predictor.projection
    m, _ = twin.remember(x, twin.begin(3))
    plain = m @ project.T @ readout.T + mine.predictor.bias
    out, _ = mine(x)
    close(out, plain)
    loss, other = (nn.functional.cross_entropy(said.flatten(0, 1), wanted.flatten()) for said in (out, plain))
    (grad,) = gradients(loss, [weight])
    below, above = gradients(other, [twin.core.embed.weight, readout])
    close(grad, below + scale * above)
    assert below.abs().max() > 1e-4 and above.abs().max() > 1e-4


def test_tied_weights_by_finite_differences():
    mine = model("qrnn", tied=True, embed=4)
    assert mine.predictor.projection.shape == (4, 6)
    x, wanted = tokens(), tokens(4)[1:]

    def loss():
        return nn.functional.cross_entropy(mine(x)[0].flatten(0, 1), wanted.flatten())

    grads = gradients(loss(), mine.parameters())
    for p, grad in zip(mine.parameters(), grads, strict=True):
        for place in ((0,) * p.ndim, tuple(n - 1 for n in p.shape)):
            with torch.no_grad():
                p[place] += 1e-6
                up = loss()
                p[place] -= 2e-6
                down = loss()
                p[place] += 1e-6
            assert float((up - down) / 2e-6) == pytest.approx(float(grad[place]), rel=1e-6, abs=1e-9)


def test_tied_weights_stay_tied(tmp_path):
    """Through steps of an optimiser, copies, another dtype, and a file."""
    mine, other = (model("lstm", "float32", tied=True, seed=seed) for seed in (0, 1))
    assert mine.core.embed.weight.shape == (V, 6)  # as many as units, so that nothing has to be projected
    optimizer = torch.optim.Adam(mine.parameters(), 0.1)
    before = mine.core.embed.weight.detach().clone()
    mine(tokens())[0].square().sum().backward()
    optimizer.step()
    assert not torch.equal(mine.core.embed.weight, before)
    np.savez(tmp_path / "w.npz", **{f"model/{name}": value.numpy() for name, value in mine.state_dict().items()})
    with np.load(tmp_path / "w.npz") as arrays:
        load_weights(other, dict(arrays))
    for one in (mine, other, copy.deepcopy(mine), copy.deepcopy(mine).double().float()):
        assert one.predictor.weight is one.core.embed.weight
        assert torch.equal(one(tokens())[0], mine(tokens())[0])


def test_a_tied_readout_starts_no_surer_than_an_untied_one():
    m = torch.randn(500, 64)
    tied = [TiedPredictor(64, nn.Parameter(torch.randn(300, embed))) for embed in (64, 16)]
    for predictor in (LinearPredictor(64, 300), *tied):
        assert 0.8 < float(predictor(m, None).detach().std()) < 1.25


def test_what_cannot_be_tied_is_refused():
    for options, told in (
        ({"predictor": "context"}, "the predictor 'context' is no readout: leave tied out"),
        ({"cell": "egru"}, "need an embedding, which cell 'egru' has not by itself: give embed too"),
    ):
        with pytest.raises(ValueError, match=told):
            model(**{"tied": True, **options})
    assert model("egru", tied=True, embed=3).predictor.projection.shape == (3, 6)
    with pytest.raises(ValueError, match="task 'spiral' shows no tokens to embed: leave tied out"):
        build_model(lookup("task", "spiral")(), predictor="linear", tied=True)
    other = Letters()
    other.n_out = 3
    with pytest.raises(ValueError, match="has 7 different tokens and 3 outputs: leave tied out"):
        build_model(other, predictor="linear", tied=True)


def test_what_belongs_elsewhere_is_refused(capsys):
    numbers = "train", "positional-copy", "--length", 12
    torchs = *numbers, "--learner", "tbptt", "--backend", "torch"
    for given, told in (
        ((*numbers, "--embed", 8), "embed=8 belongs to the backend torch: leave it out"),
        ((*numbers, "--tied"), "tied=True belongs to the backend torch: leave it out"),
        ((*numbers, "--dropout", 0.1), "dropout=0.1 belongs to the backend torch: leave it out"),
        ((*torchs, "--cell", "egru", "--dropout", 0.1), "dropout=0.1 belongs to the cells lstm, gru and qrnn"),
        ((*torchs, "--cell", "egru", "--embed", 8), "embed=8 was given, but cell 'egru' takes numbers as they are"),
        ((*torchs, "--cell", "norse-lif", "--embed", 8), "embed=8 was given, but cell 'norse-lif' takes numbers"),
        ((*torchs, "--tied", "--predictor", "linear"), "task 'positional-copy' shows no tokens to embed"),
        ((*torchs, "--dropout", 1.5), "dropout=1.5 is not usable"),
        ((*torchs, "--embed", 0), "embed=0 is not usable"),
        ((*torchs, "--cell", "qrnn", "--density", 0.5), "density=0.5 belongs to cells of evsim"),
        ((*numbers, "--cell", "qrnn"), "cell 'qrnn' needs a learner of torch models"),
        ((*numbers, "--cell", "qrnn", "--backend", "numba"), "cell 'qrnn' runs under torch alone"),
    ):
        run(*given, code=2)
        assert told in capsys.readouterr().err
    for options, told in (({"cell": "lstm", "embed": None}, "hears tokens by an embedding alone: give embed"),):
        with pytest.raises(ValueError, match=told):
            model(**options)
    other = Letters()
    other.context_columns = (0, 1)
    with pytest.raises(ValueError, match="task 'letters' shows tokens, which have no columns"):
        build_model(other)
    assert isinstance(GatedCore("gru", 2, 3).embed, nn.Identity)


def test_an_embedding_by_default_is_for_the_cells_that_need_one():
    """What a task has for its LSTM does not stand between evsim's cells and their network."""
    for cell, chosen, stays in (("egru", {}, False), ("egru", {"embed": 64}, True), ("qrnn", {}, True)):
        settings = {"backend": "torch", "learner": "tbptt", "predictor": "linear", "cell": cell, "embed": 64}
        refuse_others(settings, chosen)
        assert ("embed" in settings) == stays
