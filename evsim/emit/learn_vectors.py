"""What a learner in C must come to: weights after updates on record, by evsim's own learner, for test_main.c."""

import copy
from typing import Any, NamedTuple

import numpy as np

from evsim.checkpoint import rebuild
from evsim.emit.learn_report import multiply_adds
from evsim.emit.text import number
from evsim.emit.vectors import event_tables, table
from evsim.optim import SGD, clip_scale
from evsim.registry import lookup

STEPS, UPDATES = 32, 500  # of a sequence, after which state is reset; and at most in all, one at each step
WORK = 2 * 10**8  # multiply-adds that they may take, but for the first STEPS of them
RATE, CLIP = 1e-3, 1.0
TOLERANCE = 1e-4  # of weights, beside the largest
NEAR = 1e-3  # by how much outputs in both precisions may differ before an event must have come in one alone
ENGINES = {"exact": ("rtrl", {}), "snap1": ("snap", {"n": 1}), "eprop": ("eprop", {}), "readout": ("eprop", {})}


class Learning(NamedTuple):
    """x: (steps, n_in); targets: one for each; weights: what they come to, all that the plan trains."""

    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def record_learning(plan, loss, inputs):
    """A `Learning` of the network in a `LearnPlan`: SGD at every step, in float32, on targets drawn at random.

    inputs: list of sequences, from which steps are taken in turn. It ends where float32 and float64 come to different
    outputs: from there on other roundings than evsim's may come to other events.
    """
    updates = min(UPDATES, max(STEPS, WORK // multiply_adds(plan)["total"]))
    x = np.concatenate([one[:STEPS] for one in inputs])
    x = np.resize(x, (updates, x.shape[1])).astype(np.float32)
    rng = np.random.default_rng(0)
    classes = loss == "cross_entropy"
    targets = rng.integers(plan.net.n_out, size=len(x)) if classes else rng.random((len(x), plan.net.n_out))
    targets = targets if classes else targets.astype(np.float32)
    twin = rebuild({**plan.net.config(), "dtype": "float64"}, plan.net.parameters(), plan.net.masks())
    runs = [follow_learning(net, plan, loss, x, targets) for net in (copy.deepcopy(plan.net), twin)]
    steps, weights = 0, plan.net.trained[plan.base :]
    for (out, found), (exact, _) in zip(*runs):
        if not np.all(np.abs(out - exact) <= NEAR * (1 + np.abs(exact))):
            break
        steps, weights = steps + 1, found
    return Learning(x[:steps], targets[:steps], weights)


def follow_learning(net, plan, loss, x, targets):
    """Yields (outputs, what is trained after the update) of each step, until it diverges; `net` is changed."""
    kind, options = ENGINES[plan.method]
    learner: Any = lookup("learner", kind)(net, loss=loss, **options)
    optimizer = SGD(RATE)
    for t, (given, target) in enumerate(zip(x, targets)):
        if t % STEPS == 0:
            learner.reset()
        out = learner.step(given, target)
        gradient = learner.gradient()
        gradient[: plan.base] = 0
        if not np.isfinite(gradient).all():
            return
        gradient *= clip_scale(gradient, CLIP)
        optimizer.apply(net.trained, gradient)
        net.project()
        learner.zero_gradients()
        yield out, net.trained[plan.base :].copy()


def learning_test(model, learning):
    """(functions, calls) that test_main.c has beside the rest: the same updates, and what the weights come to."""
    if not len(learning.x):
        return "", ""
    classes = model.loss == "cross_entropy"
    kind = "uint32_t" if classes else "float"
    tables = [
        *event_tables("lesson", learning.x, "float"), table("lesson_target", learning.targets, kind),
        table("lesson_weights", learning.weights, "float"),
    ]  # fmt: skip
    learn = "learn_class(&state, (size_t)lesson_target[t])"
    if not classes:
        learn = f"learn_values(&state, &lesson_target[t * {model.n_out}u])"
    text = _LESSON.format(
        p=model.prefix, u=model.upper, tables="\n".join(tables), steps=len(learning.x), every=STEPS, learn=learn,
        rate=number(RATE, "float"), clip=number(CLIP, "float"), tolerance=TOLERANCE,
    )  # fmt: skip
    return text, "\n    failed |= lesson();"


_LESSON = """
{tables}

/* An update at every step; what the weights come to is on record. */
static int lesson(void)
{{
    double largest = 0.0, apart = 0.0;
    size_t at = 0;
    (void){p}_init(&state);
    for (size_t t = 0; t < {steps}u; ++t) {{
        const size_t n = lesson_counts[t];
        if (t % {every}u == 0u) {{
            (void){p}_reset(&state);
        }}
        for (size_t j = 0; j < n; ++j) {{
            heard[j].index = lesson_indices[at + j];
            heard[j].value = lesson_values[at + j];
        }}
        at += n;
        if ({p}_step(&state, heard, n, NULL, 0, NULL) != {u}_OK || {p}_{learn} != {u}_OK
            || {p}_update(&state, {rate}, {clip}) != {u}_OK) {{
            printf("FAILED: step %lu of the lesson was refused\\n", (unsigned long)t);
            return 1;
        }}
    }}
    for (size_t k = 0; k < {u}_TRAINED; ++k) {{
        const double wanted = (double)lesson_weights[k], gap = fabs((double)state.weights[k] - wanted);
        largest = fabs(wanted) > largest ? fabs(wanted) : largest;
        apart = gap <= apart ? apart : gap;
    }}
    printf("lesson: %lu updates, weights differ by %.1e of the largest\\n", (unsigned long){steps}u, apart / largest);
    if (!(apart <= {tolerance} * largest)) {{
        printf("FAILED: weights are not what they were on record\\n");
        return 1;
    }}
    return 0;
}}
"""
