"""Tasks drawn from a rule: each is what its definition says, read off by a slow loop; which sequences come when."""

import hashlib

import numpy as np
import pytest

from evsim import registry
from evsim.build import KINDS
from evsim.evaluate import _losses
from evsim.task import SPLITS, Choice, Count, Data

pytestmark = pytest.mark.nojit

VARIANTS = {
    "copy": ("copy", {}),
    "copy full": ("copy", {"length": 8, "symbols": 4, "alphabet": 3}),
    "copy climbing": ("copy", {"curriculum": "on", "symbols": 4, "alphabet": 3}),
    "positional": ("positional-copy", {"length": 11, "symbols": 2}),
    "scattered": ("scattered-copy", {"length": 12, "symbols": 3, "alphabet": 2}),
    "scattered identical": ("scattered-copy", {"length": 9, "cues": "identical"}),
    "scattered full": ("scattered-copy", {"length": 8, "symbols": 4}),
    "adding": ("adding", {}),
    "adding two": ("adding", {"length": 2}),
    "adding odd": ("adding", {"length": 7}),
    "recall": ("delayed-recall", {}),
    "recall at once": ("delayed-recall", {"length": 2, "alphabet": 5}),
    "repeat": ("repeat-copy", {}),
    "repeat often": ("repeat-copy", {"symbols": 1, "repeats": 4, "bits": 1}),
    "repeat climbing": ("repeat-copy", {"curriculum": "on", "bits": 3}),
    "order": ("temporal-order", {}),
    "order short": ("temporal-order", {"length": 10}),
    "xor": ("temporal-order", {"length": 47, "rule": "xor"}),
    "tmaze": ("tmaze", {}),
    "tmaze short": ("tmaze", {"length": 2}),
}


def make(name, seed=0, **options):
    """Return a task by name."""
    return registry.lookup("task", name)(seed=seed, **options)


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def task(request):
    name, options = VARIANTS[request.param]
    return make(name, **options)


def copied(task, x, distinct, scattered):
    """(targets, steps that matter, length) of a copy task, from x (T, n_in) alone."""
    A, n, T = task.alphabet, task.symbols, len(x)
    assert (2 * n if task.stage() else task.length) == T
    tokens = [list(row).index(1) for row in x]
    shown = [(t, k) for t, k in enumerate(tokens) if k < A]
    assert len(shown) == n and (scattered or [t for t, _ in shown] == list(range(n)))
    for t in range(T):
        cue = A + 1 + (t - (T - n) if distinct else 0)
        assert tokens[t] == cue if t >= T - n else tokens[t] <= A
    return [A] * (T - n) + [k for _, k in shown], range(T - n, T), T


def repeated(task, x):
    """Likewise for repeat copy: all outputs of a step."""
    B, T = task.bits, len(x)
    (start,), (end,) = ([t for t in range(T) if x[t, B + k]] for k in range(2))
    n, repeats = end - 1, round(float(x[end, B + 1]) * 10)
    assert start == 0 and x[0, B] == 1 and x[end, B + 1] == np.float32(repeats / 10)
    assert not x[0, :B].any() and not x[end:, :B].any() and set(x[1:end, :B].flat) <= {0, 1}
    assert (n, repeats) == (task.symbols, task.repeats) and end + 1 + n * repeats + 1 == T
    shown = [[*x[t, :B].tolist(), 0.0] for t in range(1, end)]
    return [[0.0] * (B + 1)] * (end + 1) + shown * repeats + [[0.0] * B + [1.0]], range(end + 1, T), T


def added(task, x):
    """Likewise for adding."""
    marked = [t for t in range(task.length) if x[t, 1] == 1]
    assert set(x[:, 1]) <= {0, 1} and x[:, 0].min() >= 0 and x[:, 0].max() < 1
    assert len(marked) == 2 and marked[0] < task.length // 2 <= marked[1]
    return [None] * (task.length - 1) + [x[marked[0], 0] + x[marked[1], 0]], [task.length - 1], task.length


def recalled(task, x):
    """Likewise for delayed recall."""
    A, T = task.alphabet, task.length
    for t in range(T):
        assert x[t, :A].sum() == (t < T - 1) and x[t, A] == (t == 0) and x[t, A + 1] == (t == T - 1)
    return [None] * (T - 1) + [list(x[0]).index(1)], [T - 1], T


