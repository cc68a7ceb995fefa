"""Text of C: tables with their sizes, numbers, and the helper functions that were asked for."""

import re
from typing import NamedTuple

import numpy as np

SIZES = {
    "int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "int64_t": 8, "uint64_t": 8,
    "float": 4,
}  # fmt: skip
_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile "
    "while _Bool _Complex _Imaginary asm typeof class namespace template this new delete public private "
    "protected try catch throw operator using virtual friend bool true false explicit export mutable typename "
    "main"
)
_HEADERS = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype"
)
_FILES = "test_main cortex_m3"  # what else an export writes
RESERVED = frozenset([*_WORDS.split(), *_HEADERS.split(), *_FILES.split()])
PER_LINE = 100


class Field(NamedTuple):
    """A member of the state: C type, name, how many (0: no array), and what it is there for."""

    type: str
    name: str
    count: int
    what: str


class Source:
    """The definitions that a model.c starts with, gathered while the rest is printed.

    tables: (type, name, how many, bytes); helpers: names of functions of `evsim.emit.helpers`, in order.
    """

    def __init__(self):
        self.tables: list[tuple[str, str, int, int]] = []
        self.definitions: list[str] = []
        self.helpers: list[str] = []

    def table(self, name, values, type):
        """Add `static const type name[]` with those values; returns its name."""
        values = np.asarray(values).ravel()
        self.tables.append((type, name, len(values), len(values) * SIZES[type]))
        self.definitions.append(f"static const {type} {name}[{len(values)}] = {{\n{listed(values, type)}\n}};")
        return name

    def keep(self, wanted):
        """Drop tables that are not: wanted, a boolean for each."""
        self.tables = [table for table, keep in zip(self.tables, wanted, strict=True) if keep]
        self.definitions = [text for text, keep in zip(self.definitions, wanted, strict=True) if keep]

    def need(self, helper):
        """Note that a helper function is called; returns its name."""
        if helper not in self.helpers:
            self.helpers.append(helper)
        return helper


def check_identifier(name):
    """`name` if it can begin C's identifiers; ValueError otherwise."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) or name in RESERVED:
        told = "give a letter and at most 39 more letters, digits or underscores, and no word or header of C or C++"
        raise ValueError(f"name={name!r} is no name that C can use: {told}")
    return name


def comment(text):
    """`text` as it may stand in a comment, in ASCII."""
    return text.replace("*/", "* /").encode("ascii", "replace").decode()


def smallest(most, signed=False):
    """The narrowest integer type that holds 0..most, or -most..most."""
    for bits in (8, 16, 32):
        if most < 2 ** (bits - signed):
            return f"{'' if signed else 'u'}int{bits}_t"
    return "int64_t" if signed else "uint64_t"


def number(value, type):
    """A literal of that type."""
    if type == "float":
        text = f"{np.float32(value):.9g}"
        return f"{text if any(mark in text for mark in '.en') else text + '.0'}f"
    text = str(int(value))
    return {"int64_t": f"INT64_C({text})", "uint32_t": f"{text}u", "uint64_t": f"UINT64_C({text})"}.get(type, text)


def listed(values, type):
    """Values between braces, in lines."""
    lines, line = [], "   "
    for value in values:
        text = f" {number(value, type)},"
        if len(line) + len(text) > PER_LINE:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def indent(lines, by=1):
    return ["    " * by + line if line else line for line in lines]


def size_of(fields, extra):
    """(bytes of a struct of these fields, by field) with each aligned to its own size; extra: sizes of other types.

    extra: type -> (bytes, alignment), of structs.
    """
    sizes = {name: (size, size) for name, size in SIZES.items()} | extra
    at, widest, each = 0, 1, {}
    for field in fields:
        size, align = sizes[field.type]
        at = -(-at // align) * align + size * max(field.count, 1)
        widest = max(widest, align)
        each[field.name] = size * max(field.count, 1)
    return -(-at // widest) * widest, each
