"""On a Cortex-M3 under QEMU: the golden model's hash; the size of the state; code, stack and what the linker needs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import proven
import pytest
from compiled import ARM, M3, compile, folder, library, model_of, needs_arm, needs_gcc, run
from quantised import network
from test_c import said

from evsim.emit.footprint import measured, worst_stack

pytestmark = needs_arm
LINK = ("--specs=rdimon.specs", "-T", "cortex_m3.ld")
SEMIHOSTING = ["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config"]
SEMIHOSTING += ["enable=on,target=native", "-kernel"]


def on_target(place, sources, *flags):
    """A program that runs an image for the Cortex-M3 under QEMU."""
    image = compile(place, *M3, *flags, *LINK, sources=("cortex_m3.c", *sources), out=f"{sources[0]}.elf", compiler=ARM)
    script = image.with_suffix(".sh")
    script.write_text(f"#!/bin/sh\nexec qemu-system-arm -M mps2-an385 {' '.join(SEMIHOSTING)} {image.name}\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("name", proven.NETWORKS)
def test_the_target_gives_the_golden_models_hash(name):
    digest = said(on_target(proven.written(name), ("model.c", "test_main.c"), "-O2"))
    assert f"hash != {int(digest, 16)}u" in (proven.written(name) / "test_main.c").read_text()


def test_a_fault_is_noticed_on_the_target():
    place = proven.written("alif zero")
    text, count = re.subn(r"(layer0_bias\[\d+\] = \{\s+)(-?\d+)", r"\g<1>1234", (place / "model.c").read_text())
    assert count == 1
    (place / "faulty.c").write_text(text)
    code, told = run(on_target(place, ("faulty.c", "test_main.c"), "-O2"))
    assert code == 1 and "FAILED" in told


@needs_gcc
def test_the_makefile_of_an_export():
    place = proven.written("evrnn binary")
    for target, told in (("test", "recorded: 60 steps"), ("m3", "random: 10000 steps"), ("size", "text"),
                         ("stack", "model_step"), ("clean", "rm")):  # fmt: skip
        done = subprocess.run(["make", target], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and told in done.stdout, done.stdout + done.stderr
    assert not (place / "test_main.elf").exists()


@pytest.mark.parametrize("name", ["egru, adlif", "evrnn, egru", "lif"])
def test_the_state_is_as_large_as_was_said(name):
    model = model_of(proven.fixed(name))
    size, _ = model.state_bytes()
    check = f"#include \"model.h\"\ntypedef char right[sizeof(model_state) == {size} ? 1 : -1];\n"
    place = proven.written(name)
    (place / "sized.c").write_text(check)
    compile(place, *M3, "-c", sources=("sized.c",), out="sized.o", compiler=ARM)
    (place / "sized.c").write_text(check.replace(str(size), str(size - 2)))
    with pytest.raises(AssertionError, match="negative"):
        compile(place, *M3, "-c", sources=("sized.c",), out="sized.o", compiler=ARM)


@pytest.mark.parametrize("flags", [("-Os",), ("-O2",)], ids=str)
@pytest.mark.parametrize("name", [*proven.NETWORKS, "float egru"])
def test_no_library_but_memory_and_arithmetic(name, flags):
    """No malloc, no stdio; and no variable that could change: all tables lie in flash."""
    place = proven.written(name) if name in proven.NETWORKS else _float(name)
    compile(place, *M3, *flags, "-c", sources=("model.c",), out="m3.o", compiler=ARM)
    listed = subprocess.run(["arm-none-eabi-nm", "m3.o"], cwd=place, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    undefined = {row[-1] for row in rows if row[-2] == "U"}
    allowed = {"memset", "memcpy", "memmove", *(("expf", "tanhf") if name.startswith("float") else ())}
    assert {one for one in undefined if not one.startswith("__aeabi_")} <= allowed
    assert {row[-2] for row in rows} <= set("TtrRU"), listed


def _float(name):
    place = folder()
    model = model_of(network([name.split()[1]]))
    (place / "model.h").write_text(model.header())
    (place / "model.c").write_text(model.code())
    return place


@pytest.mark.parametrize("name", ["egru", "evrnn, egru", "lif zero"])
def test_the_stack_is_at_least_what_a_run_takes(name):
    """A stack filled with a pattern, of which a run leaves untouched what it does not need."""
    model = model_of(proven.fixed(name))
    code, stack = measured(model)
    assert 500 < code < 40_000 and 16 <= stack <= 600
    place = proven.written(name)
    (place / "deep.c").write_text(_DEEP)
    exit_code, text = run(on_target(place, ("deep.c", "model.c"), "-Os"))
    (used,) = map(int, re.findall(r"used (\d+)", text))
    assert exit_code == 0 and 0 < used <= stack + 8  # what the pattern's own function pushes for the call


def test_clones_of_functions_count_in_the_stack():
    model = model_of(proven.fixed("egru"))
    usage = (
        "model.c:1:16:model_sigmoid.constprop\t8\tstatic\nmodel.c:2:13:layer0_advance.isra.0\t40\tstatic\n"
        "model.c:2:13:readout_advance\t16\tstatic\nmodel.c:3:14:model_step\t32\tstatic\nmodel.c:4:14:model_reset\t8\tstatic\n"
    )
    assert worst_stack(usage, model.code()) == 32 + 40 + 8


_DEEP = """#include <stdio.h>
#include "model.h"
static model_state state;
static model_event heard[MODEL_INPUTS];
static volatile uint32_t *low;

__attribute__((noinline)) static void paint(void)
{
    uint32_t here[512];
    for (int k = 0; k < 512; ++k) {
        here[k] = 0xC0FFEEu;
    }
    __asm__ volatile("" : : "r"(here) : "memory");
    __asm__ volatile("mov %0, sp" : "=r"(low));
}

__attribute__((noinline)) static size_t left(void)
{
    size_t k = 0;
    while (low[k] == 0xC0FFEEu) {
        ++k;
    }
    return k * sizeof(uint32_t);
}

int main(void)
{
    volatile uint32_t *top;
    size_t most = 0;
    (void)model_reset(&state);
    for (size_t j = 0; j < MODEL_INPUTS; ++j) {
        heard[j].index = (uint16_t)j;
        heard[j].value = 1;
    }
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (int t = 0; t < 50; ++t) {
        size_t used;
        paint();
        (void)model_step(&state, heard, MODEL_INPUTS, NULL, 0, NULL);
        used = (size_t)(top - low) * sizeof(uint32_t) - left();
        most = used > most ? used : most;
    }
    printf("used %lu\\n", (unsigned long)most);
    return 0;
}
"""


@needs_gcc
def test_host_and_target_agree_on_the_state():
    """As the report says, wherever the compiler aligns as these two do."""
    model = model_of(proven.fixed("egru"))
    assert int(library(proven.fixed, "egru").c.state_size()) == model.state_bytes()[0]


def test_make_says_what_to_install(tmp_path):
    """`make test-embedded` with neither tools nor root says so in one sentence."""
    root = Path(__file__).resolve().parent.parent
    for tool in ("make", "sh", "id", "env", "echo", "printf", "command", "test", "true"):
        if found := shutil.which(tool):
            (tmp_path / tool).symlink_to(found)
    (tmp_path / "id").unlink(missing_ok=True)
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = subprocess.run(
        ["make", "embedded-tools"], cwd=root, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if "gcc-arm-none-eabi" in line]
    assert len(told) == 1 and "libnewlib-arm-none-eabi" in told[0] and "qemu-system-arm" in told[0]