def ordered(task, x):
    """Likewise for temporal order."""
    T, tokens = task.length, ["abcdXYBE"[list(row).index(1)] for row in x]
    word = "".join(k for k in tokens if k in "XY")
    first, second = (t for t, k in enumerate(tokens) if k in "XY")
    assert T / 10 - 1 < first < 2 * T / 10 and 5 * T / 10 - 1 < second < 6 * T / 10
    assert first >= T // 10 and second >= 5 * T // 10
    assert "".join(tokens).strip("abcdXY") == f"B{''.join(tokens[1:-1])}E" and set(tokens[1:-1]) <= set("abcdXY")
    y = ["XX", "XY", "YX", "YY"].index(word) if task.rule == "order" else int(word in ("XY", "YX"))
    return [None] * (T - 1) + [y], [T - 1], T


def walked(task, x):
    """Likewise for the T-maze."""
    junction = [t for t in range(len(x)) if x[t, 1] == 1]
    end = junction[0] + 1
    assert len(junction) == 1 and task.length <= end <= task.length + 10
    hint, y = x[0, 0], [0.0] * end
    assert hint in (-1, 1) and set(x[1:, 0]) <= {0} and set(x[:end, 2]) <= {-1, 1} and not x[end:].any()
    y[-1] = 4 if hint == (-1 if x[end - 1, 3] else 1) else -3
    for t in range(end):
        assert x[t, 3] + x[t, 4] == 1
        before = x[t - 1, 3:5] if t else [0, 0]
        assert list(x[t, 5:7]) == list(before) and x[t, 7] == (y[t - 1] if t else 0)
    return y, [end - 1], end


def read(task, x):
    """Which of these a task is."""
    if task.name == "repeat-copy":
        return repeated(task, x)
    if "copy" in task.name:
        distinct = task.name == "positional-copy" or getattr(task, "cues", None) == "distinct"
        return copied(task, x, distinct, task.name == "scattered-copy")
    return {"adding": added, "delayed-recall": recalled, "temporal-order": ordered, "tmaze": walked}[task.name](task, x)


def follows(task, data, i):
    """Whether sequence i of `data` is as the definition has it: x, targets, lengths, mask, answers."""
    try:
        wanted, matter, length = read(task, data.x[i])
    except (AssertionError, ValueError):
        return False
    T = data.x.shape[1]
    if length != (T if data.lengths is None else data.lengths[i]):
        return False
    told = None if data.mask is None else [t for t in range(T) if data.mask[i, t]]
    assert told == (list(matter) if task.stage() or task.name == "repeat-copy" else None)
    per_step = data.y.ndim == (2 if task.loss == "cross_entropy" else 3)
    if not per_step:
        assert data.answers is None and all(one is None for one in wanted[:-1]) and list(matter) == [T - 1]
        return data.y[i].item() == pytest.approx(wanted[-1])
    answers = told if data.answers is None else [t for t in range(T) if data.answers[i, t]]
    said = data.y[i, :length].tolist()
    return (said if isinstance(wanted[0], list) else np.ravel(said).tolist()) == wanted and answers == list(matter)


def test_every_generated_task_is_tried():
    fresh = {name for name in registry.names("task") if registry.lookup("task", name).fresh}
    assert {name for name, _ in VARIANTS.values()} == fresh


def test_shapes(task):
    data = task.sample(7, np.random.default_rng(0))
    assert data.x.shape == (7, task.steps, task.n_in) and data.x.dtype == np.float32 and data.x.flags.c_contiguous
    one = () if task.loss == "cross_entropy" else (task.n_out,)
    assert data.y.shape in ((7, *one), (7, task.steps, *one))
    assert data.y.dtype == (np.int64 if task.loss == "cross_entropy" else np.float32)
    if task.loss == "cross_entropy":
        assert set(np.unique(task.split("test").y)) == set(range(task.n_out))


def test_each_sequence_follows_the_definition(task):
    data = task.sample(300, np.random.default_rng(1))
    assert all(follows(task, data, i) for i in range(300))


def test_what_does_not_follow_it_is_seen(task):
    """The reader finds out where y comes from another sequence, x from another step, or other steps are answers."""
    data = task.sample(300, np.random.default_rng(1))
    shuffled = data._replace(y=np.roll(data.y, 1, axis=0))
    assert not all(follows(task, shuffled, i) for i in range(300))
    turned = data._replace(x=np.roll(data.x, 1, axis=1))
    found = sum(follows(task, turned, i) for i in range(300))
    assert found == 0 or task.name == "adding"  # there a mark may stay in its half
    if data.answers is not None:
        assert not any(follows(task, data._replace(answers=~data.answers), i) for i in range(300))


def ends(task, data):
    """(x, y, step) at the answers of `data`, each sequence's in order."""
    answers = data.mask if data.answers is None else data.answers
    if answers is None:
        return data.x[:, -1], data.y.reshape(len(data.x)), np.full(len(data.x), task.steps - 1)
    y = data.y[answers]
    if task.loss == "binary_cross_entropy":  # bits, read as one number
        y = y @ 2.0 ** np.arange(task.n_out)
    return data.x[answers], y.reshape(len(y)), np.nonzero(answers)[1]


