"""test_main.c: what the network hears, shows and says on record, compared with what the C makes of it."""

import numpy as np

from evsim.emit.text import listed, smallest

SOAK = 1000  # random steps
RESET = 512  # a new sequence begins once in so many steps
PRIME, BASIS = 16777619, 2166136261  # of the FNV-1a hash, here over words of 32 bits
WORD = 0xFFFFFFFF
TOLERANCE = 1e-5  # of float32, of 1 + |value|


def random_inputs(n_in, top, steps, seed=1):
    """List of sequences (steps, n_in) of mantissas, and zeros, that test_main.c draws too, by a 32-bit xorshift."""
    found, rows = [], []
    for _ in range(steps):
        seed = after(seed)
        if seed % RESET == 0 and rows:
            found.append(rows)
            rows = []
        row = [0] * n_in
        for j in range(n_in):
            seed = after(seed)
            if seed & 3 == 0:
                size = (seed >> 16) % (top + 1) >> ((seed >> 2) & 7 if top > 255 else 0)
                row[j] = -size if (seed >> 5) & 1 else size
        rows.append(row)
    return [np.array(rows, np.int64) for rows in [*found, rows]]


def golden_hash(golden, fixed, steps=SOAK):
    """The hash that test_main.c must print: of every event of every layer and every output, in random steps.

    golden: the `evsim.fixed.golden.Golden` of the `FixedNetwork` fixed, or what stands in for it.
    """
    state = BASIS
    for x in random_inputs(fixed.n_in, fixed.given.top, steps):
        out, events = golden.run(x[None])
        for t in range(len(x)):
            for shown in events:
                units = np.flatnonzero(shown[0, t]).tolist()
                state = hashed(state, [len(units)])
                for i in units:
                    state = hashed(state, [i, int(shown[0, t, i])])
            state = hashed(state, out[0, t].tolist())
    return state


def hashed(state, words):
    for word in words:
        state = ((state ^ (word & WORD)) * PRIME) & WORD
    return state


def after(seed):
    seed ^= (seed << 13) & WORD
    seed ^= seed >> 17
    return seed ^ ((seed << 5) & WORD)


def test_main(model, x, events, out, steps=SOAK, begin="", more=("", "")):
    """The text of test_main.c, which returns 0 if all agrees.

    x: list of sequences (steps, n_in); events: for each a list of the layers' events (steps, units); out: for each
    (steps, n_out); in numbers for float32, in mantissas for fixed point. steps: how many random ones, fixed point only.
    begin: what comes before the first reset; more: further functions, and their calls.
    """
    p, u, kind = model.prefix, model.upper, model.arithmetic.value
    tables = [table("lengths", [len(one) for one in x], "uint32_t"), *event_tables("heard", np.concatenate(x), kind)]
    for k in range(len(model.parts) - 1):
        tables += event_tables(f"layer{k}", np.concatenate([shown[k] for shown in events]), kind)
    wanted = np.concatenate(out)
    tables.append(table("wanted_out", wanted, kind))
    layers = [f"layer{k}" for k in range(len(model.parts) - 1)]
    fixed = model.fixed
    about = {
        "p": p, "u": u, "value": kind, "tables": "\n".join(tables), "sequences": len(x),
        "counters": "\n".join(f"    size_t at_{one} = 0;" for one in layers),
        "checks": "\n".join(f"            CHECK({one}, state.{one}_events, state.{one}_spoken);" for one in layers),
        "begin": f"    {begin}\n" if begin else "",
    }  # fmt: skip
    if fixed is None:
        near = f"fabs((double)a - (double)b) <= {TOLERANCE} * (1.0 + fabs((double)b))"
        return _MAIN.format(**about, equal=near, math="#include <math.h>\n", soak=more[0], call=more[1])
    told = [f"        hash = hash_events(hash, state.{one}_events, state.{one}_spoken);" for one in layers]
    soak = _SOAK.format(
        p=p, u=u, steps=steps, reset=RESET, hashes="\n".join(told), basis=BASIS, prime=PRIME,
        wanted=golden_hash(model.golden(), fixed, steps), shift="(r >> 2) & 7u" if fixed.given.top > 255 else "0u",
    )  # fmt: skip
    call = "\n    failed |= random_steps();"
    return _MAIN.format(**about, equal="a == b", math="", soak=soak + more[0], call=call + more[1])


def table(name, values, kind):
    """The definition of an array."""
    values = np.ravel(values)
    return f"static const {kind} {name}[{len(values)}] = {{\n{listed(values, kind)}\n}};"


def event_tables(name, values, kind):
    """Tables of how many events there are at each step, and of their indices and values."""
    step, unit = np.nonzero(values)
    counts = np.bincount(step, minlength=len(values))
    found = []
    for what, rows, type in (
        ("counts", counts, smallest(counts.max(initial=0))), ("indices", unit, "uint16_t"),
        ("values", values[step, unit], kind),
    ):  # fmt: skip
        rows = rows if len(rows) else np.zeros(1, int)
        found.append(table(f"{name}_{what}", rows, type))
    return found


