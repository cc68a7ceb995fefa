"""The end of a learner in C: losses, gradients read from M, and the update of the weights."""

from string import Template

import numpy as np

from evsim.emit.learn_layer import behind, filled, product
from evsim.emit.text import indent, number

STATUS = (
    ("ORDER", "no step was taken since the weights were set, the last update or the reset"),
    ("TARGET", "a label is out of range, or a target is not finite; nothing was changed"),
    ("RATE", "the learning rate or the clip is negative or not finite; nothing was changed"),
    ("DIVERGED", "the gradient, or what it would make of the weights, is not finite: these stay, it is dropped; reset"),
)

ADD = """
/* to += factor * from, w long */
static void learn_add(float *restrict to, float factor, const float *restrict from, size_t w)
{
    for (size_t j = 0; j < w; ++j) {
        to[j] += factor * from[j];
    }
}
"""

FINITE = """
static int learn_finite(float x)
{
    return x - x == 0.0f;
}
"""

# d loss / d outputs into s->error; returns the loss
CROSS_ENTROPY = Template("""
static float learn_error($state *s, size_t label)
{
    float top = s->out[0], total = 0.0f;
    for (size_t o = 1; o < ${n_out}u; ++o) {
        top = s->out[o] > top ? s->out[o] : top;
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->error[o] = expf(s->out[o] - top);
        total += s->error[o];
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->error[o] /= total;
    }
    s->error[label] -= 1.0f;
    return logf(total) - (s->out[label] - top);
}
""")

BINARY = Template("""
static float learn_error($state *s, const float *target)
{
    float loss = 0.0f;
    for (size_t o = 0; o < ${n_out}u; ++o) {
        const float v = s->out[o], e = expf(-fabsf(v));
        const float p = v >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
        loss += (v > 0.0f ? v : 0.0f) - v * target[o] + log1pf(e);
        s->error[o] = (p - target[o]) / $n;
    }
    return loss / $n;
}
""")

MSE = Template("""
static float learn_error($state *s, const float *target)
{
    float loss = 0.0f;
    for (size_t o = 0; o < ${n_out}u; ++o) {
        const float gap = s->out[o] - target[o];
        loss += gap * gap;
        s->error[o] = 2.0f * gap / $n;
    }
    return loss / $n;
}
""")

ERRORS = {"cross_entropy": CROSS_ENTROPY, "binary_cross_entropy": BINARY, "mse": MSE}

LINEAR = Template("""
/* from d loss / d outputs: the readout's gradient */
static void learn_outputs($state *s)
{
    for (size_t k = 0; k < s->$spoken; ++k) {
        const size_t j = s->$events[k].index;
        for (size_t o = 0; o < ${n_out}u; ++o) {
            s->gradient[$weight + j] += s->error[o] * s->$events[k].value;
        }
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->gradient[$bias] += s->error[o];
    }
}
""")

SEND = Template("""
/* from d loss / d outputs: that to the top units' events, for those that can move */
static void learn_send($state *s)
{
    for (size_t i = 0; i < ${units}u; ++i) {
        float total = 0.0f;
        if ($alive) {
            for (size_t o = 0; o < ${n_out}u; ++o) {
                total += s->weights[$weight + i] * s->error[o];
            }
        }
        s->delta[i] = total;
    }
}
""")

READ = Template("""
/* M read by what the top units' events do to the loss */
static void learn_read($state *s)
{
    for (size_t b = 0; b < ${blocks}u; ++b) {
        const size_t width = block_width[b];
        const size_t span = block_set[b] * ${spans}u + ${k}u, lo = span_member[span], hi = span_member[span + 1u];
        for (size_t r = lo; r < hi; ++r) {
            const size_t u = span_unit[r]$less;
            const float *row = s->influence + block_at[b] + span_row[span] * width + (r - lo) * $states;
            const float d = s->$delta[u];
            if (d != 0.0f) {
$rows
            }
        }
    }
$locals
}
""")

LOCALS = Template("""
    for (size_t i = 0; i < ${units}u; ++i) {
$add
    }
""")