def test_chance_is_what_guessing_attains(task):
    """And no constant answer does better: all classes are as frequent, the mean is the best number."""
    _, y, _ = ends(task, task.sample(20000, np.random.default_rng(2)))
    if task.loss == "mse":
        guess = y.astype(np.float64).mean()
        assert guess == pytest.approx(1.0 if task.name == "adding" else 0.5, abs=0.1)
        assert np.square(y - guess).mean() == pytest.approx(task.chance_loss, rel=0.03)
        assert task.chance is None and "chance loss" in task.describe()
        return
    if task.loss == "binary_cross_entropy":
        return chance_of_bits(task)
    classes = round(1 / task.chance)
    rates = np.bincount(y, minlength=task.n_out) / len(y)
    np.testing.assert_allclose(rates[:classes], task.chance, atol=4 * np.sqrt(task.chance / len(y)) + 1e-12)
    assert not rates[classes:].any()  # the blank
    out = np.full((1, task.n_out), -np.inf)
    out[:, :classes] = 0
    with np.errstate(invalid="ignore"):
        assert _losses("cross_entropy", out, np.array([0]))[0] == pytest.approx(task.chance_loss)


def chance_of_bits(task):
    """Likewise, where the best that can be said of a step is how often each output is 1."""
    data = task.sample(20000, np.random.default_rng(2))
    said = [data.y[:, t] for t in np.nonzero(data.mask[0])[0]]
    p = np.clip(np.mean(said, 1, np.float64), 1e-12, 1 - 1e-12)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert entropy.mean() == pytest.approx(task.chance_loss, rel=1e-3)
    most = [np.unique(step, axis=0, return_counts=True)[1].max() / len(step) for step in said]
    assert np.mean(most) == pytest.approx(task.chance, rel=0.02)


def leaks(task, x, y, step):
    """Does one column of x at the step of an answer go with that answer, among answers at the same step?"""
    for t in np.unique(step):
        here, told = x[step == t].astype(np.float64), y[step == t]
        values = np.unique(told)
        for value in values[: len(values) - (len(values) < 3)]:  # of two, one tells of both; of one, there is none
            right = told == value
            gap = here[right].mean(0) - here[~right].mean(0)
            noise = np.sqrt(here.var(0) * (1 / right.sum() + 1 / (~right).sum()))
            if (np.abs(gap) > 5 * noise + 1e-9).any():
                return True
    return False


def test_the_answer_does_not_stand_in_the_input(task):
    if task.name == "adding":
        pytest.skip("a marked number may stand at the last step")
    x, y, step = ends(task, task.sample(6000, np.random.default_rng(3)))
    if task.name == "delayed-recall" and task.length == 2:
        assert not x[:, : task.alphabet].any()
    assert not leaks(task, x, y, step)
    planted = x.copy()
    planted[:, -1] += 0.5 * (y == y[0])
    assert leaks(task, planted, y, step)


def test_places_are_spread_evenly():
    x = make("adding", length=10).sample(20000, np.random.default_rng(4)).x
    np.testing.assert_allclose(x[:, :, 1].mean(0), 0.2, atol=0.015)
    assert x[:, :, 0].mean() == pytest.approx(0.5, abs=0.005) and x[:, :, 0].var() == pytest.approx(1 / 12, rel=0.02)
    x = make("scattered-copy", length=11, symbols=3).sample(20000, np.random.default_rng(4)).x
    np.testing.assert_allclose(x[:, :8, :8].any(2).mean(0), 3 / 8, atol=0.015)
    x = make("temporal-order", length=40).sample(20000, np.random.default_rng(4)).x
    here = x[:, :, 4:6].any(2).mean(0)
    np.testing.assert_allclose(here[4:8], 0.25, atol=0.015)
    np.testing.assert_allclose(here[20:24], 0.25, atol=0.015)
    np.testing.assert_allclose(x[:, 1:4, :4].mean((0, 1)), 0.25, atol=0.015)
    lengths = make("tmaze", length=20).sample(20000, np.random.default_rng(4)).lengths
    np.testing.assert_allclose(np.bincount(lengths)[20:] / 20000, 1 / 11, atol=0.01)


def test_columns_of_models_with_a_memory_and_a_predictor():
    task = make("tmaze")
    assert task.memory_columns == (0, 1, 2, 5, 6, 7) and task.context_columns == (0, 1, 2, 3, 4)
    assert make("copy").memory_columns is None and make("copy").context_columns is None


