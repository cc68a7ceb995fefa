"""model.h and model.c of a network in fixed point whose readout learns on the device, as `evsim.fixed.learn` has it."""

from string import Template

import numpy as np

from evsim.emit import model as plain
from evsim.emit.helpers import lookup_text
from evsim.emit.layers import PartText
from evsim.emit.learn_loss import STATUS
from evsim.emit.text import Field, smallest
from evsim.fixed import learn
from evsim.fixed.format import Format
from evsim.fixed.learn import BELOW, ERROR, EXP_END, EXP_POINTS, GRADIENT, RATE

WIDE = Format(32, 0)


class LearnedReadout(PartText):
    """The readout, whose weights lie in the state, those of one event's unit together.

    plan: the `evsim.fixed.learn.Learned`. first, first_bias: what they are at first, in flash; weights times 2**power.
    """

    def __init__(self, plan, part, index, below, arithmetic):
        self.plan = plan
        super().__init__(part, index, below, arithmetic)

    def _learn_of_tables(self):
        part, a, latent = self.part, self.arithmetic, self.plan.latent
        self.sums = "sums64"
        weight, bias = learn.values(a.fixed)
        self.power = latent.frac - part.sum.weights[0].frac
        if 0 <= self.power <= 30:
            self.first = a.weights(part, part.inp, "readout_first")
        else:  # finer at first than what is stored, or all 0
            weight, self.power = latent.quantise(weight), 0
            kind = smallest(np.abs(weight).max(initial=0), signed=True)
            self.first = a.source.table("readout_first", weight.T, kind) + "[{k}]"
        bias = latent.quantise(bias)
        self.first_bias = a.source.table("readout_first_bias", bias, "int32_t")

    @property
    def fields(self):
        return []

    def function(self, state, event):
        plan, a = self.plan, self.arithmetic
        raised = plan.sum_frac - plan.latent.frac
        bias = f"(int64_t)s->readout_bias[o] * INT64_C({1 << max(raised, 0)})"
        if raised < 0:
            bias = a.scaled("(int64_t)s->readout_bias[o]", 64, -raised, WIDE)
        text = _STEP.substitute(
            state=state, event=event, n_out=self.part.units, value=a.value, bias=bias,
            seen=a.scaled("(int64_t)w[o]", 64, BELOW, Format(16, 0)),
            shown=a.scaled("s->sums64[o]", 64, plan.sum_frac - plan.out.frac, plan.out),
        )  # fmt: skip
        return text.strip().split("\n")


