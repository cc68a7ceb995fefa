"""Rewiring: masks that change between sequences: network, learners, optimisers; gradients stay exact."""

import copy

import numpy as np
import pytest
from oracle import ENGINES, TOLERANCE, Unrolled, hidden, network, sequence, targets_for, worst

import evsim
from evsim.rewiring import edges_of

LEARNERS = {
    **ENGINES,
    "tbptt": lambda net, steps, **options: evsim.TBPTT(net, window=5, **options),
    "snap 1": lambda net, steps, **options: evsim.SnAp(net, n=1, **options),
    "snap 2": lambda net, steps, **options: evsim.SnAp(net, n=2, **options),
    "eprop": lambda net, steps, **options: evsim.EProp(net, **options),
    "random": lambda net, steps, **options: evsim.EProp(net, broadcast="random", seed=3, **options),
    "rflo": lambda net, steps, **options: evsim.RFLO(net, seed=3, **options),
    "uoro": lambda net, steps, **options: evsim.UORO(net, seed=3, **options),
}
STACKS = [("egru",), ("evrnn",), ("alif-zero",), ("lif", "egru"), ("evrnn-binary", "cubalif"), ("egru", "adlif")]
STEPS = 19


def drawn(net, density=0.5, seed=0):
    """Other masks for all layers, none of which is deaf."""
    rng = np.random.default_rng([seed, 5])
    found = {name: rng.random(mask.shape) < density for name, mask in edges_of(net).items()}
    for name, mask in found.items():
        mask[0, 0] |= name.endswith("weight_in")
    return found


def equal_to(net):
    """A network of its own with the same masks and parameters, made by the constructor."""
    layers = []
    for k, cell in enumerate(net.layers):
        masks = {side: net.masks()[f"layers.{k}.weight_{side}"][0] for side in ("in", "rec")}
        layers.append(copy.copy(cell).__class__(**{**vars(cell), "mask_in": masks["in"], "mask_rec": masks["rec"]}))
    made = evsim.Network(net.n_in, layers, net.readout, 9, net.dtype, net.dt)
    made.load_parameters(net.parameters())
    return made


def enlivened(net, seed=0):
    """Give weights that were grown at 0 a value, so that influence passes through them."""
    rng = np.random.default_rng([seed, 6])
    values = net.parameters()
    for name, mask in net.masks().items():
        values[name] += 0.4 * (mask & (values[name] == 0)) * rng.standard_normal(mask.shape)
    net.load_parameters(values)


# The network

@pytest.mark.parametrize("readout", ["linear", "leaky"])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_what_stays_keeps_its_value_and_what_comes_is_zero(stack, readout):
    net = network(stack, density=0.4, density_in=0.5, readout=readout, learn_threshold=True)
    before, had, version, layout = net.parameters(), net.masks(), net.version, net.layout
    masks = drawn(net)
    origin = net.rewire(masks)
    after, has = net.parameters(), net.masks()
    assert net.version != version and net.layout is not layout and len(net.theta) == net.layout.size
    for name, mask in has.items():
        assert (mask == masks[name]).all() and (mask & ~had[name]).any() and (had[name] & ~mask).any()
        stays = mask & had[name]
        assert after[name][stays].tobytes() == before[name][stays].tobytes() and before[name][stays].any()
        assert not after[name][~stays].any()
    rest = [name for name in after if name not in has]
    assert len(rest) > 2 and all(after[name].tobytes() == before[name].tobytes() for name in rest)
    assert origin.shape == net.trained.shape and (origin < 0).sum() == sum((has[n] & ~had[n]).sum() for n in has)
    for k, cell in enumerate(net.layers):
        assert (cell.mask_in == masks[f"layers.{k}.weight_in"]).all()
        assert (cell.mask_rec == masks[f"layers.{k}.weight_rec"]).all()
    x = sequence(net, STEPS)
    np.testing.assert_array_equal(net.run(x), equal_to(net).run(x))