def same(a, b):
    """Whether two `Data` are equal bit for bit."""
    return all((p is None and q is None) or (p == q).all() for p, q in zip(a, b, strict=True))


def test_same_seed_same_bits(task):
    again = type(task)(**{name: getattr(task, name) for name in task.options})
    other = type(task)(seed=1, **{name: getattr(task, name) for name in task.options})
    for split in SPLITS:
        assert task.split(split) is task.split(split)
        assert same(task.split(split), again.split(split))
        assert same(task.split(split), other.split(split)) == (split != "train")
    assert same(again.training(3), task.training(3)) and same(task.training(0), task.split("train"))
    drawn = [task.split("validation"), task.split("test"), *map(task.training, range(4))]
    for i, one in enumerate(drawn):
        assert not any(same(one, two._replace()) for two in drawn[:i] if len(one.x) == len(two.x))
        assert len(one.x) == task.sizes[("validation", "test")[i] if i < 2 else "train"]


@pytest.mark.parametrize(("name", "told"), [("copy", "af8618f8b5abf324"), ("tmaze", "cd3b7bb2d739875f")])
def test_the_test_sequences_are_pinned(name, told):
    x = make(name).split("test").x
    assert hashlib.sha256(x.astype(np.int8).tobytes()).hexdigest()[:16] == told


def test_says_what_it_is_before_anything_is_drawn(task, monkeypatch):
    monkeypatch.setattr(type(task), "sample", None)
    told = task.describe()
    shapes = f"{task.steps} steps of {task.n_in} in, {task.n_out} out"
    for part in (task.name, shapes, task.loss, "chance", "1000 test"):
        assert part in told
    assert {"cell", "units", "density", "epochs", "lr"} <= set(task.defaults) <= set(KINDS)


def test_the_size_of_an_epoch():
    task = make("adding", epoch_size=7)
    assert task.sizes == {"train": 7, "validation": 200, "test": 1000} and len(task.training(2).x) == 7
    assert "7 train" in task.describe() and "new training sequences in each epoch" in task.describe()


def test_a_fixed_task_gives_the_same_sequences_in_every_epoch():
    task = registry.lookup("task", "spiral")()
    assert task.training(0) is task.training(9) is task.split("train") and not task.fresh


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("copy", {"length": 5}, "length=5 is too short: symbols=3 need 3 steps to be shown and 3 to be asked for, so"),
        ("copy", {"length": 20, "symbols": 11}, "give a length of at least 22, or fewer symbols"),
        ("copy", {"symbols": 0}, "symbols=0 is not usable: give a whole number of at least 1"),
        ("copy", {"alphabet": 1}, "alphabet=1 is not usable: give a whole number of at least 2"),
        ("copy", {"length": 20.5}, "length=20.5 is not usable"),
        ("copy", {"length": None}, "length=None is not usable"),
        ("copy", {"symbols": True}, "symbols=True is not usable"),
        ("copy", {"cues": "distinct"}, "task 'copy' has no option 'cues': its options are length: 20 (at least 2)"),
        ("scattered-copy", {"cues": "same"}, "cues='same' is unknown: choose one of distinct, identical"),
        ("adding", {"length": 1}, "length=1 is not usable: give a whole number of at least 2"),
        ("delayed-recall", {"length": 1}, "length=1 is not usable: give a whole number of at least 2"),
        ("temporal-order", {"length": 9}, "length=9 is not usable: give a whole number of at least 10"),
        ("temporal-order", {"rule": "and"}, "rule='and' is unknown: choose one of order, xor"),
        ("tmaze", {"length": 1}, "length=1 is not usable: give a whole number of at least 2"),
        ("tmaze", {"epoch_size": 0}, "epoch_size=0 is not usable"),
        ("tmaze", {"seed": -1}, "seed=-1 is not usable"),
    ],
)
def test_bad_options(name, options, told):
    with pytest.raises(ValueError) as error:
        make(name, **options)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_bad_splits_and_epochs():
    with pytest.raises(ValueError, match="split='dev' is unknown"):
        make("copy").split("dev")
    with pytest.raises(ValueError, match="epoch=-1 is not usable"):
        make("copy").training(-1)


def test_options_in_words():
    assert Count(5, 2).allowed() == ["5 (at least 2)"] and Choice(("a", 3)).allowed() == ["a", "3"]
    assert Count(5).check("size", np.int64(3)) == 3 and Count(5).default == 5


def test_answers_stand_last_in_data():
    """So that what was written for four arrays still means the same."""
    x, y = np.zeros((1, 2, 3)), np.zeros(1)
    assert Data._fields == ("x", "y", "lengths", "mask", "answers") and Data(x, y).answers is None