_MAIN = """/* Compares the network with what is on record. Returns 0 if all agrees, 1 otherwise. */
#include <stdio.h>
{math}#include "{p}.h"

{tables}

static {p}_state state;
static {p}_event heard[{u}_INPUTS];

static int equal({value} a, {value} b)
{{
    return {equal};
}}

#define CHECK(name, events, spoken)                                                                         \\
    do {{                                                                                                   \\
        int same = (spoken) == name##_counts[step];                                                         \\
        for (size_t j = 0; same && j < (spoken); ++j) {{                                                    \\
            same = (events)[j].index == name##_indices[at_##name + j]                                       \\
                && equal((events)[j].value, name##_values[at_##name + j]);                                  \\
        }}                                                                                                  \\
        if (!same) {{                                                                                       \\
            printf("FAILED: sequence %lu, step %lu: events of " #name " differ\\n", (unsigned long)sequence,\\
                (unsigned long)t);                                                                          \\
            return 1;                                                                                       \\
        }}                                                                                                  \\
        at_##name += name##_counts[step];                                                                   \\
        total += name##_counts[step];                                                                       \\
    }} while (0)

static int recorded_steps(void)
{{
    size_t step = 0, at_heard = 0, total = 0;
{counters}
{begin}    for (size_t sequence = 0; sequence < {sequences}u; ++sequence) {{
        (void){p}_reset(&state);
        for (size_t t = 0; t < lengths[sequence]; ++t, ++step) {{
            const size_t n = heard_counts[step];
            for (size_t j = 0; j < n; ++j) {{
                heard[j].index = heard_indices[at_heard + j];
                heard[j].value = heard_values[at_heard + j];
            }}
            at_heard += n;
            if ({p}_step(&state, heard, n, NULL, 0, NULL) != {u}_OK) {{
                printf("FAILED: sequence %lu, step %lu was refused\\n", (unsigned long)sequence, (unsigned long)t);
                return 1;
            }}
{checks}
            for (size_t k = 0; k < {u}_OUTPUTS; ++k) {{
                if (!equal(state.out[k], wanted_out[step * {u}_OUTPUTS + k])) {{
                    printf("FAILED: sequence %lu, step %lu: output %lu differs\\n", (unsigned long)sequence,
                        (unsigned long)t, (unsigned long)k);
                    return 1;
                }}
            }}
        }}
    }}
    printf("recorded: %lu steps, %lu events agree\\n", (unsigned long)step, (unsigned long)total);
    return 0;
}}
{soak}
int main(void)
{{
    int failed = recorded_steps();{call}
    return failed;
}}
"""

_SOAK = """
static uint32_t hashed(uint32_t hash, int32_t word)
{{
    return (hash ^ (uint32_t)word) * {prime}u;
}}

static uint32_t hash_events(uint32_t hash, const {p}_event *events, size_t n)
{{
    hash = hashed(hash, (int32_t)n);
    for (size_t j = 0; j < n; ++j) {{
        hash = hashed(hash, events[j].index);
        hash = hashed(hash, events[j].value);
    }}
    return hash;
}}

static uint32_t after(uint32_t r)
{{
    r ^= r << 13;
    r ^= r >> 17;
    return r ^ (r << 5);
}}

/* Random inputs, and now and then a reset before them; returns how many. */
static size_t draw(uint32_t *seed)
{{
    size_t n = 0;
    uint32_t r = after(*seed);
    if (r % {reset}u == 0u) {{
        (void){p}_reset(&state);
    }}
    for (size_t j = 0; j < {u}_INPUTS; ++j) {{
        r = after(r);
        if ((r & 3u) == 0u) {{
            const int32_t size = (int32_t)((r >> 16) % ({u}_INPUT_TOP + 1u) >> ({shift}));
            heard[n].index = (uint16_t)j;
            heard[n].value = ({p}_value)(((r >> 5) & 1u) != 0u ? -size : size);
            ++n;
        }}
    }}
    *seed = r;
    return n;
}}

/* The hash of all events and outputs is the golden model's. */
static int random_steps(void)
{{
    uint32_t seed = 1u, hash = {basis}u;
    (void){p}_reset(&state);
    for (size_t t = 0; t < {steps}u; ++t) {{
        const size_t n = draw(&seed);
        if ({p}_step(&state, heard, n, NULL, 0, NULL) != {u}_OK) {{
            printf("FAILED: random step %lu was refused\\n", (unsigned long)t);
            return 1;
        }}
{hashes}
        for (size_t k = 0; k < {u}_OUTPUTS; ++k) {{
            hash = hashed(hash, state.out[k]);
        }}
    }}
    printf("random: %lu steps, hash %08lX\\n", (unsigned long){steps}u, (unsigned long)hash);
    if (hash != {wanted}u) {{
        printf("FAILED: the golden model's hash is %08lX\\n", (unsigned long){wanted}u);
        return 1;
    }}
    return 0;
}}
"""