@pytest.mark.nojit
def test_masks_left_out_stay_and_those_of_masks_are_taken():
    net = network(("egru", "lif"), density=0.4)
    before, values = net.masks(), net.theta.copy()
    net.rewire(before)  # with an axis of channels
    assert net.theta.tobytes() == values.tobytes()
    net.rewire({"layers.1.weight_rec": np.zeros((7, 7), bool)})  # a layer may do without recurrence
    after = net.masks()
    assert not after.pop("layers.1.weight_rec").any()
    assert all((after[name] == before[name]).all() for name in after)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("masks", "error", "sentence"),
    [
        ({"layers.7.weight_in": np.ones((9, 4), bool)}, ValueError, "mask='layers.7.weight_in' is unknown: choose one"),
        ({"readout.weight": np.ones((3, 7), bool)}, ValueError, "mask='readout.weight' is unknown"),
        ({"layers.0.weight_rec": np.ones((9, 4), bool)}, ValueError, "layers.0.weight_rec has shape .9, 4., but"),
        ({"layers.0.weight_rec": np.ones((9, 9))}, TypeError, "layers.0.weight_rec has dtype float64: give a boolean"),
        ({"layers.0.weight_rec": None}, TypeError, "layers.0.weight_rec is None: pass a boolean array, or leave"),
        ({"layers.1.weight_in": np.zeros((7, 9), bool)}, ValueError, "layers.1.weight_in keeps no weight at all"),
        ({"layers.0.weight_in": np.arange(108).reshape(3, 9, 4) < 50}, ValueError, "differs from channel to channel"),
        ([np.ones((9, 4), bool)], TypeError, "masks is of type list: pass a dict of boolean arrays by name"),
    ],
)
def test_masks_that_are_refused_change_nothing(masks, error, sentence):
    net = network(("egru", "lif"), density=0.4)
    before = net.theta, net.layout, net.version, net.layers
    with pytest.raises(error, match=sentence):
        net.rewire(masks)
    assert all(one is other for one, other in zip(before, (net.theta, net.layout, net.version, net.layers)))


# Learners

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_a_learner_that_follows_is_as_one_that_is_new(stack):
    net = network(stack, density=0.3, density_in=0.6, readout="leaky" if len(stack) == 1 else "linear")
    x, targets = sequence(net, STEPS, lead=(2,)), targets_for(net, "cross_entropy", (2, STEPS))
    learners = {name: make(net, STEPS, streams=2, threads=2) for name, make in LEARNERS.items()}
    for learner in learners.values():
        learner.run(x, targets)
        learner.gradient()
    net.rewire(drawn(net))
    enlivened(net)
    same = equal_to(net)
    for name, learner in learners.items():
        done = learner.counts
        learner.reset()
        assert not learner.gradient().any() and learner.loss == 0, name  # what was not used is gone
        fresh = LEARNERS[name](same, STEPS, streams=2, threads=2)
        if name == "uoro":
            fresh._random = copy.deepcopy(learner._random)  # signs are not repeated
        assert learner.run(x, targets).tobytes() == fresh.run(x, targets).tobytes(), name
        assert learner.gradient().tobytes() == fresh.gradient().tobytes() and learner.gradient().any(), name
        assert learner.config() == fresh.config() and learner.exact == fresh.exact
        assert (learner.counts == done + fresh.counts).all() and done.any(), name
        assert name == "bptt" or learner.memory == fresh.memory
        if hasattr(learner, "structure"):
            assert (learner.structure() != fresh.structure()).nnz == 0
            assert learner.influence(1).tobytes() == fresh.influence(1).tobytes()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_gradients_stay_exact(stack, loss):
    net = network(stack, density=0.3, density_in=0.6, learn_threshold=True, learn_beta=True)
    x, targets, keep = sequence(net, STEPS), targets_for(net, loss, (STEPS,)), np.arange(STEPS) % 3 == 2
    learners = {name: make(net, STEPS, loss=loss) for name, make in ENGINES.items()}
    optimizer = evsim.Adam(0.01)
    for turn in range(3):
        wanted = Unrolled(net, x).gradients(loss, targets, keep)
        assert any(g.any() for g in hidden(wanted).values())
        for name, learner in learners.items():
            learner.zero_gradients()
            learner.run(x, targets, keep)
            assert worst(learner.gradients(), wanted) <= TOLERANCE, name
        leader = learners["block 7"]
        leader.update(optimizer)
        leader.reset()
        evsim.rewire(leader, optimizer, drawn(net, 0.3 + 0.2 * turn, turn))
        enlivened(net, turn)
        for learner in learners.values():
            learner.reset()


