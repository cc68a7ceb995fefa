"""Helper functions in C: the shifts, roundings and tables of `evsim.fixed`, word for word what the golden model does.

C leaves the right shift of a negative number to the compiler, and overflow undefined: here neither occurs.
"""

_SHIFT = """static {type} {name}({type} x, int n)
{{
    return x < 0 ? ~(~x >> n) : x >> n;
}}"""

_ROUND = """/* x / 2^n to the nearest, halves up, within +-top; n >= 1 */
static int32_t {name}({type} x, int n, int32_t top)
{{
    const {type} y = {shift}(x + (({type})1 << (n - 1)), n);
    return y > top ? top : y < -top ? -top : (int32_t)y;
}}"""

_CLIP = """static int32_t {name}({type} x, int32_t top)
{{
    return x > top ? top : x < -top ? -top : (int32_t)x;
}}"""

_ABOVE = """/* whether x > y: a function, for compilers warn of comparisons whose outcome they foresee */
static int32_t {name}(int64_t x, int64_t y)
{{
    return x > y ? 1 : 0;
}}"""

_RAISE = """/* x * 2^n within +-top */
static int32_t {name}({type} x, int n, int32_t top)
{{
    const int32_t room = n > 30 ? 0 : top >> n;
    return x > room ? top : x < -room ? -top : (int32_t)(x * ((int32_t)1 << (n > 30 ? 0 : n)));
}}"""

_LOOKUP = """/* the function at size >= 0 between points that lie 2^shift apart (closer than 1 where shift <= 0) */
static int32_t {name}(const {value} *points, int32_t last, int32_t size, int shift)
{{
    int32_t place;
    if (shift > 0) {{
        place = size >> shift;
    }} else {{
        place = size > (last >> -shift) ? last : size * ((int32_t)1 << -shift);
    }}
    if (place >= last || shift <= 0) {{
        return points[place > last ? last : place];
    }}
    {{
        const {wide} rise = ({wide})points[place + 1] - points[place];
        const {wide} rest = size & (((int32_t)1 << shift) - 1);
        return points[place] + (int32_t)((rise * rest + (({wide})1 << (shift - 1))) >> shift);
    }}
}}"""

_SIGMOID = """static int32_t {name}(int32_t x, int shift)
{{
    const int32_t y = {lookup}({points}, {last}, x < 0 ? -x : x, shift);
    return x < 0 ? {top} - y + 1 : y;
}}"""

_TANH = """static int32_t {name}(int32_t x, int shift)
{{
    const int32_t y = {lookup}({points}, {last}, x < 0 ? -x : x, shift);
    return x < 0 ? -y : y;
}}"""

_NIBBLE = """/* weight k of 4 bits, two in a byte, the first in its lower half */
static int32_t {name}(const uint8_t *packed, size_t k)
{{
    const uint32_t both = packed[k >> 1];
    return (int32_t)((k & 1u) != 0u ? both >> 4 : both & 15u) - 8;
}}"""

_FLOAT_SIGMOID = """static float {name}(float x)
{{
    return 1.0f / (1.0f + expf(-x));
}}"""

def lookup_text(name, value):
    """The C text of a look-up in a table of that type, in 64 bits."""
    return _LOOKUP.format(name=name, value=value, wide="int64_t")


# What calls what: printed before it.
CALLS = {"round32": ("shift32",), "round64": ("shift64",), "sigmoid": ("lookup",), "tanh": ("lookup",)}


def helper_text(name, prefix, **about):
    """The C text of one helper. about: value, wide (types), points, last, top: of the words' tables."""
    called = f"{prefix}_{name}"
    for width in ("32", "64"):
        kind = {"type": f"int{width}_t", "name": called}
        if name == f"shift{width}":
            return _SHIFT.format(**kind)
        if name == f"round{width}":
            return _ROUND.format(**kind, shift=f"{prefix}_shift{width}")
        if name == f"clip{width}":
            return _CLIP.format(**kind)
        if name == f"raise{width}":
            return _RAISE.format(**kind)
    form = {
        "above64": _ABOVE, "lookup": _LOOKUP, "sigmoid": _SIGMOID, "tanh": _TANH, "nibble": _NIBBLE,
        "float_sigmoid": _FLOAT_SIGMOID,
    }[name]  # fmt: skip
    return form.format(name=called, lookup=f"{prefix}_lookup", **about)


def in_order(wanted):
    """The helpers and what they call, each after what it calls."""
    found: list[str] = []
    for name in wanted:
        found += [one for one in (*CALLS.get(name, ()), name) if one not in found]
    return found
