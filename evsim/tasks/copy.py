"""Copy: symbols are shown at the start and asked for at the end, by cues that all look alike.

The form of Sorokin et al. (MemUP, arXiv:2207.13649, and its code), in which 10 symbols of 8 are copied over up to 5,000
blanks; after Hochreiter and Schmidhuber (1997) and Arjovsky et al. (arXiv:1511.06464). Its curriculum is that of
Jaderberg et al. (arXiv:1608.05343).
"""

from evsim.check import check_count
from evsim.copying import Copying
from evsim.curriculum import Curriculum
from evsim.generated import TRAINING


class Copy(Curriculum, Copying):
    """n symbols, T - 2 n blanks, then the same cue n times: one has to count to know which symbol is asked for.

    With a curriculum there are no blanks, so T = 2 n, and the n cues alone are told; n + 1 symbols follow on n.
    """

    name = "copy"
    options = Copying.options | Curriculum.options
    grows = ("symbols",)
    defaults = {**TRAINING, "units": 64, "density": 0.2, "epochs": 80}

    def __init__(self, **options):
        if options.get("curriculum") == "on":
            if options.get("length") is not None:
                told = f"length={options['length']} does not go with curriculum='on', where n symbols make 2 n steps"
                raise ValueError(f"{told}: leave one of the two out")
            symbols = check_count("symbols", options.get("symbols", self.climbing["symbols"]))
            options = {**options, "length": 2 * symbols}
        super().__init__(**options)
        if self.curriculum == "on":
            self.length = None  # it changes

    def _steps(self, symbols):
        return self.length if self.curriculum == "off" else 2 * symbols

    def _after(self, symbols):
        return (symbols + 1,)

    def _enter(self, level):
        super()._enter(level)
        (self.shown,) = level

    def sample(self, count, rng):
        """Draw `count` sequences."""
        data = super().sample(count, rng)
        return data if self.curriculum == "off" else data._replace(mask=data.answers)
