"""model.h and model.c: the network as a struct that the caller owns, and functions that return a status."""

import zlib
from typing import Any

from evsim import __version__
from evsim.emit.floats import Floats, check_range
from evsim.emit.helpers import helper_text, in_order
from evsim.emit.layers import PartText
from evsim.emit.mantissas import Mantissas
from evsim.emit.text import SIZES, Field, Source, comment, size_of
from evsim.fixed.golden import Golden
from evsim.fixed.parts import Stack

STATUS = (
    ("OK", "all is well"),
    ("NULL", "a pointer is null"),
    ("INDEX", "an event's index is out of range, or not above the one before it; nothing was changed"),
    ("VALUE", "an event's value is out of range, or not finite; nothing was changed"),
    ("CAPACITY", "the step was taken, but there were more events than room for them: as many as fit were given"),
)
MOST = 65535  # inputs, and units of a layer: an event's index has 16 bits


class Model(Stack):
    """The C of a network. parts: `evsim.fixed.parts.Part`s; fixed: the `FixedNetwork` that they are of, or None.

    prefix: what all names begin with. ValueError for a layer that is too large, or holds what float32 does not.
    """

    status = STATUS
    cleared = "sizeof *state"  # how many of the state's bytes a reset makes zero
    prototypes = ""  # of further functions

    def __init__(self, parts, prefix, fixed=None):
        for part in parts:
            if max(part.units, part.inp.sources) > MOST:
                raise ValueError(f"{part.name} has more than {MOST} units or inputs: C's events count up to that")
        if fixed is None:
            check_range(parts)
        self.parts, self.prefix = parts, prefix
        self.fixed: Any = fixed
        self.source = Source()
        self.arithmetic: Any = self._arithmetic()
        self.upper = prefix.upper()
        self.texts: list[Any] = self._texts()
        types = f"{prefix}_state", f"{prefix}_event"
        self.functions = [lines for text in self.texts for lines in text.functions(*types)]

    def golden(self):
        """The golden model of what is in fixed point."""
        return Golden(self.fixed)

    def _arithmetic(self):
        if self.fixed is None:
            return Floats(self.source, self.prefix)
        return Mantissas(self.source, self.prefix, self.fixed)

    def _texts(self):
        """A PartText for each part."""
        below = [None, *self.parts]
        return [PartText(part, k, below[k], self.arithmetic) for k, part in enumerate(self.parts)]

    @property
    def out_format(self):
        """The format of outputs in fixed point."""
        return self.fixed.out_format

    @property
    def event_size(self):
        return 8 if SIZES[self.arithmetic.value] == 4 else 4

    def fields(self):
        """Members of the state."""
        found = [field for text in self.texts for field in text.fields]
        most: dict[str, tuple[str, int]] = {}
        for part, text in zip(self.parts, self.texts):
            kind, count = self.arithmetic.sum_type(part), part.units * len(part.channels)
            most[text.sums] = (kind, max(count, most.get(text.sums, ("", 0))[1]))
        found += [Field(kind, name, count, "scratch: sums of what is heard") for name, (kind, count) in most.items()]
        return [*found, Field(self.arithmetic.value, "out", self.n_out, "outputs of the last step")]

    def state_bytes(self):
        """(bytes of the state, by member)."""
        align = min(SIZES[self.arithmetic.value], 4)
        return size_of(self.fields(), {"event": (self.event_size, align)})

    def header(self):
        """The text of model.h."""
        p, u, a = self.prefix, self.upper, self.arithmetic
        kind = {"event": f"{p}_event"}
        members = []
        for field in self.fields():
            count = f"[{field.count}]" if field.count else ""
            members.append(f"    {kind.get(field.type, field.type)} {field.name}{count}; /* {field.what} */")
        return _HEADER.format(
            p=p, u=u, value=a.value, version=__version__, told=self.told(), defines="\n".join(self._defines()),
            members="\n".join(members), more=self.prototypes, status=self._statuses(), digest=f"0x{self.digest():08X}u",
        )  # fmt: skip

    def told(self):
        layers = ", ".join(f"{part.units} {part.kind}" for part in self.parts[:-1])
        return comment(f"{self.n_in} inputs; {layers}; {self.n_out} outputs ({self.parts[-1].kind})")

    def _defines(self):
        """(name, value) of what a caller must know."""
        u, fixed = self.upper, self.fixed
        found = [("INPUTS", self.n_in), ("OUTPUTS", self.n_out), ("LAYERS", len(self.parts) - 1)]
        found += [(f"UNITS_{k}", part.units) for k, part in enumerate(self.parts[:-1])]
        found.append(("TOP_UNITS", self.parts[-2].units))
        lines = [f"#define {u}_{name} {value}" for name, value in found]
        if fixed:
            top = self.parts[-2].y_format
            lines += [
                f"/* a value v stands for v * 2^-FRAC; inputs lie within +-{u}_INPUT_TOP */",
                f"#define {u}_INPUT_FRAC ({fixed.given.frac})",
                f"#define {u}_INPUT_TOP {fixed.given.top}",
                f"#define {u}_EVENT_FRAC ({top.frac})",
                f"#define {u}_OUTPUT_FRAC ({self.out_format.frac})",
            ]
        return lines

    def _statuses(self):
        rows = []
        for k, (name, what) in enumerate(self.status):
            rows.append(f"    {self.upper}_{name} = {k}{',' if k < len(self.status) - 1 else ''} /* {what} */")
        return "\n".join(rows)

    def digest(self):
        """CRC-32 of all tables and equations: which network this is."""
        lines = [*self.source.definitions, *(line for lines in self.functions for line in lines)]
        return zlib.crc32("\n".join(lines).encode())

    def code(self):
        """The text of model.c."""
        p, source = self.prefix, self.source
        names = in_order(source.helpers)
        helpers = [helper_text(name, p, **self._about(name)) for name in names]
        includes = [f'#include "{p}.h"', *(f"#include <{name}>" for name in self.arithmetic.includes)]
        functions = ["\n".join(lines) for lines in self.functions]
        chunks = ["\n".join(includes), *source.definitions, *helpers, *functions, self._interface()]
        return f"/* Generated by evsim {__version__}. {self.told()}. */\n" + "\n\n".join(chunks) + "\n"

    def _about(self, name):
        return self.arithmetic.about(name)

    def _interface(self):
        p, steps, heard = self.prefix, [], ("events", "n")
        for text in self.texts:
            steps += [f"    {call}" for call in text.calls(f"{heard[0]}, {heard[1]}")]
            heard = (f"state->{text.events}", f"state->{text.spoken}")
        top = self.texts[-2]
        return _INTERFACE.format(
            p=p, u=self.upper, steps="\n".join(steps), refuse=self.arithmetic.refuse("events[e].value"),
            events=top.events, spoken=top.spoken, cleared=self.cleared.format(p=p),
        )  # fmt: skip