def test_a_structure_that_was_not_renewed_is_wrong():
    """The control: the rows that M had before."""
    net = network(("egru",), density=0.15)
    x, targets = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,))
    old = net.layout.set_of_unit, net.layout.sets
    net.rewire(drawn(net, 0.5))
    enlivened(net)
    wanted = Unrolled(net, x).gradients("cross_entropy", targets, np.ones(STEPS, bool))
    for sets, exact in ((old, False), (None, True)):
        if sets is not None:
            right = net.layout.set_of_unit, net.layout.sets
            net.layout.set_of_unit, net.layout.sets = sets
        learner = evsim.RTRL(net)
        learner.run(x, targets)
        assert (worst(learner.gradients(), wanted) <= TOLERANCE) == exact
        if sets is not None:
            net.layout.set_of_unit, net.layout.sets = right


@pytest.mark.parametrize("name", LEARNERS)
def test_between_rewiring_and_reset_nothing_goes_on(name):
    net = network(("egru", "lif"), density=0.4)
    x, targets = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,))
    learner, optimizer = LEARNERS[name](net, STEPS), evsim.SGD(0.1)
    learner.run(x[:4], targets[:4])
    assert learner.in_sequence
    net.rewire({"layers.0.weight_rec": ~edges_of(net)["layers.0.weight_rec"]})
    theta = net.theta.copy()
    calls = [
        lambda: learner.step(x[0], 1), lambda: learner.run(x, targets), lambda: learner.gradients(),
        lambda: learner.update(optimizer), lambda: learner.state(), lambda: learner.cost(),
        lambda: learner.accumulate(np.ones(net.n_out)), *([learner.influence] if hasattr(learner, "structure") else []),
    ]  # fmt: skip
    told = "masks have changed since the learner's last reset: call reset|accumulate needs a step taken with"
    for call in calls:
        with pytest.raises(ValueError, match=told):
            call()
    assert net.theta.tobytes() == theta.tobytes() and optimizer.steps == 0
    learner.reset()
    assert not learner.in_sequence
    learner.step(x[0], 1)
    assert learner.gradient().shape == net.trained.shape


def test_adaptive_feedback_goes_on_from_where_it_was():
    """Against the same training of the same network, whose masks are changed to what they are."""
    nets = [network(("egru",), density=0.4) for _ in range(2)]
    x, targets = sequence(nets[0], STEPS), targets_for(nets[0], "cross_entropy", (STEPS,))
    found = []
    for net, masks in zip(nets, ({}, None)):
        learner, optimizer = evsim.EProp(net, broadcast="adaptive", decay=0.1, seed=2), evsim.Adam(0.05)
        for turn in range(4):
            learner.run(x, targets)
            learner.update(optimizer)
            learner.reset()
            if masks is not None and turn < 3:
                evsim.rewire(learner, optimizer, net.masks())
        found.append((net.theta.tobytes(), learner._feedback[learner._places].tobytes()))
    assert found[0] == found[1]
    evsim.rewire(learner, optimizer, drawn(net))  # places in theta change
    assert learner._feedback[learner._places].tobytes() == found[1][1]
    assert np.abs(learner._feedback[learner._places] - net.theta[learner._places]).max() > 1e-3


def test_streams_may_change_with_the_masks_and_a_checkpoint_continues(tmp_path):
    net = network(("egru",), density=0.4)
    x, targets = sequence(net, STEPS, lead=(3,)), targets_for(net, "cross_entropy", (3, STEPS))
    learner, optimizer = evsim.RTRL(net, streams=3), evsim.Adam(0.01)
    learner.run(x, targets)
    learner.update(optimizer)
    learner.reset(streams=1)
    evsim.rewire(learner, optimizer, drawn(net))
    learner.reset(streams=3)
    learner.run(x[:, :7], targets[:, :7])
    evsim.save(tmp_path / "c.npz", net, learner, optimizer)
    found = evsim.load(tmp_path / "c.npz")
    assert found.learner.in_sequence
    for one, other in ((learner, optimizer), (found.learner, found.optimizer)):
        one.run(x[:, 7:], targets[:, 7:])
        one.update(other)
    assert found.net.theta.tobytes() == net.theta.tobytes()


# Optimisers

