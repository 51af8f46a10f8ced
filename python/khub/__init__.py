"""khub in Python: a training loop joins a model that several sites train together.

    sync = khub.OuterSync(model, optimizer, run="job-7", site="./site")
    for batch in sync.batches(dataset):
        loss = train_on(batch)  # forward, backward, optimizer.step(), as ever
        sync.step(loss)

docs/pytorch.md explains it. `khub.Client` talks to a hub, and needs no PyTorch.
"""

from khub._khub import Error, __version__, layout, samples
from khub.client import Client
from khub.job import Job

__all__ = ["Client", "Error", "Job", "OuterSync", "Stopped", "__version__", "layout", "samples"]


def __getattr__(name):
    # PyTorch is loaded by those who train.
    if name in ("OuterSync", "Stopped"):
        from khub import outer_sync

        return getattr(outer_sync, name)
    raise AttributeError(f"module 'khub' has no attribute {name!r}")