PROJECT = Template("""
    for (size_t i = 0; i < ${units}u; ++i) {
        float *value = &s->weights[$at];
$clips
    }
""")

PUBLIC = Template("""
static $status learn_drop($state *state, $status found)
{
    for (size_t k = 0; k < ${u}_TRAINED; ++k) {
        state->gradient[k] = 0.0f;
    }
    state->loss = 0.0f;
    state->stepped = 0;
    return found;
}

$status ${p}_init($state *state)
{
    const $status found = ${p}_reset(state);
    if (found == ${u}_OK) {
        for (size_t k = 0; k < ${u}_TRAINED; ++k) {
            state->weights[k] = weights[k];
        }
        return learn_drop(state, ${u}_OK);
    }
    return found;
}

$status ${p}_learn_$what($state *state, $target)
{
    if (state == NULL$null) {
        return ${u}_NULL;
    }
    if (!state->stepped) {
        return ${u}_ORDER;
    }
$refuse
    state->loss += learn_error(state, $given);
$learn
    return ${u}_OK;
}

$status ${p}_update($state *state, float rate, float clip)
{
    float largest = 0.0f, total = 0.0f, scale = 1.0f;
    if (state == NULL) {
        return ${u}_NULL;
    }
    if (!(rate >= 0.0f && clip >= 0.0f) || !learn_finite(rate) || !learn_finite(clip)) {
        return ${u}_RATE;
    }
    for (size_t k = 0; k < ${u}_TRAINED; ++k) {
        const float size = fabsf(state->gradient[k]);
        if (!learn_finite(size)) {
            return learn_drop(state, ${u}_DIVERGED);
        }
        largest = size > largest ? size : largest;
    }
    if (clip > 0.0f && largest > 0.0f) {
        for (size_t k = 0; k < ${u}_TRAINED; ++k) {
            const float part = state->gradient[k] / largest;
            total += part * part;
        }
        scale = clip / largest / sqrtf(total);
        scale = scale < 1.0f ? scale : 1.0f;
    }
    for (size_t k = 0; k < ${u}_TRAINED; ++k) {
        if (!learn_finite(state->weights[k] - rate * (scale * state->gradient[k]))) {
            return learn_drop(state, ${u}_DIVERGED);
        }
    }
    for (size_t k = 0; k < ${u}_TRAINED; ++k) {
        state->weights[k] -= rate * (scale * state->gradient[k]);
    }
$project
    return learn_drop(state, ${u}_OK);
}
""")

PROTOTYPES = Template("""
/* First of all: the weights that it was exported with, no gradient, and a reset. */
$status ${p}_init($state *state);

/* After a step: what it should have said. Adds its $loss to state->loss and the gradient of all that is trained to
   state->gradient. */
$status ${p}_learn_$what($state *state, $target);

/* state->weights -= rate * state->gradient, whose norm is cut to `clip` if that is not 0; then the gradient and the
   loss are 0. State and influence stay: learning goes on in mid-sequence. After ${u}_DIVERGED, reset.
   What was learnt is kept elsewhere by copying state->weights, and taken up by writing them after an init. */
$status ${p}_update($state *state, float rate, float clip);
""")


