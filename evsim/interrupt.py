"""Ctrl-C that lets the present piece of work finish."""

import signal
import threading


class Interrupt:
    """Context in which the first Ctrl-C sets `asked` and the second interrupts at once, as ever."""

    def __init__(self):
        self.asked = False
        self._here = threading.current_thread() is threading.main_thread()  # others may not set handlers

    def __enter__(self):
        if self._here:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_):
        if self._here:
            signal.signal(signal.SIGINT, self._before or signal.SIG_DFL)

    def _note(self, *_):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
