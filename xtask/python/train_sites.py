"""Trains across sites as OpenDiLoCo does, on what `khub bench sites --leave --dir DIR` trained.

    python train_sites.py DIR

Algorithm 1 of DiLoCo (arXiv 2311.08105) as OpenDiLoCo runs it (arXiv 2407.07852): every site takes H steps of
AdamW from where all agree; the mean of what they moved, sent in f16, is the gradient of an outer step of SGD
with Nesterov's momentum, at a rate of 0.7 and a momentum of 0.9. The sites live in this process and take turns.

DIR is as `train_loss.py` has it; its settings.json also has "sites": {"count": n, "steps": H}. In a round of H
steps, site i takes the i-th of n equal parts of the samples.

Prints a JSON line {"step": ..., "loss": ...} for each round, the mean loss of its steps, and at the end
{"valid_loss": ..., "parameters": ..., "steps": ..., "tokens": ..., "sent": ..., "received": ..., "seconds": ...,
"version": ...}; bytes are those of one site, if each sends its own update once.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from gpt import Gpt
from lines import say
from train_loss import first_weights, judge, optimizer_of, rows_of, shape_of

RATE, MOMENTUM = 0.7, 0.9


def loss_of(run, rows):
    """The loss in bf16 where autocast takes it, and its gradient."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = run(rows)
    loss.backward()
    return loss.item()


def inner_steps(model, run, optimizer, steps, rates, settings):
    """Steps of one site; returns their mean loss."""
    total = 0.0
    for rate, rows in zip(rates, steps, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        total += loss_of(run, rows)
        if settings["clip"] is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return total / len(rates)


def meet(agreed, sites, outer):
    """One outer step on what the sites moved; all go on from where it leads."""
    with torch.no_grad():
        for weight, *local in zip(agreed, *sites, strict=True):
            weight.grad = torch.stack([(weight - own).half().float() for own in local]).mean(0)
        outer.step()
        for site in sites:
            for own, weight in zip(site, agreed, strict=True):
                own.copy_(weight)


def train(model, run, order, settings):
    """All rounds; returns the bytes that a site sends. One compiled model serves all sites in turn."""
    count, steps = settings["sites"]["count"], settings["sites"]["steps"]
    rates, batch = settings["rates"], settings["batch"]
    share = batch // count
    agreed = [weight.detach().clone() for weight in model.parameters()]
    sites = [[weight.clone() for weight in agreed] for _ in range(count)]
    optimizers = [optimizer_of(model, settings) for _ in range(count)]
    outer = torch.optim.SGD(agreed, lr=RATE, momentum=MOMENTUM, nesterov=True)
    sent = 0
    for first in range(0, len(rates), steps):
        end = min(first + steps, len(rates))
        mine = (end - first) * share
        total = 0.0
        for i, (site, optimizer) in enumerate(zip(sites, optimizers, strict=True)):
            for weight, own in zip(model.parameters(), site, strict=True):
                weight.data = own
            start = first * batch + i * mine
            parts = order[start : start + mine].split(share)
            total += inner_steps(model, run, optimizer, parts, rates[first:end], settings)
        meet(agreed, sites, outer)
        sent += 2 * sum(weight.numel() for weight in agreed)
        say(step=end, loss=total / count)
    for weight, last in zip(model.parameters(), agreed, strict=True):
        weight.data = last
    return sent


def main():
    """Trains on the folder's tokens, then judges on its held-out rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, help="what `khub bench sites --leave --dir` has left")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=["eager", "compile"], default="compile")
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    settings = json.loads((asked.dir / "settings.json").read_text())
    shape, seq, batch = shape_of(settings), settings["seq"], settings["batch"]
    model = Gpt(shape)
    model.load_state_dict(first_weights(asked.dir / "first.safetensors", shape))
    order, steps = rows_of(asked.dir / "order.u32", seq), len(settings["rates"])
    if len(order) != steps * batch:
        sys.exit(f"order.u32 has {len(order)} rows; {steps} rates want {batch} each")
    run = torch.compile(model) if asked.mode == "compile" else model
    loss_of(run, order[: batch // settings["sites"]["count"]])  # what compiling takes is not counted
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    sent = train(model, run, order, settings)
    seconds = time.perf_counter() - start
    say(
        valid_loss=judge(model, rows_of(asked.dir / "valid.u32", seq), 32),
        parameters=sum(weight.numel() for weight in model.parameters()),
        steps=steps,
        tokens=steps * batch * seq,
        sent=sent,
        received=sent * (settings["sites"]["count"] - 1),
        seconds=seconds,
        version=f"torch {torch.__version__}",
    )


if __name__ == "__main__":
    main()