class LossWriter:
    """Prints the functions that follow a step. model: the `evsim.emit.learn_model.LearningModel`."""

    def __init__(self, model, loss):
        self.model, self.loss = model, loss
        self.plan, self.top = model.plan, model.texts[-1]
        self.classes = loss == "cross_entropy"
        p, u = model.prefix, model.upper
        self.same = {"p": p, "u": u, "state": f"{p}_state", "status": f"{p}_status", "n_out": str(model.n_out)}
        self.same |= {
            "what": "class" if self.classes else "values", "loss": loss.replace("_", " "),
            "target": "size_t label" if self.classes else "const float *targets",
        }  # fmt: skip

    def functions(self):
        """Lists of lines of the static functions."""
        plan, same = self.plan, self.same
        n = number(self.model.n_out, "float")
        found = [filled(ERRORS[self.loss], **same, n=n)]
        rows = plan.layers[-1] if plan.layers else None
        if not plan.leaky:
            heard = self.model.texts[-2]
            weight = self._first("readout.weight", plan.net.stack[-1].units)
            bias = self._first("readout.bias", 1)
            found.append(filled(LINEAR, **same, spoken=heard.spoken, events=heard.events, weight=weight, bias=bias))
            if rows:
                alive = self.model.writers[-1].alive("i")
                found.append(filled(SEND, **same, units=str(rows.cell.units), weight=weight, alive=alive))
        if rows:
            found.append(self._read(self.model.writers[-1]))
        return found

    def _read(self, writer):
        """The top layer's rows, by what the loss makes of its events; and what its own parameters do to these."""
        plan, found, delta = self.plan, writer.found, "error" if self.plan.leaky else "delta"
        rows, add = [], []
        for k, place in enumerate(found.phi):
            if not found.is_zero(place):
                row = f"row + {behind(k)[:-3]}" if k else "row"
                factor = product(writer.value(place, "u"), "d")
                rows.append(f"learn_add(s->gradient + block_column[b], {factor}, {row}, width);")
        for q, place in enumerate(found.D):
            if not found.is_zero(place):
                at = f"{writer.bias_at.format(i='i')} + {len(writer.layer.cell.channels) + q}u"
                add.append(f"s->gradient[{at}] += {writer.value(place, 'i')} * s->{delta}[i];")
        units = str(writer.layer.cell.units)
        return filled(
            READ, **{**self.same, **writer.same}, blocks=str(len(plan.blocks.of)), spans=str(len(plan.layers) + 1),
            k=str(writer.layer.index - plan.home), delta=delta, rows=indent(rows, 4),
            locals=filled(LOCALS, units=units, add=indent(add, 2)) if add else [],
        )  # fmt: skip

    def _first(self, name, step):
        """Place in weights of the first entry of output o, where `step` of them stand together."""
        first = int(self.plan.net.layout.names[name][2][0]) - self.plan.base
        return f"{first}u + o{f' * {step}u' if step > 1 else ''}" if first else f"o * {step}u" if step > 1 else "o"

    def public(self):
        """The text of the functions that a caller calls."""
        plan = self.plan
        learn = ([] if plan.leaky else ["learn_outputs(state);"])
        if plan.layers:
            learn += [*([] if plan.leaky else ["learn_send(state);"]), "learn_read(state);"]
        bad = f"return {self.model.upper}_TARGET;"
        if self.classes:
            refuse = [f"if (label >= {self.model.n_out}u) {{", f"    {bad}", "}"]
        else:
            refuse = [f"for (size_t o = 0; o < {self.model.n_out}u; ++o) {{", "    if (!learn_finite(targets[o])) {"]
            refuse += [f"        {bad}", "    }", "}"]
        lines = filled(
            PUBLIC, **self.same, null="" if self.classes else " || targets == NULL", refuse=indent(refuse),
            given="label" if self.classes else "targets", learn=indent(learn), project=self._project(),
        )  # fmt: skip
        return "\n".join(lines).replace("\n}\n", "\n}\n\n")

    def prototypes(self):
        return PROTOTYPES.substitute(self.same)

    def _project(self):
        """Lines that bring trained local parameters back into range."""
        lines = []
        for writer in self.model.writers:
            cell = writer.layer.cell
            for k, name in enumerate(cell.trained()):
                low, high = cell.bounds(name) or (-np.inf, np.inf)
                clips = []
                for bound, sign in ((low, "<"), (high, ">")):
                    if np.isfinite(bound):
                        text = number(bound, "float")
                        clips.append(f"*value = *value {sign} {text} ? {text} : *value;")
                if clips:
                    at = f"{writer.bias_at.format(i='i')} + {len(cell.channels) + k}u"
                    lines += filled(PROJECT, units=str(cell.units), at=at, clips=indent(clips, 2))
        return [line.replace("s->", "state->") for line in lines]
