"""Tasks: what every one promises, and digits and spiral in particular."""

import hashlib
import sys

import numpy as np
import pytest

from evsim import registry
from evsim.task import SPLITS, Choice, Data, Task, fixed_order, quotas

pytestmark = pytest.mark.nojit

VARIANTS = [*(("digits", {"layout": layout}) for layout in ("rows", "pixels", "permuted")), ("spiral", {})]


def make(name, options):
    """Return a task by name."""
    return registry.lookup("task", name)(**options)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1].values()]))
def task(request):
    return make(*request.param)


def test_every_task_is_tried():
    known = {name: registry.lookup("task", name) for name in registry.names("task")}
    fixed = {name for name, task in known.items() if not (task.fresh or task.tokens)}
    assert {name for name, _ in VARIANTS} == fixed  # the others: test_generated.py, test_text_task.py


def test_shapes_and_ranges(task):
    assert set(task.sizes) == set(SPLITS)
    for split in SPLITS:
        data, n = task.split(split), task.sizes[split]
        assert data.x.shape == (n, task.steps, task.n_in) and data.x.dtype == np.float32
        assert data.x.flags.c_contiguous and np.isfinite(data.x).all()
        assert data.lengths is None and data.mask is None
        if task.loss == "cross_entropy":
            assert data.y.shape == (n,) and data.y.dtype == np.int64
            assert set(np.unique(data.y)) == set(range(task.n_out))
        else:
            assert data.y.shape == (n, task.n_out) and data.y.dtype == np.float32
            assert set(np.unique(data.y)) == {0.0, 1.0}


def test_splits_are_fixed_and_kept(task):
    again = type(task)(**{name: getattr(task, name) for name in task.options})
    for split in SPLITS:
        assert task.split(split) is task.split(split)
        np.testing.assert_array_equal(task.split(split).x, again.split(split).x)
        np.testing.assert_array_equal(task.split(split).y, again.split(split).y)


def test_no_sequence_is_twice_in_the_data(task):
    rows = np.concatenate([task.split(split).x.reshape(task.sizes[split], -1) for split in SPLITS])
    assert len(np.unique(rows, axis=0)) == len(rows) == sum(task.sizes.values())


def test_classes_are_mixed_within_a_split(task):
    y = task.split("train").y.ravel()
    first = y[: len(y) // 4]
    assert abs(first.mean() - y.mean()) < 0.15 * y.std() and len(np.unique(first)) == len(np.unique(y))


def test_states_what_it_is(task):
    told = task.describe()
    shapes = f"{task.steps} steps of {task.n_in} in, {task.n_out} out"
    for part in (task.name, shapes, task.loss, "chance", f"{task.sizes['test']} test"):
        assert part in told
    assert {"cell", "units", "density", "epochs", "lr"} <= set(task.defaults)
    assert task.defaults["cell"] in registry.names("cell")


def test_unknown_split(task):
    with pytest.raises(ValueError, match="split='dev' is unknown: choose one of train, validation, test"):
        task.split("dev")


def test_digits_split_is_stratified_and_pinned():
    task = make("digits", {})
    assert task.layout == "rows"
    counts = {split: np.bincount(task.split(split).y, minlength=10) for split in SPLITS}
    total = sum(counts.values())
    assert total.sum() == 1797
    for split in SPLITS:
        assert np.abs(counts[split] - total * task.sizes[split] / 1797).max() < 1
    told = hashlib.sha256((task.split("test").x * 16).astype(np.uint8).tobytes()).hexdigest()
    assert told[:16] == "0840a140d471ffee"


def test_digits_layouts_show_the_same_images():
    rows, pixels = make("digits", {"layout": "rows"}), make("digits", {"layout": "pixels"})
    for split in SPLITS:
        a, b = rows.split(split), pixels.split(split)
        np.testing.assert_array_equal(a.x.reshape(-1, 64), b.x.reshape(-1, 64))
        np.testing.assert_array_equal(a.y, b.y)
        assert a.x.min() == 0 and a.x.max() == 1


def test_digits_are_scikit_learns():
    read = pytest.importorskip("sklearn.datasets").load_digits()
    known = {image.tobytes(): label for image, label in zip((read.data / 16).astype(np.float32), read.target)}
    for split in SPLITS:
        data = make("digits", {}).split(split)
        assert [known[image.tobytes()] for image in data.x.reshape(-1, 64)] == data.y.tolist()


def test_spiral_is_the_formula_and_balanced():
    task = make("spiral", {})
    for split in SPLITS:
        x, y = task.split(split).x.astype(np.float64), task.split(split).y[:, 0]
        assert y.mean() == 0.5
        tau = np.linspace(0, 2 * np.pi, 17)
        turned = x * (1 + tau)[:, None]
        np.testing.assert_allclose(np.square(turned).sum(2), 1, atol=1e-5)  # a circle, shrunk
        turned[..., 0] *= np.where(y == 1, 1, -1)[:, None]
        angle = np.unwrap(np.arctan2(turned[..., 0], turned[..., 1]), axis=1)
        np.testing.assert_allclose(angle - angle[:, :1], np.broadcast_to(tau, angle.shape), atol=1e-4)
        phase = np.sort(angle[:, 0] % (2 * np.pi)) / (2 * np.pi)
        assert np.abs(phase - np.linspace(0, 1, len(phase))).max() < 0.05  # uniform


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("digits", {"layout": "columns"}, "layout='columns' is unknown: choose one of rows, pixels"),
        ("digits", {"layout": None}, "rows, pixels"),
        ("digits", {"length": 5}, "has no option 'length': its options are layout: rows, pixels"),
        ("spiral", {"layout": "rows"}, "takes no options, but 'layout' was given"),
    ],
)
def test_bad_options(name, options, match):
    with pytest.raises(ValueError, match=match):
        make(name, options)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'task .digits. needs sklearn.*: pip install -e "\.\[data\]"'):
        make("digits", {}).split("train")


def test_a_task_of_ones_own():
    class Mine(Task):
        name = "mine"
        options = {"size": Choice((3, 5))}
        n_in = n_out = steps = 1
        loss = "mse"
        chance = None
        sizes = dict.fromkeys(SPLITS, 2)

        def _make(self):
            return {split: Data(np.full((2, 1, 1), self.size), np.zeros((2, 1))) for split in SPLITS}

    assert Mine().split("train").x[0, 0, 0] == 3 and Mine(size=5).split("test").x[0, 0, 0] == 5
    assert "size=3" in Mine().describe() and "no chance level" in Mine().describe()


def test_fixed_order_and_quotas():
    assert fixed_order(8, 1).tolist() == [2, 4, 7, 5, 0, 6, 3, 1]
    assert sorted(fixed_order(1000, 2).tolist()) == list(range(1000))
    assert quotas(np.array([5, 3, 2]), 5).tolist() == [3, 1, 1]
    for total in range(101):
        counts = np.array([17, 1, 43, 39])
        shares = quotas(counts, total)
        assert shares.sum() == total and np.abs(shares - counts * total / 100).max() < 1
