"""khub's own core and PyTorch train one model together: real hub, sites and processes."""

import copy
import json
import os
import signal
import threading
from pathlib import Path

import torch

import khub
from consortium import SITES, TRAIN, check, python

OURS, THEIRS = SITES


def test_a_site_of_pytorch_trains_with_one_of_khub_and_is_killed_in_the_middle(consortium):
    job = consortium.job(rounds=8)
    consortium.site(OURS)
    site = consortium.site(THEIRS, "--program", f"language={python(TRAIN)}")
    consortium.until(job, lambda view: view["committed"] >= 2)
    [program] = children(site.pid)
    os.kill(program, signal.SIGKILL)
    view = consortium.until(job, is_done)
    check(view)
    # Nothing had to be waited for but the start: both are in every round.
    assert all(len(one["updates"]) == 2 for one in view["job"]["rounds"])
    assert "the program ended" in consortium.log(THEIRS)
    # Both began with the same weights and trained at the same rates.
    first, last = view["job"]["rounds"][0]["updates"], view["job"]["rounds"][-1]["updates"]
    for updates in (first, last):
        losses = [updates[site]["loss_micronats"] / 1e6 for site in SITES]
        assert abs(losses[0] - losses[1]) < 0.35, losses


def test_both_inspect_what_came_and_tell_the_same_loss(consortium):
    mode = {"inspected": {"held_out": "valid.tokens", "samples": 16}}
    job = consortium.job(rounds=4, mode=mode)
    consortium.site(OURS)
    consortium.site(THEIRS, "--program", f"language={python(TRAIN)}")
    view = consortium.until(job, is_done)
    check(view)
    told = {(event["site"], event["round"]): event["report"] for event in consortium.events("inspected")}
    for round in range(4):
        ours, theirs = told[OURS, round], told[THEIRS, round]
        # In micronats; the machine is the same, and so is what reckons.
        assert ours == theirs and ours["before"] > 1_000_000, (ours, theirs)
        assert all(found["loss"] for found in theirs["found"].values())


def test_a_loop_judges_a_model_of_its_own_and_one_that_means_harm_is_found_out(consortium):
    """Three loops that attach; the third's updates go the other way, and are as long as the others'."""
    names, asked = (*SITES, "fjord-1"), []
    held = consortium.folder / "held-out.json"
    held.write_text("[500, 501, 502, 503]")
    mode = {"inspected": {"held_out": "held-out.json", "samples": 32, "strikes": 10}}
    job = consortium.job(
        rounds=4, program="line", sites=3, quorum=3, mode=mode, label="open",
        inputs={"held-out.json": consortium.put(held)},
        settings={"batch": 8, "outer": {"learning_rate": 0.7, "momentum": 0.0}},
    )  # fmt: skip
    first = torch.nn.Linear(4, 1)

    def loop(name, way):
        model = copy.deepcopy(first)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, maximize=way < 0)

        def held_out(file, samples):
            asked.append(samples)
            numbers = json.loads(Path(file).read_text())[:samples]
            x, y = map(torch.stack, zip(*(Line()[number] for number in numbers), strict=True))
            return loss_of(model, x, y)

        sync = khub.OuterSync(model, optimizer, run=job, site=consortium.home(name), held_out=held_out)
        fit(model, optimizer, sync)

    for name in names:
        consortium.site(name, "--attach", "line")
        way = -1 if name == names[-1] else 1
        threading.Thread(target=loop, args=(name, way), daemon=True).start()
    view = consortium.until(job, is_done)
    assert set(asked) == {32}
    rounds = view["job"]["rounds"]
    assert all(set(one["rejected"]) == {"fjord-1"} for one in rounds[:3]), rounds
    assert all("loss" in one["rejected"]["fjord-1"] for one in rounds[:3]), rounds
    # What was rejected is trained again by whoever takes it, in as many more rounds as that needs.
    losses = [one["updates"][OURS]["loss_micronats"] for one in rounds if OURS in one["updates"]]
    assert losses[-1] < 0.2 * losses[0], losses


def test_a_private_job(consortium):
    """It takes three sites; two of them are khub's own core."""
    job = consortium.job(rounds=3, sites=3, quorum=3, codec="int8", mode={"private": {}}, label="open")
    for name in (OURS, "fjord-1"):
        consortium.site(name)
    consortium.site(THEIRS, "--program", f"language={python(TRAIN)}")
    view = consortium.until(job, is_done)
    check(view, sites=(*SITES, "fjord-1"), loss_falls=False)
    assert all(one["unmasking"] for one in view["job"]["rounds"] if one["updates"])


def test_two_ranks_under_fsdp2(consortium):
    job = consortium.job(rounds=4, fragments=2, overlap=1, codec="int4")
    consortium.site(OURS)
    torchrun = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, TRAIN)
    consortium.site(THEIRS, "--program", f"language={torchrun}")
    check(consortium.until(job, is_done))


def test_a_loop_attaches_and_outlives_its_site(consortium):
    """The architecture is nobody's but PyTorch's; both sites attach."""
    job = consortium.job(
        rounds=6, program="line", inputs={}, settings={"batch": 8, "outer": {"learning_rate": 0.7, "momentum": 0.0}}
    )
    sites = {name: consortium.site(name, "--attach", "line") for name in SITES}
    first, ended = torch.nn.Linear(4, 1), []

    def loop(name):
        model = copy.deepcopy(first)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        sync = khub.OuterSync(model, optimizer, run=job, site=consortium.home(name))
        fit(model, optimizer, sync)
        ended.append(name)

    threads = [threading.Thread(target=loop, args=(name,), daemon=True) for name in SITES]
    for thread in threads:
        thread.start()
    consortium.until(job, lambda view: view["committed"] >= 2)
    sites[THEIRS].kill()
    sites[THEIRS].wait()
    consortium.site(THEIRS, "--attach", "line")
    view = consortium.until(job, is_done)
    check(view, loss_falls=False)
    for thread in threads:
        thread.join(30)
    assert sorted(ended) == sorted(SITES)
    losses = [one["updates"][OURS]["loss_micronats"] for one in view["job"]["rounds"]]
    assert losses[-1] < 0.2 * losses[0], losses


def fit(model, optimizer, sync):
    """Trains on the samples of a line until the job is done."""
    for x, y in sync.batches(Line()):
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        sync.step(loss)


def loss_of(model, x, y):
    return (model(x) - y).square().mean()


class Line(torch.utils.data.Dataset):
    """Samples of a linear function."""

    def __len__(self):
        return 512

    def __getitem__(self, number):
        x = torch.randn(4, generator=torch.Generator().manual_seed(number))
        return x, (x * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum(0, keepdim=True) + 1.0


def is_done(view):
    return view["job"]["phase"]["phase"] == "done"


def children(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
