"""Ctrl-C that lets the present piece of work finish."""

import signal
import threading


class Interrupt:
    """Context in which the first Ctrl-C sets `asked` and the second interrupts at once, as ever."""

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, *_):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
