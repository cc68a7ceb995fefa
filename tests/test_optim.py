"""Optimisers against torch.optim and by hand; state, refusals, clipping."""

import json

import numpy as np
import pytest

from evsim.optim import SGD, Adam, clip_scale, from_config
from evsim.schedule import Cosine

MAKERS = {
    "sgd": lambda: SGD(0.05),
    "momentum": lambda: SGD(Cosine(0.05, 40), momentum=0.9),
    "adam": lambda: Adam(3e-3),
    "adamw": lambda: Adam(Cosine(3e-3, 40, warmup=4), 0.8, 0.95, 1e-6, weight_decay=0.1),
}

pytestmark = pytest.mark.nojit


def steps_of(optimizer, theta, gradients):
    """Apply each gradient to theta, in place; return theta."""
    for gradient in gradients:
        optimizer.apply(theta, gradient)
    return theta


def draws(size=7, count=30, dtype=np.float64, seed=0):
    """Return a start (size,) and `count` gradients of very different magnitudes."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-6, 3, size=size)
    start = rng.normal(size=size).astype(dtype)
    return start, [(rng.normal(size=size) * scale).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("name", MAKERS)
def test_against_torch(name):
    torch = pytest.importorskip("torch")
    theta, gradients = draws()
    start = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    theirs = {
        "sgd": lambda: torch.optim.SGD([start], lr=0.05),
        "momentum": lambda: torch.optim.SGD([start], lr=0.05, momentum=0.9),
        "adam": lambda: torch.optim.Adam([start], lr=3e-3),
        "adamw": lambda: torch.optim.AdamW([start], lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    }[name]()
    ours = MAKERS[name]()
    for gradient in gradients:
        theirs.param_groups[0]["lr"] = ours.learning_rate
        start.grad = torch.tensor(gradient)
        theirs.step()
        kept = gradient.copy()
        ours.apply(theta, gradient)
        np.testing.assert_array_equal(gradient, kept)
        np.testing.assert_allclose(theta, start.detach().numpy(), rtol=1e-12, atol=1e-12)
    assert ours.steps == len(gradients)


def test_adam_is_not_sgd_and_weight_decay_tells():
    """The comparison above can fail: other numbers give other parameters."""
    theta, gradients = draws()
    reached = [steps_of(make(), theta.copy(), gradients) for make in MAKERS.values()]
    plain = steps_of(Adam(Cosine(3e-3, 40, warmup=4), 0.8, 0.95, 1e-6), theta.copy(), gradients)
    for k, one in enumerate(reached):
        assert all(np.abs(one - other).max() > 1e-3 for other in [*reached[:k], plain])


def test_first_steps_by_hand():
    theta = np.array([1.0, -2.0])
    optimizer = SGD(0.1, momentum=0.5)
    optimizer.apply(theta, np.array([1.0, 2.0]))
    np.testing.assert_allclose(theta, [0.9, -2.2], rtol=1e-15)
    optimizer.apply(theta, np.array([0.0, 0.0]))
    np.testing.assert_allclose(theta, [0.85, -2.3], rtol=1e-15)
    theta = np.array([1.0, -2.0, 3.0])
    Adam(0.1).apply(theta, np.array([1e-3, -50.0, 0.0]))  # the first step of Adam has the size of the rate
    np.testing.assert_allclose(theta, [0.9, -1.9, 3.0], rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_float32_stays_float32_and_near_float64(name):
    theta, gradients = draws()
    single = steps_of(MAKERS[name](), theta.astype(np.float32), [g.astype(np.float32) for g in gradients])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, steps_of(MAKERS[name](), theta, gradients), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MAKERS)
def test_resumes_bit_identically(name, dtype):
    theta, gradients = draws(dtype=dtype)
    through = steps_of(MAKERS[name](), theta.copy(), gradients)
    first = MAKERS[name]()
    half = steps_of(first, theta.copy(), gradients[:13])
    second = from_config(json.loads(json.dumps(first.config())))
    state = first.state()
    second.load_state(state)
    for array in state.values():  # copies: spoiling them changes nothing
        array[...] = 77
    assert second.steps == 13 and second.learning_rate == first.learning_rate
    np.testing.assert_array_equal(steps_of(second, half, gradients[13:]), through)


def test_resume_without_the_state_differs():
    theta, gradients = draws()
    through = steps_of(Adam(), theta.copy(), gradients)
    half = steps_of(Adam(), theta.copy(), gradients[:13])
    assert np.abs(steps_of(Adam(), half, gradients[13:]) - through).max() > 1e-6


def test_state_before_the_first_update():
    state = Adam().state()
    assert list(state) == ["steps"] and state["steps"] == 0
    optimizer = Adam()
    optimizer.load_state(state)
    assert optimizer.steps == 0


def test_config():
    made = Adam(Cosine(0.01, 100, warmup=3), weight_decay=0.2)
    assert made.config() == {
        "kind": "adam",
        "lr": {"kind": "cosine", "lr": 0.01, "steps": 100, "warmup": 3, "final": 0.0},
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 0.2,
        "decay": "all",
    }
    assert SGD(0.5).config() == {"kind": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "decay": "all"}
    custom = SGD(lambda step: 0.1 / (1 + step))
    custom.apply(np.zeros(2), np.ones(2))
    assert custom.learning_rate == 0.05
    with pytest.raises(ValueError, match="cannot be saved"):
        custom.config()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0),
        lambda: SGD(-1.0),
        lambda: SGD(np.nan),
        lambda: SGD("0.1"),
        lambda: SGD(0.1, momentum=1.0),
        lambda: SGD(0.1, momentum=-0.1),
        lambda: SGD(0.1, momentum=False),
        lambda: Adam(0.1, beta1=1.0),
        lambda: Adam(0.1, beta2=-0.5),
        lambda: Adam(0.1, beta2=np.inf),
        lambda: Adam(0.1, epsilon=0.0),
        lambda: Adam(0.1, weight_decay=-1e-3),
        lambda: from_config({"kind": "adagrad", "lr": 1.0}),
        lambda: from_config({"kind": "sgd"}),
        lambda: from_config({"kind": "sgd", "lr": 1.0, "beta1": 0.5}),
        lambda: clip_scale(np.ones(3), 0.0),
        lambda: clip_scale(np.ones(3), np.nan),
    ],
)
def test_bad_numbers(make):
    with pytest.raises(ValueError, match="give|choose|takes"):
        make()


@pytest.mark.parametrize(
    ("theta", "gradient", "error", "match"),
    [
        ([1.0], np.ones(1), TypeError, "theta is a list"),
        (np.ones(3), np.ones(4), ValueError, r"gradient is float64 \(4,\), but theta is float64 \(3,\)"),
        (np.ones(3), np.ones(3, np.float32), ValueError, "give one like theta"),
        (np.ones(3, int), np.ones(3), TypeError, "float32 or float64"),
        (np.ones((2, 2)), np.ones((2, 2)), ValueError, "vector"),
        (np.ones(6)[::2], np.ones(3), ValueError, "vector"),
        (np.broadcast_to(np.ones(1), 1), np.ones(1), ValueError, "read-only"),
    ],
)
def test_bad_vectors(theta, gradient, error, match):
    with pytest.raises(error, match=match):
        Adam().apply(theta, gradient)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_divergence_changes_nothing(bad):
    optimizer, theta = Adam(), np.ones(3)
    optimizer.apply(theta, np.ones(3))
    kept, state = theta.copy(), optimizer.state()
    with pytest.raises(FloatingPointError, match="at index 1: training has diverged"):
        optimizer.apply(theta, np.array([1.0, bad, 1.0]))
    np.testing.assert_array_equal(theta, kept)
    for name, array in optimizer.state().items():
        np.testing.assert_array_equal(array, state[name])


def test_shared_memory_and_another_network_are_refused():
    optimizer, theta = Adam(), np.ones(4)
    with pytest.raises(ValueError, match="share memory"):
        optimizer.apply(theta, theta)
    optimizer.apply(theta, np.ones(4))
    with pytest.raises(ValueError, match="another network"):
        optimizer.apply(np.ones(5), np.ones(5))
    with pytest.raises(ValueError, match="another network"):
        optimizer.apply(np.ones(4, np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, "0.1", None, np.ones(2)])
def test_a_custom_schedule_must_give_a_rate(rate):
    theta = np.ones(2)
    with pytest.raises(ValueError, match="the schedule gave"):
        SGD(lambda step: rate).apply(theta, np.ones(2))
    np.testing.assert_array_equal(theta, np.ones(2))


@pytest.mark.parametrize(
    "change",
    [
        {"mean": None},
        {"velocity": np.ones(3)},
        {"steps": np.array(-1)},
        {"steps": np.array(1.5)},
        {"steps": np.array(0)},
        {"mean": np.ones(4)},
        {"mean": np.ones((3, 1))},
        {"mean": np.ones(3, np.float32)},
        {"mean": np.array([1.0, np.nan, 1.0])},
        {"square": np.array([1.0, -1.0, 1.0])},
    ],
)
def test_bad_state_is_refused_and_changes_nothing(change):
    optimizer = Adam()
    optimizer.apply(np.ones(3), np.ones(3))
    state = {k: v for k, v in {**optimizer.state(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match="load another|give"):
        optimizer.load_state(state)
    assert optimizer.steps == 1 and optimizer.state()["mean"].shape == (3,)


def test_clip_scale():
    gradient = np.array([3.0, 0.0, -4.0])
    assert clip_scale(gradient, 1.0) == pytest.approx(0.2, rel=1e-15)
    assert clip_scale(gradient, 5.0) == 1.0 and clip_scale(gradient, 50.0) == 1.0
    assert clip_scale(np.zeros(3), 1.0) == 1.0 and clip_scale(np.zeros(0), 1.0) == 1.0
    assert clip_scale(gradient * 1e200, 1.0) == pytest.approx(2e-201, rel=1e-12)
    assert clip_scale(gradient * 1e-300, 1e-300) == pytest.approx(0.2, rel=1e-12)
    many = np.full(1_000_000, 1e-3, dtype=np.float32)
    assert clip_scale(many, 0.5) == pytest.approx(0.5 / (float(many[0]) * 1e3), rel=1e-12)
    with pytest.raises(FloatingPointError, match="index 0"):
        clip_scale(np.array([np.nan, 1.0]), 1.0)


@pytest.mark.parametrize("kind", ("adam", "sgd", "sgd with momentum"))
@pytest.mark.parametrize("decay", ("all", "weights"))
def test_what_decays(kind, decay):
    """As torch, with groups of parameters of their own; thresholds do not decay where weights alone do."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    theta, weights = rng.standard_normal(9), np.arange(9) % 3 > 0
    heavy, light = (torch.tensor(theta[part], requires_grad=True) for part in (weights, ~weights))
    groups = [{"params": [heavy]}, {"params": [light], **({"weight_decay": 0.0} if decay == "weights" else {})}]
    momentum = 0.8 if kind.endswith("momentum") else 0.0
    if kind == "adam":
        ours, theirs = Adam(0.02, weight_decay=0.3, decay=decay), torch.optim.AdamW(groups, lr=0.02, weight_decay=0.3)
    else:
        ours = SGD(0.02, momentum, weight_decay=0.3, decay=decay)
        theirs = torch.optim.SGD(groups, lr=0.02, momentum=momentum, weight_decay=0.3)
    for _ in range(5):
        gradient = rng.standard_normal(9)
        ours.apply(theta, gradient, weights)
        heavy.grad, light.grad = torch.tensor(gradient[weights]), torch.tensor(gradient[~weights])
        theirs.step()
    np.testing.assert_allclose(theta[weights], heavy.detach(), rtol=1e-12)
    np.testing.assert_allclose(theta[~weights], light.detach(), rtol=1e-12)
    assert from_config(ours.config()).config() == ours.config()


def test_decay_of_weights_needs_to_know_them():
    with pytest.raises(ValueError, match="has to know which parameters are weights"):
        Adam(0.1, weight_decay=0.1, decay="weights").apply(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="choose one of all, weights"):
        SGD(0.1, weight_decay=0.1, decay="some")


def test_a_network_s_thresholds_do_not_decay_with_its_weights():
    import evsim

    net = evsim.Network(2, [evsim.EGRU(4)], evsim.Readout(3))
    before = net.parameters()
    learner = evsim.RTRL(net)
    learner.update(Adam(0.1, weight_decay=0.5, decay="weights"))  # of a gradient of 0
    for name, value in net.parameters().items():
        expected = 0.95 if "weight" in name else 1.0
        np.testing.assert_allclose(value, expected * before[name], rtol=1e-6)
