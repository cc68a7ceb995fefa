"""What a readout that learns in fixed point must come to, to the bit: updates in random steps, for test_main.c."""

import numpy as np

from evsim.emit.vectors import BASIS, after, hashed, random_inputs
from evsim.fixed.learn import RATE

UPDATES, PERIOD = 500, 3  # updates, and steps from one to the next
SPEED = RATE.quantise(0.02)
SEED, SHIFTS = 7, {"mse": 18, "binary_cross_entropy": 17}  # of targets: which bits of a random number they are


def lesson_hash(model, updates=UPDATES):
    """The hash that the lesson must come to: of all outputs on the way, and of weights and biases at the end."""
    golden, fixed, seed, state, t = model.golden(), model.fixed, SEED, BASIS, 0
    for x in random_inputs(fixed.n_in, fixed.given.top, updates * PERIOD):
        _, events = golden.run(x[None])
        for y in events[-1][0]:
            out = golden.read_out(y)
            state = hashed(state, out.tolist())
            if model.loss == "cross_entropy":
                seed = after(seed)
                target = seed % model.n_out
            else:
                target = np.zeros_like(out)
                for o in range(len(out)):
                    seed = after(seed)
                    target[o] = seed >> SHIFTS[model.loss]
            golden.learn(y, out, target)
            t += 1
            if t % PERIOD == 0:
                golden.update(SPEED)
    return hashed(state, [*golden.weight.T.ravel().tolist(), *golden.bias.tolist()])


def fixed_lesson(model, updates=UPDATES):
    """(functions, calls) that test_main.c has beside the rest. model: a `evsim.emit.fixed_learn.FixedLearningModel`."""
    n_out = model.n_out
    if model.loss == "cross_entropy":
        goals = ["goal = after(goal);"]
        learn = f"learn_class(&state, (size_t)(goal % {n_out}u))"
    else:
        goals = [f"for (size_t o = 0; o < {n_out}u; ++o) {{", "    goal = after(goal);"]
        goals += [f"    goals[o] = (int32_t)(goal >> {SHIFTS[model.loss]});", "}"]
        learn = "learn_values(&state, goals)"
    text = _LESSON.format(
        p=model.prefix, u=model.upper, n_out=n_out, weights=n_out * model.parts[-1].inp.sources, updates=updates,
        period=PERIOD, steps=updates * PERIOD, rate=int(SPEED), basis=BASIS, seed=SEED, learn=learn,
        goals="\n".join(f"        {line}" for line in goals), wanted=lesson_hash(model, updates),
        table="" if model.loss == "cross_entropy" else f"    static int32_t goals[{n_out}];\n",
    )  # fmt: skip
    return text, "\n    failed |= lesson();"


_LESSON = """
/* The readout learns on random targets; the hash of outputs and weights is the golden model's. */
static int lesson(void)
{{
{table}    uint32_t seed = 1u, goal = {seed}u, hash = {basis}u;
    (void){p}_init(&state);
    for (size_t t = 0; t < {steps}u; ++t) {{
        const size_t n = draw(&seed);
        if ({p}_step(&state, heard, n, NULL, 0, NULL) != {u}_OK) {{
            printf("FAILED: step %lu of the lesson was refused\\n", (unsigned long)t);
            return 1;
        }}
        for (size_t o = 0; o < {n_out}u; ++o) {{
            hash = hashed(hash, state.out[o]);
        }}
{goals}
        if ({p}_{learn} != {u}_OK || ((t + 1u) % {period}u == 0u && {p}_update(&state, {rate}) != {u}_OK)) {{
            printf("FAILED: step %lu of the lesson was not learnt\\n", (unsigned long)t);
            return 1;
        }}
    }}
    for (size_t k = 0; k < {weights}u; ++k) {{
        hash = hashed(hash, state.readout_weight[k]);
    }}
    for (size_t o = 0; o < {n_out}u; ++o) {{
        hash = hashed(hash, state.readout_bias[o]);
    }}
    printf("lesson: %lu updates, hash %08lX\\n", (unsigned long){updates}u, (unsigned long)hash);
    if (hash != {wanted}u) {{
        printf("FAILED: the golden model's hash is %08lX\\n", (unsigned long){wanted}u);
        return 1;
    }}
    return 0;
}}
"""
