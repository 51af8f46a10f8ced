"""The processes of one training. Rank 0 talks to the site, and tells the others."""

import torch
import torch.distributed as dist

from khub._khub import Error


class Ranks:
    def __init__(self):
        self.several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if self.several else 0
        self.size = dist.get_world_size() if self.several else 1
        # Words are not for accelerators.
        words_travel = self.several and "gloo" in str(dist.get_backend())
        self.group = dist.new_group(backend="gloo") if self.several and not words_travel else None

    @property
    def talks(self):
        return self.rank == 0

    def share(self, ask):
        """What rank 0 gets by `ask()`, at every rank; so is what goes wrong there."""
        if not self.several:
            return ask()
        answer, wrong = None, None
        if self.talks:
            try:
                answer = ask()
            except Exception as error:
                wrong = error
        told = [answer, None if wrong is None else str(wrong)]
        dist.broadcast_object_list(told, src=0, group=self.group, device=torch.device("cpu"))
        if wrong is not None:
            raise wrong
        if told[1] is not None:
            raise Error(f"rank 0: {told[1]}")
        return told[0]

    def flag(self, ask):
        """The same for a yes or no, which is asked every step."""
        if not self.several:
            return ask()
        told = torch.tensor([int(self.talks and ask())])
        dist.broadcast(told, src=0, group=self.group)
        return bool(told.item())

    def meet(self):
        """Waits for all."""
        if self.several:
            dist.barrier(group=self.group)

    def mean(self, value):
        """The mean of every rank's value."""
        if not self.several:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return total.item() / self.size
