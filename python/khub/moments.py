"""The optimiser's state between rounds. It is a site's own and goes nowhere."""

import copy
import itertools
import os
import shutil

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict


class Moments:
    """Each state lies in a folder of its own name; the checkpoint says which count."""

    def __init__(self, model, optimizer, folder, ranks, split=None):
        self.model, self.optimizer, self.split = model, optimizer, split
        self.folder = folder / "checkpoint" / "moments"
        self.ranks = ranks
        # Of which name the optimiser's state is now; None is the first.
        self.now = None
        self.first = None if optimizer is None else copy.deepcopy(optimizer.state_dict())

    def save(self, name):
        """Writes the state whole, under a name; returns it, or None if there is no optimiser."""
        if self.optimizer is None:
            return None
        path = self.folder / name
        if self._is_shared():
            dcp.save(self._parts(), checkpoint_id=path, process_group=self.ranks.group)
        else:
            path.mkdir(parents=True, exist_ok=True)
            with open(path / self._own(), "wb") as file:
                torch.save(self.optimizer.state_dict(), file)
                file.flush()
                os.fsync(file.fileno())
        self.now = name
        return name

    def restore(self, name):
        """Makes the state that of a name; false if it had to begin anew."""
        if self.optimizer is None or name == self.now:
            return True
        self.now = name
        if name is None:
            self.optimizer.load_state_dict(copy.deepcopy(self.first))
            return True
        path = self.folder / name
        if self._is_shared() and (path / ".metadata").exists():
            parts = self._parts()
            dcp.load(parts, checkpoint_id=path, process_group=self.ranks.group)
            set_optimizer_state_dict(self.model, self.optimizer, parts["optimizer"])
        elif not self._is_shared() and (path / self._own()).exists():
            state = torch.load(path / self._own(), map_location="cpu", weights_only=True)
            self.optimizer.load_state_dict(state)
        else:
            self.optimizer.load_state_dict(copy.deepcopy(self.first))
            return False
        return True

    def free_name(self, round):
        """A name that nothing has yet; a round may be trained more than once."""
        names = (f"{round:06}-{turn}" for turn in itertools.count())
        return next(name for name in names if not (self.folder / name).exists())

    def keep(self, names):
        """Removes all others; rank 0 does."""
        for path in self.folder.glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def _is_shared(self):
        """Whether the ranks write one state together, by the names of the weights: other ranks can read that."""
        theirs = isinstance(self.optimizer, torch.optim.Optimizer) and isinstance(self.model, nn.Module)
        return self.ranks.several and theirs and self.split is None

    def _own(self):
        return f"{self.ranks.rank}-of-{self.ranks.size}.pt"

    def _parts(self):
        return {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
