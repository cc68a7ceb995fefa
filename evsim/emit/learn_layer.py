"""The part of a learner in C that belongs to one layer: its rows of M = d(state)/d(parameters), carried one step on.

    M_i <- A_i M_i + B_i (W_rec Y(t-1) + W_in Y_below(t)) + own inputs + C_i          Y_i = phi_i M_i + D_i

for every unit i, in the columns that can reach it. What is 0 at every step is not printed, nothing is multiplied by 1,
and units that are silent (phi = 0) pass nothing on. Columns are taken a few at a time: what the layer's units have
shown is read from M before its rows are overwritten, and only so much of it is held beside M.
"""

from string import Template

from evsim.emit.text import Field, indent, number
from evsim.program import LOCAL, NEGATE, NUMBER

SHOW = Template("""
/* to[0..w-1] = what unit u $showed, in the columns from `first` on; row: of M, the next state's is `width` behind */
static void ${name}(const $state *s, size_t u, size_t first, size_t w, size_t width, const float *row, float *to)
{
$phi
    for (size_t j = 0; j < w; ++j) {
        to[j] = $sum;
    }
$local
}
""")

OWN = Template("""
/* the columns of its own: of what was heard, of its own events before, biases$locals */
static void ${l}_own($state *s, const $event *heard, size_t n)
{
$sides
    for (size_t i = 0; i < ${units}u; ++i) {
$skip
        float *to = s->influence + $own + $bias;
$add
    }
}
""")

HEARD = Template("""
    for (size_t k = 0; k < $count; ++k) {
        const size_t j = $events[k].index;
        const float v = $events[k].value;
$loop
    }
""")

CARRY = Template("""
/* its rows of M, but for the columns of its own, one step on */
static void ${l}_carry($state *s)
{
    for (size_t b = 0; b < ${blocks}u; ++b) {
        const size_t width = block_width[b];
        const size_t span = block_set[b] * ${spans}u + ${k}u;
        const size_t lo = span_member[span], hi = span_member[span + 1u];
        float *block = s->influence + block_at[b];
$enter
        for (size_t c = 0; c < width; c += ${chunk}u) {
            const size_t w = width - c < ${chunk}u ? width - c : ${chunk}u;
            float *rows = block + span_row[span] * width + c;
$body
        }
$leave
    }
}
""")

ENTER = Template("""
        for (size_t r = lo; r < hi; ++r) {
            s->place[span_unit[r]$less] = (${type})(r - lo + 1u);
        }
""")

LEAVE = Template("""
        for (size_t r = lo; r < hi; ++r) {
            s->place[span_unit[r]$less] = 0;
        }
""")

LEAK = Template("""
            for (size_t r = lo; r < hi; ++r) {
$unit
$skip
                float *row = rows + (r - lo) * $states;
$factors
                for (size_t j = 0; j < w; ++j) {
$leak
                }
            }
""")

RECALL = Template("""
            for (size_t r = lo; r < hi; ++r) {
                const size_t u = span_unit[r]$less;
                if ($alive) {
                    ${l}_show_was(s, u, block_column[b] + c, w, width, rows + (r - lo) * $states,
                        s->shown + (r - lo) * ${chunk}u);
                }
            }
""")

RECUR = Template("""
            for (size_t r = lo; r < hi; ++r) {
                const size_t u = span_unit[r]$less;
                const float *shown = s->shown + (r - lo) * ${chunk}u;
                if ($alive) {
$edges
                }
            }
""")

RISE = Template("""
            for (size_t r = span_member[span - 1u]; r < lo; ++r) {
                const size_t u = span_unit[r]$less;
                const float *row = block + span_row[span - 1u] * width + (r - span_member[span - 1u]) * $states + c;
                if ($alive) {
                    float shown[${chunk}];
                    ${l}_show(s, u, block_column[b] + c, w, width, row, shown);
$edges
                }
            }
""")


def filled(template, **given):
    """Lines of a template; a name that stands alone on a line may stand for several lines, or for none."""
    text = template.substitute({name: "\n".join(v) if isinstance(v, list) else v for name, v in given.items()})
    return [line for line in text.split("\n") if line.strip()]


