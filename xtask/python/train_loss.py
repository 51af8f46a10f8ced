"""Trains in PyTorch what `khub bench loss --dir DIR` trained: same first weights, same tokens, same rates.

    python train_loss.py DIR

DIR, as khub leaves it:

    first.safetensors  the first weights, under the names GPT-2 has in `transformers`
    order.u32          the tokens of every step: little-endian u32, steps * batch rows of seq + 1
    valid.u32          the rows to judge by, in the same form
    settings.json      "layers", "width", "heads", "context", "vocab", "linear_bias", "tied", "activation"
                       ("gelu" or "gelu_new"), "norm_eps"; "batch", "seq"; "rates" (the learning rate of every
                       step), "betas", "eps", "weight_decay" (of matrices; vectors keep none), "clip" (the
                       greatest length of the gradient, or null)

Prints a JSON line {"step": ..., "loss": ...} for each step, the loss before its update, and at the end
{"valid_loss": ..., "version": ...}; all in nats a token.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

from gpt import Gpt, Shape
from lines import say

# Layers that GPT-2's files keep as [inputs, outputs].
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
LINEAR_BIASES = ("c_attn.bias", "c_proj.bias", "c_fc.bias")


def shape_of(settings):
    """The model's shape."""
    return Shape(**{name: settings[name] for name in Shape.__dataclass_fields__})


def first_weights(path, shape):
    """GPT-2's weights by the names of `gpt.py`."""
    weights = {}
    for full_name, tensor in load_file(path).items():
        name = full_name.removeprefix("transformer.")
        if name.endswith(LINEAR_BIASES) and not shape.linear_bias:
            # The format asks for biases; a model without them has zeros there.
            if tensor.count_nonzero():
                sys.exit(f"{path}: {full_name} is not zero, but settings.json says linear_bias = false")
            continue
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue  # Old files keep the causal mask.
        weights[name] = tensor.T.contiguous() if name.endswith(TRANSPOSED) else tensor
    if shape.tied:
        weights["lm_head.weight"] = weights["wte.weight"]
    return weights


def rows_of(path, seq):
    """All rows of a token file: [rows, seq + 1]."""
    tokens = numpy.fromfile(path, dtype="<u4")
    if len(tokens) % (seq + 1):
        sys.exit(f"{path}: {len(tokens)} tokens are no whole number of rows of {seq + 1}")
    return torch.from_numpy(tokens.astype(numpy.int64)).view(-1, seq + 1)


def optimizer_of(model, settings):
    """AdamW; only matrices decay."""
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": settings["weight_decay"]},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=tuple(settings["betas"]), eps=settings["eps"], fused=True)


def train(model, steps, settings):
    """One update for each batch of `steps`."""
    optimizer = optimizer_of(model, settings)
    for step, (rate, rows) in enumerate(zip(settings["rates"], steps, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(rows)
        loss.backward()
        if settings["clip"] is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        say(step=step, loss=loss.item())


def judge(model, rows, batch):
    """The mean loss over all rows."""
    with torch.no_grad():
        total = sum(model(part).item() * len(part) for part in rows.split(batch))
    return total / len(rows)


def main():
    """Trains on the folder's tokens, then judges on its held-out rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, help="what `khub bench loss --dir` has left")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    settings = json.loads((asked.dir / "settings.json").read_text())
    shape, seq, batch = shape_of(settings), settings["seq"], settings["batch"]
    model = Gpt(shape)
    model.load_state_dict(first_weights(asked.dir / "first.safetensors", shape))
    order = rows_of(asked.dir / "order.u32", seq)
    if len(order) != len(settings["rates"]) * batch:
        sys.exit(f"order.u32 has {len(order)} rows; {len(settings['rates'])} rates want {batch} each")
    train(model, order.split(batch), settings)
    valid_loss = judge(model, rows_of(asked.dir / "valid.u32", seq), batch)
    say(valid_loss=valid_loss, version=f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