_HEADER = """/* Generated by evsim {version}.
   {told}. */
#ifndef {u}_H
#define {u}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {u}_DIGEST {digest} /* of all tables and equations */
{defines}

typedef {value} {p}_value;

typedef struct {{
    uint16_t index;
    {p}_value value;
}} {p}_event;

typedef enum {{
{status}
}} {p}_status;

/* All that changes. The caller owns it, as many as are wanted; its members are for reading. */
typedef struct {{
{members}
}} {p}_state;

/* A new sequence begins: all that is kept, and events, are zero. Call it before the first step. */
{p}_status {p}_reset({p}_state *state);

/* One time step. events: n inputs that are not 0, by ascending index. The events of the top layer go to `spoken`, of
   which `capacity` fit, and their number to `count`; both may be null where nobody asks. */
{p}_status {p}_step({p}_state *state, const {p}_event *events, size_t n, {p}_event *spoken, size_t capacity,
    size_t *count);

/* The outputs of the last step, {u}_OUTPUTS of them. */
{p}_status {p}_readout(const {p}_state *state, {p}_value *out);
{more}
#ifdef __cplusplus
}}
#endif

#endif
"""

_INTERFACE = """{p}_status {p}_reset({p}_state *state)
{{
    unsigned char *byte = (unsigned char *)state;
    if (state == NULL) {{
        return {u}_NULL;
    }}
    for (size_t k = 0; k < {cleared}; ++k) {{
        byte[k] = 0;
    }}
    return {u}_OK;
}}

{p}_status {p}_step({p}_state *state, const {p}_event *events, size_t n, {p}_event *spoken, size_t capacity,
    size_t *count)
{{
    if (state == NULL || (events == NULL && n > 0u)) {{
        return {u}_NULL;
    }}
    for (size_t e = 0; e < n; ++e) {{
        if (events[e].index >= {u}_INPUTS || (e > 0u && events[e].index <= events[e - 1u].index)) {{
            return {u}_INDEX;
        }}
        if ({refuse}) {{
            return {u}_VALUE;
        }}
    }}
{steps}
    if (count != NULL) {{
        *count = state->{spoken};
    }}
    if (spoken != NULL) {{
        for (size_t k = 0; k < state->{spoken} && k < capacity; ++k) {{
            spoken[k] = state->{events}[k];
        }}
        if (state->{spoken} > capacity) {{
            return {u}_CAPACITY;
        }}
    }}
    return {u}_OK;
}}

{p}_status {p}_readout(const {p}_state *state, {p}_value *out)
{{
    if (state == NULL || out == NULL) {{
        return {u}_NULL;
    }}
    for (size_t k = 0; k < {u}_OUTPUTS; ++k) {{
        out[k] = state->out[k];
    }}
    return {u}_OK;
}}
"""
