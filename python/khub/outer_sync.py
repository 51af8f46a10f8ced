"""A PyTorch training loop as a program of a site: it is told what to train on, and hands in how far it came."""

import json
import math
import time
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from khub import _khub
from khub.job import Job
from khub.moments import Moments
from khub.ranks import Ranks
from khub.tensors import Tensors

# Between two words of progress, in seconds.
PATIENCE = 0.25


class Stopped(SystemExit):
    """The site that started this process is gone or has stopped it. What was confirmed is safe."""


class OuterSync:
    """Takes part in a job's rounds.

    >>> sync = khub.OuterSync(model, optimizer, run="job-7", site="./site")
    >>> for batch in sync.batches(dataset):
    ...     loss = train_on(batch)
    ...     sync.step(loss)

    `model` is a module, under FSDP2 too, or a dictionary of tensors. The loop computes losses and steps as ever;
    between the batches of two rounds the weights become what all sites agreed on. Under several ranks every rank
    makes one, after `fully_shard` and before the first batch; rank 0 talks to the site.
    """

    def __init__(
        self, model, optimizer=None, *, run=None, site=None, job=None, batch=None, readers=None, layout=None, split=None,
        loader=None, wait=600.0, held_out=None,
    ):  # fmt: skip
        """`batch` is the samples of a step over all ranks, the job's setting of that name if nothing is said.
        `readers` is (this rank's number, how many), if not every rank reads samples of its own: ranks that split
        tensors read the same. `layout` lists (name, shape, transposed) of the tensors in the sites' order: see
        `khub.layout`. `split` is a function of a name and a tensor which gives (process group, dimension) for a
        tensor that is cut over ranks and no DTensor, else None. `loader` has further arguments for a `DataLoader`.
        `wait` is for how many seconds a site is waited for.

        `held_out` is for jobs in the mode *inspected*: a function of the file that the job's spec has as `held_out`
        and of how many samples to take, which gives the mean loss of the model as it is now, in nats a token or in
        whatever the other sites have. Updates are tried by it before they count. If nothing is said, khub's own
        models are judged by khub's core, and of others norms alone are told.
        """
        self.job = job or Job(run, site, wait)
        self.wait = wait
        self.held_out = held_out
        self.ranks = Ranks()
        twin = self.job.twin
        if layout is None and twin is not None:
            layout = twin.layout
        self.reader, self.readers = readers or (self.ranks.rank, self.ranks.size)
        self.tensors = Tensors(model, layout, self.ranks, split)
        self.moments = Moments(model, optimizer, self.job.folder, self.ranks, split)
        self.batch = batch or self.job.settings.get("batch")
        self.loader = loader or {}
        self.seed = self.job.settings.get("seed", 0)
        self.seat = None
        self.trained = None
        self._check()

    def _check(self):
        samples = self.job.rounds["samples"]
        if not self.batch:
            raise _khub.Error("the job says no batch; tell OuterSync how many samples a step takes: batch=...")
        if samples % self.batch or self.batch % self.readers:
            raise _khub.Error(
                f"a round has {samples} samples, a step {self.batch} over {self.readers} ranks: "
                "the first has to be a multiple of the second, and that of the third"
            )

    @property
    def position(self):
        """The number of the step under way in the schedule of all rounds."""
        return self.trained.round * (self.job.rounds["samples"] // self.batch) + self.trained.steps

    def rate(self):
        """The learning rate that khub's own program has at this step."""
        if self.job.twin is None:
            raise _khub.Error("only jobs of the program language have a schedule of their own; use sync.position")
        return self.job.twin.rate(self.position)

    def batches(self, data=None):
        """The batches to train on, until the job is done. `data` is a dataset with a length and numbered samples,
        the same at every site; for a job of khub's language models it is the job's own if nothing is said, and a
        batch is a tensor of tokens with one more in a row than are predicted.
        """
        data = self._data(data)
        self._sit_down()
        while True:
            what, round, first, end, moments = self.ranks.share(lambda: self.seat.next())
            if what == "train":
                if not self.moments.restore(moments) and self.ranks.talks:
                    self.seat.note("the optimiser's state is of other ranks or gone; it begins anew")
                yield from self._round(data, round, first, end)
            elif what == "judge":
                self._judge(file=moments, samples=end)
            elif what == "finish":
                self.ranks.share(lambda: self.seat.done(self._results()))
                return
            elif what == "complete":
                return
            elif self.job.started_by_site:
                raise Stopped("khub: the site has ended the line")
            else:
                self._sit_down()

    def step(self, loss, tokens=None):
        """After the optimiser's step: its mean loss, and of how much (the sample's tokens if nothing is said)."""
        if self.trained is None or self.trained.told:
            raise _khub.Error("sync.step() comes once after each batch of sync.batches()")
        self.trained.step(loss, tokens)
        if self.ranks.talks:
            self._tell_progress()

    def _sit_down(self):
        """Takes a place at the site, from the checkpoint or from the first weights."""
        self.seat = None
        self.ranks.share(self._take_seat)
        known = self.ranks.share(lambda: self.seat.load(self.tensors.layout(), self.tensors.sizes()))
        if not known and self.job.twin is not None:
            self.ranks.share(lambda: self.job.twin.begin(self.seat))
        elif not known:
            self.tensors.first(self.seat)
        self.ranks.share(lambda: self.seat.ready())

    def _take_seat(self):
        self.seat = _khub.Seat.take(str(self.job.folder), self.wait)
        if self.seat is None:
            raise _khub.Error(f"no site waited in {self.job.folder} for {self.wait:g} s")
        if self.held_out is not None:
            self.seat.judged_by(None)
        elif self.job.twin is not None:
            self.seat.judged_by(self.job.twin)

    def _round(self, data, round, first, end):
        """Trains on an interval and hands in what came of it; leaves off if the line ends."""
        if (end - first) % self.batch:
            raise _khub.Error(f"told to train on samples {first}..{end}, which are no whole batches of {self.batch}")
        self.tensors.write(self.seat)
        # Trained again, it comes to the same.
        torch.manual_seed((self.seed << 32) ^ (first * self.ranks.size + self.ranks.rank))
        order = _khub.samples(len(data), self.seed, first, end)
        share = self.batch // self.readers
        mine = [order[at : at + share] for at in range(self.reader * share, len(order), self.batch)]
        self.trained = Trained(round, self.batch * self._weight())
        for batch in DataLoader(data, batch_sampler=mine, **self.loader):
            self.trained.told = False
            yield batch
            if not self.trained.told:
                raise _khub.Error("a batch was trained on, and sync.step(loss) was not called")
            if self.ranks.flag(lambda: self.seat.ended):
                return
        self._hand_in()

    def _judge(self, file, samples):
        """Tells the held-out loss of what is agreed, and of what each update would make of it."""
        while self.ranks.share(lambda: self.seat.asks()):
            self.tensors.write(self.seat)
            with torch.no_grad():
                loss = self.ranks.mean(float(self.held_out(file, samples)))
            self.ranks.share(lambda: self.seat.tell(loss))
        self.tensors.write(self.seat)

    def _hand_in(self):
        trained = self.trained
        loss = self.ranks.mean(trained.mean_loss())
        if not math.isfinite(loss):
            message = f"the loss became {loss} in round {trained.round}; try a lower learning rate"
            self.ranks.share(lambda: self.seat.fail(message))
            raise _khub.Error(message)
        self.tensors.trained(self.seat)
        moments = self.moments.save(self.ranks.share(lambda: self.moments.free_name(trained.round)))
        self.ranks.meet()
        if self.ranks.talks:
            self._write_metrics()
        self.ranks.share(lambda: self.seat.contribute(trained.tokens, trained.steps, loss, moments))
        if self.ranks.talks:
            self.moments.keep(self.seat.moments)

    def _tell_progress(self):
        trained, now = self.trained, time.monotonic()
        if now - trained.told_at < PATIENCE:
            return
        speed = trained.tokens / max(now - trained.began, 1e-6)
        loss = float(trained.losses[-1])
        trained.told_at = now
        if math.isfinite(loss):
            self.seat.progress(trained.round, self.position - 1, loss, trained.tokens, speed)

    def _write_metrics(self):
        """A line a step, as khub's own programs write them; rank 0's losses."""
        trained = self.trained
        first = self.position - trained.steps
        speed = trained.tokens / max(time.monotonic() - trained.began, 1e-6)
        losses = torch.stack([loss.float().cpu() for loss in trained.losses]).tolist()
        with open(self.job.folder / "metrics.jsonl", "a") as file:
            for step, loss in enumerate(losses, start=first):
                line = {"round": trained.round, "step": step, "loss": loss, "tokens_per_s": speed}
                file.write(json.dumps(line) + "\n")

    def _results(self):
        """Writes the results; of khub's own models they are judged as khub judges them."""
        if self.job.twin is not None:
            return self.job.twin.finish(self.seat)
        places = [(place.name, list(place.shape)) for place in self.tensors.places]
        return self.seat.finish(places)

    def _weight(self):
        """What a sample counts in the mean of the sites."""
        return self.job.settings.get("seq", 1)

    def _data(self, data):
        if data is not None:
            return data
        if self.job.twin is None:
            raise _khub.Error("what is to be trained on? sync.batches(dataset)")
        return TokenSamples(self.job.twin, self.job.settings["seq"])


@dataclass
class Trained:
    """What was trained in the round under way."""

    round: int
    tokens_a_step: int

    def __post_init__(self):
        self.steps, self.tokens = 0, 0
        self.losses = []
        self.told = True
        self.began, self.told_at = time.monotonic(), 0.0

    def step(self, loss, tokens):
        self.told = True
        self.steps += 1
        self.tokens += self.tokens_a_step if tokens is None else tokens
        # Not read before it must be: an accelerator would have to be waited for.
        self.losses.append(torch.as_tensor(loss).detach())

    def mean_loss(self):
        return torch.stack([loss.double().cpu() for loss in self.losses]).mean().item()


class TokenSamples(Dataset):
    """The samples of a job of khub's language models."""

    def __init__(self, twin, seq):
        self.twin, self.seq = twin, seq

    def __len__(self):
        return len(self.twin)

    def __getitem__(self, number):
        tokens = torch.frombuffer(bytearray(self.twin.sample(number)), dtype=torch.int32)
        return tokens.long()
