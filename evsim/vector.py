"""Combine: a row of numbers becomes a weighted sum of itself and of other rows, held in registers meanwhile.

    out[to, :width] = a * out[to, :width] + sum over n in first..last-1 of coef[n] * rows[base + source[n], :width]

That sum is nearly all of what learning does, and what loops written in Python compile to loads and stores the sum again
for every few terms. So its machine code is laid down here: strips of the row, several processor registers wide, stay
in registers until all terms are in. Terms are added in the order of the list, a product and its sum rounded once
where the processor can; results do not depend on how wide its registers are. Nothing is allocated.

`combine_2` to `combine_4` make so many rows of the same others, from `to` on, by coef[r, n]: what is read serves all.

out, rows: matrices whose rows have no gaps; source: whole numbers; coef: numbers. a == 0: what stood in out is not
read. With NUMBA_BOUNDSCHECK or NUMBA_DISABLE_JIT the same is done by plain loops, which the first checks.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from evsim.jit import jit_fused

STRIPS = (8, 4, 2, 1)  # registers' worth of a row that are held at once, the most first
MOST = 12  # registers that hold sums
REGISTER = 64  # bytes; where registers are narrower the compiler takes more of them
FUSED = ("contract",)
_CHECKED = config.BOUNDSCHECK  # type: ignore[attr-defined]
INDEX, BYTES = ir.IntType(64), ir.IntType(8).as_pointer()


def plain_combine(out, to, a, rows, base, source, coef, first, last, width):
    """What `combine` does, entry by entry."""
    for j in range(width):
        total = a * out[to, j] if a != 0 else 0 * a
        for n in range(first, last):
            total += coef[n] * rows[base + source[n], j]
        out[to, j] = total


def _plain(several):
    """What the code for `several` rows at once does, entry by entry."""

    def plain(out, to, a, rows, base, source, coef, first, last, width):
        for r in range(several):
            for j in range(width):
                total = a * out[to + r, j] if a != 0 else 0 * a
                for n in range(first, last):
                    total += coef[r, n] * rows[base + source[n], j]
                out[to + r, j] = total

    return plain


def _compiled(several):
    """An intrinsic that makes `several` rows at once, of the same rows: coef[r, n]; of one, coef[n]."""

    @intrinsic
    def combined(typingctx, out, to, a, rows, base, source, coef, first, last, width):
        whole = types.int64
        signature = types.void(out, whole, out.dtype, rows, whole, source, coef, whole, whole, whole)
        return signature, lambda *given: _generate(several, *given)

    return combined


def _generate(several, context, builder, signature, args):
    out, to, a, rows, base, source, coef, first, last, width = args
    kinds = signature.args
    given = (0, out), (3, rows), (5, source), (6, coef)
    arrays = [context.make_array(kinds[k])(context, builder, value) for k, value in given]
    pitches = [cgutils.unpack_tuple(builder, array.strides) for array in arrays]
    number = context.get_data_type(kinds[0].dtype)
    bits = kinds[0].dtype.bitwidth
    write = _Rows(builder, arrays[0].data, pitches[0][0], number, bits // 8)
    read = _Rows(builder, arrays[1].data, pitches[1][0], number, bits // 8)
    coefs = [
        builder.gep(builder.bitcast(arrays[3].data, BYTES), [builder.mul(pitches[3][0], ir.Constant(INDEX, r))])
        for r in range(several)
    ]
    place = cgutils.alloca_once_value(builder, ir.Constant(INDEX, 0))
    fresh = builder.fcmp_ordered("==", a, ir.Constant(number, 0))

    def add_strips(strips, lanes):
        """The code for strips of `strips` vectors of `lanes` numbers, as long as there is room for one."""
        vector = ir.VectorType(number, lanes)
        size = ir.Constant(INDEX, strips * lanes)
        check, begin, keep, head, term, done, after = (
            builder.append_basic_block(name) for name in ("check", "begin", "keep", "head", "term", "done", "after")
        )
        builder.branch(check)
        builder.position_at_end(check)
        at = builder.load(place)
        builder.cbranch(builder.icmp_signed("<=", builder.add(at, size), width), begin, after)
        builder.position_at_end(begin)
        targets = [
            target
            for r in range(several)
            for target in write.strip(builder.add(to, ir.Constant(INDEX, r)), at, strips, vector)
        ]
        builder.cbranch(fresh, head, keep)
        builder.position_at_end(keep)
        kept = _fill(builder, a, vector)
        starts = [builder.fmul(kept, write.load(target)) for target in targets]
        builder.branch(head)
        builder.position_at_end(head)
        n = builder.phi(INDEX)
        totals = [builder.phi(vector) for _ in starts]
        for before in (begin, keep):
            n.add_incoming(first, before)
        for total, start in zip(totals, starts):
            total.add_incoming(ir.Constant(vector, None), begin)
            total.add_incoming(start, keep)
        builder.cbranch(builder.icmp_signed("<", n, last), term, done)
        builder.position_at_end(term)
        row = builder.load(builder.gep(arrays[2].data, [n]))
        row = builder.add(base, row if row.type == INDEX else builder.sext(row, INDEX))
        sources = [read.load(source) for source in read.strip(row, at, strips, vector)]
        step = builder.mul(n, pitches[3][-1])
        for r in range(several):
            factor = builder.load(builder.bitcast(builder.gep(coefs[r], [step]), number.as_pointer()))
            factor = _fill(builder, factor, vector)
            for total, source in zip(totals[r * strips : (r + 1) * strips], sources):
                product = builder.fmul(factor, source, flags=FUSED)
                total.add_incoming(builder.fadd(total, product, flags=FUSED), term)
        n.add_incoming(builder.add(n, ir.Constant(INDEX, 1)), term)
        builder.branch(head)
        builder.position_at_end(done)
        for target, total in zip(targets, totals):
            write.store(total, target)
        builder.store(builder.add(at, size), place)
        builder.branch(check)
        builder.position_at_end(after)

    for strips in STRIPS:
        if strips * several <= MOST:
            add_strips(strips, REGISTER * 8 // bits)
    add_strips(1, 1)
    return context.get_dummy_value()


class _Rows:
    """Vectors inside a matrix in memory, for the code that is laid down."""

    def __init__(self, builder, data, pitch, number, size):
        self.builder, self.pitch, self.number, self.size = builder, pitch, number, size
        self.data = builder.bitcast(data, BYTES)

    def strip(self, row, at, strips, vector):
        """Pointers to the vectors of a strip of that row."""
        begin = self.builder.gep(self.data, [self.builder.mul(row, self.pitch)])
        begin = self.builder.gep(self.builder.bitcast(begin, self.number.as_pointer()), [at])
        ends = [self.builder.gep(begin, [ir.Constant(INDEX, k * vector.count)]) for k in range(strips)]
        return [self.builder.bitcast(end, vector.as_pointer()) for end in ends]

    def load(self, pointer):
        return self.builder.load(pointer, align=self.size)

    def store(self, value, pointer):
        self.builder.store(value, pointer, align=self.size)


def _fill(builder, value, vector):
    """A vector whose entries are all `value`."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _code(several) -> Any:
    plain = plain_combine if several == 1 else _plain(several)
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return plain
    return jit_fused(plain) if _CHECKED else _compiled(several)


combine, combine_2, combine_3, combine_4 = (_code(several) for several in (1, 2, 3, 4))