class LayerWriter:
    """Prints what one `evsim.emit.learn_plan.LayerPlan` does.

    names: (type of the state, of an event). kept, local: of what is kept and of local parameters, by index, expressions
    of the unit {i}. inp, rec: its `evsim.emit.learn_places.Edges`, None where there are none. own, stride, bias_at:
    forms of the places in M of a unit's first row, of the next row from there, and of its first bias. events: (list of
    its own events of the step before, how many). below: the LayerWriter of what it hears, if M has rows for that.
    """

    def __init__(self, names, plan, layer, kept, local, inp, rec, own, stride, bias_at, events, below):
        self.plan, self.layer, self.below = plan, layer, below
        self.kept, self.local, self.inp, self.rec = kept, local, inp, rec
        self.own, self.stride, self.bias_at, self.events = own, stride, bias_at, events
        self.found, self.memory = layer.derivative, layer.cell.memory
        self.same = dict(names, l=layer.name, chunk=str(plan.chunk), less=f" - {layer.first}u" if layer.first else "")
        self.same["states"] = "width" if layer.states == 1 else f"{layer.states}u * width"

    def fields(self):
        """What the state holds for it, as `Field`s."""
        units, title = self.layer.cell.units, self.layer.title
        found = [Field("float", self._field(k), units, f"slope of {title}") for k in self.layer.slopes]
        before = [Field("float", self._field(k, True), units, "the same, of the step before") for k in self.layer.was]
        return found + before

    def remember(self):
        """Lines that keep, for unit i, slopes that the step about to be taken needs as they were."""
        return [f"s->{self._field(k, True)}[i] = {self.value(k, 'i')};" for k in self.layer.was]

    def functions(self):
        """Lines of the C functions of this layer, one list for each."""
        found = [self._show(False)] if self.layer.shows else []
        found += [self._show(True)] if self.layer.recalls else []
        return [*found, self._own(), self._carry()]

    def alive(self, u, was=False):
        """Condition under which what a unit shows depends on its state; "1" if it always does."""
        places = [place for place in dict.fromkeys(self.found.phi) if not self.found.is_zero(place)]
        if any(self.found.program.is_number(place) for place in places):
            return "1"
        return " || ".join(f"{self.value(place, u, was)} != 0.0f" for place in places) or "0"

    def value(self, place, u, was=False):
        """A slope of unit `u` as a C expression: of this step, or of the one before."""
        program = self.found.program
        op = program.ops[place]
        if op.head == NUMBER:
            return number(op.value, "float")
        if op.head == NEGATE:
            return f"-{self.value(op.parts[0], u, was)}"
        if was or place in self.layer.slopes:
            return f"s->{self._field(place, was)}[{u}]"
        forms, k = (self.local, op.index) if op.head == LOCAL else (self.kept, program.kept.index(place))
        return forms[k].format(i=u)

    def _field(self, place, was=False):
        return f"{self.layer.name}_{self.layer.names[place]}{'_was' if was else ''}"

    def _skip(self):
        """Lines that leave out a unit i whose rows nobody will read; inside a loop over units."""
        alive = "1" if self.memory else self.alive("i")
        return [] if alive == "1" else [f"if (!({alive})) {{", "    continue;", "}"]

    def _at(self, k, offset):
        stride = self.stride.format(i="i")
        return f"{f'{k}u * ' if k > 1 else ''}{stride} + {offset}u" if k else str(offset)

    def _own(self):
        found, add, sides = self.found, [], []
        for k in range(self.layer.states):
            for column, place in enumerate([*found.B[k], *found.C[k]]):
                if not found.is_zero(place):
                    add.append(f"to[{self._at(k, column)}] += {self.value(place, 'i')};")
        own, used = self.own.format(i="i"), False
        for edges, (events, count) in ((self.inp, ("heard", "n")), (self.rec, self.events)):
            if edges is not None:
                used = used or events == "heard"
                body = [*self._skip(), f"float *to = s->influence + {own} + at;"]
                for k in range(self.layer.states):
                    for row, g in enumerate(edges.fed):
                        if not found.is_zero(found.B[k][g]):
                            body.append(f"to[{self._at(k, row)}] += {product(self.value(found.B[k][g], 'i'), 'v')};")
                sides += filled(HEARD, events=events, count=count, loop=indent(edges.loop("j", body), 2))
        if not used:
            sides = ["    (void)heard;", "    (void)n;", *sides]
        return filled(
            OWN, **self.same, units=str(self.layer.cell.units), locals="".join(f", {name}" for name in found.local),
            own=own, bias=self.bias_at.format(i="i"), sides=sides, skip=indent(self._skip(), 2), add=indent(add, 2),
        )  # fmt: skip

    def _show(self, was):
        phi, terms, found = [], [], self.found
        for k, place in enumerate(found.phi):
            if not found.is_zero(place):
                value = self.value(place, "u", was)
                if not found.program.is_number(place):
                    phi.append(f"const float phi{k} = {value};")
                    value = f"phi{k}"
                terms.append(product(value, f"row[{behind(k)}j]"))
        local, channels = [], len(self.layer.cell.channels)
        for q, place in enumerate(found.D):
            if not found.is_zero(place):
                column = f"{self.bias_at.format(i='u')} + {channels + q}u"
                value = self.value(place, "u", was)
                local.append(f"if ({column} - first < w) {{ /* huge where it stands before `first` */")
                local += [f"    to[{column} - first] += {value};", "}"]
        unused = [] if local else ["(void)first;"]
        unused += [] if phi or local else ["(void)s;", "(void)u;"]
        unused += [] if any("width" in term for term in terms) else ["(void)width;"]
        return filled(
            SHOW, **self.same, name=f"{self.layer.name}_show{'_was' if was else ''}",
            showed="showed at the step before" if was else "shows", phi=indent(phi), sum=" + ".join(terms) or "0.0f",
            local=indent(local + unused),
        )  # fmt: skip

    def _carry(self):
        layer, plan, body = self.layer, self.plan, self._leak()
        if layer.recalls:
            alive = self.alive("u", True)
            edges = indent(self._edges(self.rec), 5)
            body = filled(RECALL, **self.same, alive=alive) + body
            body += filled(RECUR, **self.same, alive=alive, edges=edges)
        below = self.below if self.inp is not None else None
        if below is not None:
            body += filled(RISE, **below.same, alive=below.alive("u"), edges=indent(self._edges(self.inp), 5))
        enter, leave = [], []
        if layer.recalls or below is not None:
            enter, leave = filled(ENTER, **self.same, type=plan.place_type), filled(LEAVE, **self.same)
        return filled(
            CARRY, **self.same, enter=enter, leave=leave, blocks=str(len(plan.blocks.of)),
            spans=str(len(plan.layers) + 1), k=str(layer.index - plan.home), body=body,
        )  # fmt: skip

    def _leak(self):
        factors, leak, read = [], [], set()
        for k, row in enumerate(self.found.A):
            terms = []
            for c, place in enumerate(row):
                if self.found.is_zero(place):
                    continue
                value = self.value(place, "i")
                if not self.found.program.is_number(place):
                    factors.append(f"const float a{k}{c} = {value};")
                    value = f"a{k}{c}"
                terms.append(product(value, f"m{c}"))
                read.add(c)
            leak.append(f"row[{behind(k)}j] = {' + '.join(terms) or '0.0f'};")
        old = [f"const float m{c} = row[{behind(c)}j];" for c in sorted(read)]
        skip = self._skip()
        unit = [f"const size_t i = span_unit[r]{self.same['less']};"] if skip or factors else []
        return filled(
            LEAK, **self.same, unit=indent(unit, 4), skip=indent(skip, 4), factors=indent(factors, 4),
            leak=indent(old + leak, 5),
        )  # fmt: skip

    def _edges(self, edges):
        """Lines that pass `shown` of unit u on through its weights."""
        sums, add = {}, []
        for k in range(self.layer.states):
            terms = []
            for row, g in enumerate(edges.fed):
                place = self.found.B[k][g]
                if not self.found.is_zero(place):
                    terms.append(product(self.value(place, "i"), f"weight[{row}]"))
            if terms:
                by = sums.setdefault(" + ".join(terms), f"by{k}")
                add.append(f"learn_add({f'row + {behind(k)[:-3]}' if k else 'row'}, {by}, shown, w);")
        alive = "1" if self.memory else self.alive("i")
        heard = "place != 0" if alive == "1" else f"place != 0 && ({alive})"
        body = [
            "const size_t place = s->place[i];",
            f"if ({heard}) {{",
            "    const float *weight = s->weights + at;",
            f"    float *row = rows + (place - 1u) * {self.same['states']};",
            *indent([f"const float {by} = {total};" for total, by in sums.items()] + add),
            "}",
        ]
        return edges.loop("u", body)


def behind(k):
    return f"{k}u * width + " if k > 1 else "width + " if k else ""


def product(factor, other):
    """C text of a product; the factor may be a literal."""
    return other if factor == "1.0f" else f"-{other}" if factor == "-1.0f" else f"{factor} * {other}"
