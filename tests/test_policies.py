"""Policies: which weights go and which come; the gradient of absent weights; densities shared out by Erdos-Renyi."""

import numpy as np
import pytest
from oracle import TOLERANCE, Unrolled, network, sequence, targets_for
from test_rewiring import STACKS, STEPS, equal_to

import evsim
from evsim.rewiring import all_gradients, dense_twin, density_of, edges_of, from_config, magnitudes


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
@pytest.mark.parametrize("readout", ["linear", "leaky"])
def test_the_gradient_of_absent_weights_is_that_of_a_dense_network(stack, readout):
    net = network(stack, density=0.3, density_in=0.6, readout=readout, spread=True)
    x, targets, keep = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,)), np.arange(STEPS) > 3
    ones = {name: np.ones(mask.shape, bool) for name, mask in edges_of(net).items()}
    dense = equal_to(net)
    dense.rewire(ones)
    wanted = Unrolled(dense, x).gradients("cross_entropy", targets, keep)
    found = all_gradients(net, "cross_entropy", x, targets, keep)
    for name, mask in net.masks().items():
        assert wanted[name][~mask].any()
        assert np.abs(found[name] - wanted[name]).max() <= TOLERANCE * np.abs(wanted[name]).max()
    twice = all_gradients(net, "cross_entropy", np.stack([x, x]), np.stack([targets] * 2), np.stack([keep] * 2))
    np.testing.assert_allclose(twice["layers.0.weight_rec"], 2 * found["layers.0.weight_rec"], rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(dense_twin(net).run(x), dense.run(x))
    assert density_of(net) < 1 and density_of(dense_twin(net)) == 1


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_magnitude_follows_the_cubic_and_keeps_the_largest():
    net = network(("egru", "lif"), density=1.0, density_in=1.0)
    policy = evsim.Magnitude(density=0.1, steps=80, every=10, begin=20)
    assert [round(policy.aim(step, 1.0), 6) for step in (0, 20, 50, 80, 99)] == [1, 1, 0.2125, 0.1, 0.1]
    assert policy.masks(net, 10, None, 1.0) is None  # nothing to prune yet
    edges = sum(mask.size for mask in edges_of(net).values())
    for step in (40, 60, 80):
        before, sizes = edges_of(net), magnitudes(net)
        masks = policy.masks(net, step, None, 1.0)
        assert sum(counts(masks).values()) == round(policy.aim(step, 1.0) * edges)
        for name, mask in masks.items():
            assert not (mask & ~before[name]).any()
            assert sizes[name][mask].min() >= sizes[name][before[name] & ~mask].max()
            assert abs(mask.mean() - policy.aim(step, 1.0)) <= 1 / mask.size + 1e-9  # the same share of each
        net.rewire(masks)
    assert density_of(net) == round(0.1 * edges) / edges
    np.testing.assert_allclose(  # an edge is as large as its weights in all channels
        magnitudes(net)["layers.0.weight_in"], np.linalg.norm(net.parameters()["layers.0.weight_in"], axis=0)
    )


def test_magnitude_over_all_layers_keeps_the_largest_of_all_but_leaves_no_layer_deaf():
    net = network(("egru", "lif"), density=1.0)
    policy, sizes = evsim.Magnitude(density=0.3, steps=10, scope="global"), magnitudes(net)
    masks = policy.masks(net, 10, None, 1.0)
    kept = np.concatenate([sizes[name][mask] for name, mask in masks.items()])
    gone = np.concatenate([sizes[name][~mask] for name, mask in masks.items()])
    assert kept.min() >= gone.max()
    values = net.parameters()
    values["layers.1.weight_in"] *= 1e-9
    net.load_parameters(values)
    net.rewire(evsim.Magnitude(density=0.05, steps=10, scope="global").masks(net, 10, None, 1.0))
    assert counts(edges_of(net))["layers.1.weight_in"] == 1


@pytest.mark.parametrize("kind", ["set", "rigl"])
def test_set_and_rigl_replace_the_smallest_and_keep_the_number(kind):
    net = network(("egru", "lif"), density=0.4, density_in=0.6)
    x, targets = sequence(net, STEPS), targets_for(net, "cross_entropy", (STEPS,))
    gradients = all_gradients(net, "cross_entropy", x, targets)
    policy = evsim.SET(fraction=0.3) if kind == "set" else evsim.RigL(steps=100, fraction=0.6)
    share = 0.3 if kind == "set" else 0.6 / 2 * (1 + np.cos(np.pi * 25 / 75))
    assert policy.share(25) == pytest.approx(share)
    before, sizes = edges_of(net), magnitudes(net)
    masks, again, other = (policy.masks(net, 25, np.random.default_rng(s), gradients=gradients) for s in (1, 1, 2))
    assert all((masks[name] == again[name]).all() for name in masks)
    assert all((masks[name] == other[name]).all() for name in masks) == (kind == "rigl")
    for name, mask in masks.items():
        dropped, grown = before[name] & ~mask, mask & ~before[name]
        moved = round(share * before[name].sum())
        assert dropped.sum() == grown.sum() == moved > 0 and mask.sum() == before[name].sum()
        assert sizes[name][dropped].max() <= sizes[name][mask & before[name]].min()
        if kind == "rigl":
            strength = np.linalg.norm(gradients[name], axis=0)
            assert strength[grown].min() >= strength[~mask & ~before[name]].max()


@pytest.mark.nojit
def test_few_absent_weights_ties_and_the_end_of_rigl():
    net = network(("lif",), density=1.0)
    masks = edges_of(net)
    masks["layers.0.weight_rec"][0, :2] = False
    net.rewire(masks)
    found = evsim.SET(fraction=1.0).masks(net, 1, np.random.default_rng(0))
    assert counts(found) == counts(masks) and (found["layers.0.weight_in"] == masks["layers.0.weight_in"]).all()
    assert found["layers.0.weight_rec"][0, :2].all()  # two are absent, so two are replaced
    zeros = {name: np.zeros_like(value) for name, value in net.parameters().items()}
    policy = evsim.RigL(steps=100, fraction=1.0)
    alike = [policy.masks(net, 1, np.random.default_rng(seed), gradients=zeros) for seed in (0, 1)]
    assert all((alike[0][name] == alike[1][name]).all() for name in masks)
    assert policy.masks(net, 75, None, gradients=zeros) is None and policy.share(74) > 0
    with pytest.raises(ValueError, match="RigL needs the gradients of all weights"):
        policy.masks(net, 1, None)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: evsim.Magnitude(density=0, steps=10), "means pruning to zero weights: give a final density above 0"),
        (lambda: evsim.Magnitude(density=1.2, steps=10), "density=1.2 is not usable: give a fraction, from 0 to 1"),
        (lambda: evsim.Magnitude(density=0.1, steps=10, begin=10), "begin=10 leaves nothing of steps=10"),
        (lambda: evsim.Magnitude(density=0.1, steps=10, scope="net"), "scope='net' is unknown: choose one of layer"),
        (lambda: evsim.SET(fraction=-0.1), "fraction=-0.1 is not usable: give a fraction, from 0 to 1"),
        (lambda: evsim.SET(every=0), "every=0 is not usable"),
        (lambda: evsim.RigL(steps=10, fraction=1.1), "fraction=1.1 is not usable"),
        (lambda: evsim.RigL(steps=10, stop=2), "stop=2 is not usable"),
        (lambda: from_config({"kind": "sett"}), "kind='sett' is unknown: .*did you mean 'set'"),
        (lambda: from_config({"kind": "set", "steps": 3}), "the policy 'set' got steps: it takes fraction, every"),
    ],
)
def test_policies_refuse(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.nojit
def test_policies_are_written_down_and_read():
    for policy in (evsim.Magnitude(0.2, 50, scope="global"), evsim.SET(0.1), evsim.RigL(70, stop=0.5)):
        assert from_config(policy.config()) == policy
    net = network(("lif",), density=0.3)
    with pytest.raises(ValueError, match="density=0.9 would add weights to a network of density .*only prunes"):
        evsim.Magnitude(0.9, 50).check_fit(net)


# Densities

@pytest.mark.nojit
@pytest.mark.parametrize(("n_in", "units"), [(3, [50]), (8, [64, 16, 2]), (700, [40, 40]), (1, [1])])
@pytest.mark.parametrize("density", [0.01, 0.1, 0.35, 0.9, 1.0])
def test_erk_adds_up(n_in, units, density):
    found = evsim.erk(n_in, units, density)
    shapes = {}
    for k, (m, n) in enumerate(zip([n_in, *units], units)):
        shapes |= {f"layers.{k}.weight_in": (n, m), f"layers.{k}.weight_rec": (n, n)}
    assert list(found) == list(shapes)
    total = sum(n * m for n, m in shapes.values())
    assert sum(found[name] * n * m for name, (n, m) in shapes.items()) == pytest.approx(density * total, rel=1e-12)
    assert all(0 < value <= 1 for value in found.values())
    free = [found[name] * n * m / (n + m) for name, (n, m) in shapes.items() if found[name] < 1]
    np.testing.assert_allclose(free, free[:1] * len(free))  # in proportion to (n + m) / (n m)
    scale = free[0] if free else 0
    assert all(scale * (n + m) / (n * m) >= 1 for name, (n, m) in shapes.items() if found[name] == 1) or density == 1


@pytest.mark.nojit
def test_erk_refuses():
    refused = ((3, [4], 0), "density=0 is"), ((3, [], 0.5), "names no layer"), ((3, [0], 0.5), "units of layer 0=0")
    for given, sentence in refused:
        with pytest.raises(ValueError, match=sentence):
            evsim.erk(*given)