class FixedLearningModel(plain.Model):
    """The C of a `FixedNetwork` whose readout learns. loss: name of a loss. ValueError as `evsim.fixed.learn.plan`."""

    status = (*plain.STATUS, *STATUS[:2], ("RATE", "the learning rate is negative; nothing was changed"))
    cleared = "offsetof({p}_state, readout_weight)"

    def __init__(self, fixed, prefix, loss):
        self.plan, self.loss = learn.plan(fixed, loss), loss
        super().__init__(fixed.parts, prefix, fixed)
        self.functions += [text.strip().split("\n") for text in (self._error(), self._gradient())]

    def golden(self):
        return learn.GoldenReadout(self.fixed, self.loss)

    @property
    def out_format(self):
        return self.plan.out

    def _texts(self):
        parts, below = self.parts[:-1], [None, *self.parts]
        found = [PartText(part, k, below[k], self.arithmetic) for k, part in enumerate(parts)]
        return [*found, LearnedReadout(self.plan, self.parts[-1], len(parts), parts[-1], self.arithmetic)]

    def fields(self):
        n_out, weights = self.n_out, self.n_out * self.parts[-1].inp.sources
        found = [field for field in super().fields() if field.name != "sums64"]
        wide = [field for field in super().fields() if field.name == "sums64"]
        count = max([n_out, *(field.count for field in wide)])
        return [
            *found,
            Field("int64_t", "sums64", count, "scratch: sums of what is heard"),
            Field("int32_t", "error", n_out, "scratch: derivative of the loss to the outputs"),
            Field("uint8_t", "stepped", 0, "whether a step was taken that may be learnt from"),
            Field("int32_t", "readout_weight", weights, "weights, unit by unit; they and the rest outlive a reset"),
            Field("int32_t", "readout_bias", n_out, "biases"),
            Field("int32_t", "weight_gradient", weights, "sum of the gradients since the last update"),
            Field("int32_t", "bias_gradient", n_out, "the same of biases"),
        ]

    def _defines(self):
        u, latent = self.upper, self.plan.latent
        return [
            *super()._defines(),
            f"#define {u}_WEIGHT_FRAC ({latent.frac}) /* of readout_weight and readout_bias */",
            f"#define {u}_GRADIENT_FRAC {GRADIENT.frac}",
            f"#define {u}_RATE_FRAC {RATE.frac} /* of a learning rate: 0.01 is {round(0.01 * 2**RATE.frac)} */",
            *([] if self.loss != "binary_cross_entropy" else [f"#define {u}_TARGET_FRAC {ERROR}"]),
        ]

    @property
    def prototypes(self):
        return "\n" + _PROTOTYPES.substitute(self._same()).strip() + "\n"

    def _same(self):
        classes = self.loss == "cross_entropy"
        unit = f"with {self.upper}_{'TARGET' if self.loss == 'binary_cross_entropy' else 'OUTPUT'}_FRAC"
        return {
            "p": self.prefix, "u": self.upper, "n_out": self.n_out, "sources": self.parts[-1].inp.sources,
            "what": "class" if classes else "values",
            "target": "size_t label" if classes else "const int32_t *targets",
            "given": "label" if classes else "targets", "loss": self.loss.replace("_", " "),
            "about": "its class" if classes else f"values {unit}",
        }  # fmt: skip

    def _error(self):
        """The function that makes of outputs and a target what the loss's derivative is."""
        a, plan, n = self.arithmetic, self.plan, self.n_out
        same = {**self._same(), "share": ((1 << ERROR) + n // 2) // n, "one": 1 << ERROR}
        if self.loss == "cross_entropy":
            points = learn.exp_points()
            name = a.source.table(f"{self.prefix}_exp_points", points, "int16_t")
            find = lookup_text(f"{self.prefix}_exp_lookup", "int16_t")
            fallen = f"{self.prefix}_exp_lookup({name}, {EXP_END << EXP_POINTS}, size, {max(plan.exp_shift, -30)})"
            return find + "\n\n" + _CLASSES.substitute(same, fallen=fallen, top=(1 << ERROR) - 1).strip()
        if self.loss == "mse":
            twice = a.scaled("2 * ((int64_t)s->out[o] - targets[o])", 64, plan.out.frac - ERROR, WIDE)
            gap = f"(int64_t){twice} * {same['share']}"
        else:
            p = a.word(plan.sigmoid, "s->out[o]")
            if plan.out.bits > ERROR + 1:
                p = f"({p} / {1 << (plan.out.bits - 1 - ERROR)})"
            gap = f"(int64_t){p} * {same['share']} - (int64_t)targets[o] * {same['share']}"
        return _VALUES.substitute(same, error=a.scaled(gap, 64, ERROR, WIDE))

    def _gradient(self):
        a, plan, n = self.arithmetic, self.plan, self.n_out
        heard = self.texts[-2]
        update = GRADIENT.frac + RATE.frac - plan.latent.frac
        return _GRADIENT.substitute(
            self._same(), events=heard.events, spoken=heard.spoken,
            own=a.scaled("(int64_t)s->error[o] * z", 64, ERROR + plan.y.frac - GRADIENT.frac, WIDE),
            bias=a.scaled("(int64_t)s->error[o]", 64, ERROR - GRADIENT.frac, WIDE),
            sum=a.scaled("(int64_t)*to + x", 64, 0, WIDE), weights=n * self.parts[-1].inp.sources,
            step=a.scaled("(int64_t)*gradient * rate", 64, update, WIDE),
            less=a.scaled("(int64_t)*to - x", 64, 0, WIDE),
        )  # fmt: skip

    def _interface(self):
        text, readout = super()._interface(), self.texts[-1]
        done = "    if (count != NULL) {"
        text = text.replace(done, "    state->stepped = 1;\n" + done, 1)
        classes = self.loss == "cross_entropy"
        refuse = f"    if (label >= {self.n_out}u) {{\n        return {self.upper}_TARGET;\n    }}\n" if classes else ""
        weights = self.n_out * self.parts[-1].inp.sources
        return text + "\n" + _PUBLIC.substitute(
            self._same(), weights=weights, first=readout.first.format(k="k"), power=1 << readout.power, refuse=refuse,
            null="" if classes else " || targets == NULL",
        ).strip() + "\n"  # fmt: skip


_STEP = Template("""
static void readout_advance($state *s, const $event *heard, size_t n)
{
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->sums64[o] = $bias;
    }
    for (size_t e = 0; e < n; ++e) {
        const int64_t z = heard[e].value;
        const int32_t *w = &s->readout_weight[heard[e].index * (size_t)${n_out}u];
        for (size_t o = 0; o < ${n_out}u; ++o) {
            s->sums64[o] += $seen * z;
        }
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->out[o] = ($value)$shown;
    }
}
""")

_CLASSES = Template("""
/* softmax of the outputs, less 1 at the label */
static void learn_error(${p}_state *s, size_t label)
{
    int32_t top = s->out[0], total = 0;
    for (size_t o = 1; o < ${n_out}u; ++o) {
        top = s->out[o] > top ? s->out[o] : top;
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        const int64_t below = (int64_t)top - s->out[o];
        const int32_t size = below > INT32_MAX ? INT32_MAX : (int32_t)below;
        s->error[o] = $top - $fallen;
        total += s->error[o];
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->error[o] = (int32_t)(((int64_t)s->error[o] * $one + total / 2) / total);
    }
    s->error[label] -= $one;
}
""")

_VALUES = Template("""
static void learn_error(${p}_state *s, const int32_t *targets)
{
    for (size_t o = 0; o < ${n_out}u; ++o) {
        s->error[o] = $error;
    }
}
""")

_GRADIENT = Template("""
static void learn_add(int32_t *to, int32_t x)
{
    *to = $sum;
}

static void learn_gradient(${p}_state *s)
{
    for (size_t e = 0; e < s->$spoken; ++e) {
        const int32_t z = s->$events[e].value;
        int32_t *to = &s->weight_gradient[s->$events[e].index * (size_t)${n_out}u];
        for (size_t o = 0; o < ${n_out}u; ++o) {
            learn_add(&to[o], $own);
        }
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        learn_add(&s->bias_gradient[o], $bias);
    }
}

static void learn_move(int32_t *to, int32_t *gradient, int32_t rate)
{
    const int32_t x = $step;
    *to = $less;
    *gradient = 0;
}
""")

_PROTOTYPES = Template("""
/* First of all: the weights that it was exported with, no gradient, and a reset. */
${p}_status ${p}_init(${p}_state *state);

/* After a step: what it should have said, $about. Adds the gradient of its $loss to the state's. */
${p}_status ${p}_learn_$what(${p}_state *state, $target);

/* Weights of the readout -= rate * gradient, rate with ${u}_RATE_FRAC; then the gradient is 0. */
${p}_status ${p}_update(${p}_state *state, int32_t rate);
""")

_PUBLIC = Template("""
${p}_status ${p}_init(${p}_state *state)
{
    const ${p}_status found = ${p}_reset(state);
    if (found == ${u}_OK) {
        for (size_t o = 0; o < ${n_out}u; ++o) {
            state->readout_bias[o] = readout_first_bias[o];
            state->bias_gradient[o] = 0;
        }
        for (size_t k = 0; k < ${weights}u; ++k) {
            state->readout_weight[k] = (int32_t)$first * INT32_C($power);
            state->weight_gradient[k] = 0;
        }
    }
    return found;
}

${p}_status ${p}_learn_$what(${p}_state *state, $target)
{
    if (state == NULL$null) {
        return ${u}_NULL;
    }
    if (!state->stepped) {
        return ${u}_ORDER;
    }
$refuse    learn_error(state, $given);
    learn_gradient(state);
    return ${u}_OK;
}

${p}_status ${p}_update(${p}_state *state, int32_t rate)
{
    if (state == NULL) {
        return ${u}_NULL;
    }
    if (rate < 0) {
        return ${u}_RATE;
    }
    for (size_t k = 0; k < ${weights}u; ++k) {
        learn_move(&state->readout_weight[k], &state->weight_gradient[k], rate);
    }
    for (size_t o = 0; o < ${n_out}u; ++o) {
        learn_move(&state->readout_bias[o], &state->bias_gradient[o], rate);
    }
    state->stepped = 0;
    return ${u}_OK;
}
""")
