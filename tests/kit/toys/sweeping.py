"""Means of all jobs of a sweep, from shared features."""

from __future__ import annotations

from bench import Samples
from tests.kit.toys.means import Means

REVISION = 1


class Sweeping(Means):
    calls = 0

    def sweep(self, samples, jobs, x):
        type(self).calls += 1
        protocols = []
        for job in jobs:
            parts = [
                None
                if rows is None
                else Samples(
                    samples.x[rows], {n: y[rows] for n, y in samples.y.items()}, samples.rows[rows]
                )
                for rows in (job.train, job.val)
            ]
            protocol = Means(job.meta, self.trunk, job.seed, self.strength, -1).fit(*parts)
            protocols.append((protocol.predict(x), {**protocol.report(), "swept": True}))
        return protocols


def build(*, meta, trunk, seed, strength: int = 0) -> Sweeping:
    return Sweeping(meta, trunk, seed, strength, -1)