@pytest.mark.parametrize("make", [lambda: evsim.Adam(0.01), lambda: evsim.SGD(0.1, momentum=0.9)])
def test_the_state_of_what_stays_is_kept(make):
    net = network(("egru", "lif"), density=0.4)
    x, targets = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,))
    learner, optimizer = evsim.RTRL(net), make()
    evsim.rewire(learner, optimizer, net.masks())  # before the first update there is no state
    for _ in range(2):
        learner.run(x, targets)
        learner.update(optimizer)
        learner.reset()
    had, before = net.masks(), optimizer.state()
    dense = {slot: net.to_dense(before[slot], trained_only=True) for slot in optimizer.slots}
    origin = evsim.rewire(learner, optimizer, drawn(net))
    after = optimizer.state()
    assert after["steps"] == 2
    for slot in optimizer.slots:
        assert after[slot].shape == net.trained.shape and after[slot].any()
        for name, moved in net.to_dense(after[slot], trained_only=True).items():
            stays = net.masks()[name] & had[name] if name in had else np.ones(moved.shape, bool)
            assert moved[stays].tobytes() == dense[slot][name][stays].tobytes()
            assert not moved[~stays].any()
    stale = make()
    stale.load_state(before)
    with pytest.raises(ValueError, match="use a new optimiser for another network"):
        stale.apply(net.trained, np.zeros_like(net.trained))
    with pytest.raises(ValueError, match="origin names place"):
        stale.rewire(np.append(origin, 10**6))
    with pytest.raises(ValueError, match="give a vector of places"):
        stale.rewire(np.zeros(3))
    assert all((stale.state()[slot] == before[slot]).all() for slot in optimizer.slots)


def test_masks_that_do_not_change_do_not_change_training():
    thetas = []
    for again in (False, True):
        net = network(("egru", "lif"), density=0.4)
        x, targets = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,))
        learner, optimizer = evsim.RTRL(net, block=4), evsim.Adam(0.01)
        for _ in range(4):
            learner.run(x, targets)
            learner.update(optimizer)
            learner.reset()
            if again:
                evsim.rewire(learner, optimizer, net.masks())
        thetas.append(net.theta.tobytes())
    assert thetas[0] == thetas[1]


def test_rewire_refuses_in_mid_sequence_and_foreign_optimisers():
    net, other = network(("egru",), density=0.4), network(("lif",), density=0.3)
    learner, optimizer = evsim.RTRL(net), evsim.Adam(0.01)
    optimizer.apply(other.trained, np.ones_like(other.trained))
    before = net.layout
    with pytest.raises(ValueError, match="use a new optimiser for another network"):
        evsim.rewire(learner, optimizer, drawn(net))
    with pytest.raises(TypeError, match="optimizer is None: pass one"):
        evsim.rewire(learner, None, drawn(net))
    learner.step(np.ones(net.n_in))
    with pytest.raises(ValueError, match="mid-sequence, and masks change between sequences: call its reset"):
        evsim.rewire(learner, evsim.Adam(0.01), drawn(net))
    assert net.layout is before
    learner.reset()
    evsim.rewire(learner, evsim.Adam(0.01), drawn(net))
    assert net.layout is not before


def test_a_silent_sequence_is_one_too_after_a_checkpoint(tmp_path):
    """Units at rest, without bias or input: nothing but the influence of biases says that steps were taken."""
    net = evsim.Network(2, [evsim.LIF(3)], evsim.Readout(2))
    learner = evsim.RTRL(net)
    learner.run(np.zeros((4, 2)))
    evsim.save(tmp_path / "a.npz", net, learner)
    again = evsim.load(tmp_path / "a.npz").learner
    assert again.influence().any()
    with pytest.raises(ValueError, match="mid-sequence"):
        evsim.rewire(again, evsim.Adam(0.01), {})


# Under torch

def test_a_module_refuses_the_masks_it_was_not_made_for():
    torch = pytest.importorskip("torch")
    from evsim.models import OnlineModule

    net = network(("egru",), density=0.4)
    learner = evsim.RTRL(net)
    module, x = OnlineModule(learner), torch.from_numpy(sequence(net, STEPS))
    module(x)
    module.reset()
    masks = evsim.SET(fraction=0.5).masks(net, 1, np.random.default_rng(0))
    size = len(net.trained)
    net.rewire(masks)
    theta = net.theta.copy()
    assert len(net.trained) == size  # nothing but the layout tells
    module.reset()
    for call in (lambda: module(x), module.sync):
        with pytest.raises(ValueError, match="masks have changed since the module was made: make a new one"):
            call()
    assert net.theta.tobytes() == theta.tobytes()
    again = OnlineModule(learner)
    np.testing.assert_array_equal(again(x).detach().numpy(), net.run(sequence(net, STEPS)))
