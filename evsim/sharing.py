"""Sharing: the work of a learner's streams, spread over threads."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Sharing:
    """Base of `evsim.learner.Learner`: it has `threads`, `streams`, and a `_pool` once somebody has asked for one."""

    threads: int
    streams: int
    _pool: Any

    def _spread(self, work):
        """Call work(lo, hi, worker) so that all streams are covered, over the threads; returns their results."""
        workers = min(self.threads, self.streams)
        if workers == 1:
            return [work(0, self.streams, 0)]
        cuts = [self.streams * k // workers for k in range(workers + 1)]
        return self._side_by_side([lambda k=k: work(cuts[k], cuts[k + 1], k) for k in range(workers)])

    def _side_by_side(self, jobs):
        """Call each of `jobs`, at most one for each thread, and wait; returns their results. Nobody spins meanwhile."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="evsim")
        return [job.result() for job in [self._pool.submit(job) for job in jobs]]
