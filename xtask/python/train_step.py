"""PyTorch's side of `cargo xtask bench train-step`: one training step at a time, on random tokens.

    python train_step.py --size S --dtype f32 --mode eager             by hand: a few steps and a summary
    python train_step.py --size S --dtype f32 --mode compile --json    a worker: see lines.py; its word is `step`

A step is what a trainer repeats: forward, backward, AdamW, gradients cleared. bf16 means autocast, with f32
weights. `--mode compile` needs a C++ compiler.
"""

import argparse
import os
import statistics
import sys
import time

# In this process: a pool of compilers would outlive a worker that is stopped.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch

from lines import peak_rss_bytes, serve

IMPORT_RSS_BYTES = peak_rss_bytes()

from gpt import SIZES, Gpt, count

WARM_UP = 3


class Trainer:
    """A model, its optimiser and the tokens it sees."""

    def __init__(self, size, dtype, mode):
        torch.manual_seed(0)
        self.shape, self.batch = SIZES[size]
        self.bf16 = dtype == "bf16"
        self.model = Gpt(self.shape)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-4, weight_decay=0.1, fused=True)
        self.loss = torch.compile(self.model) if mode == "compile" else self.model

    def step(self):
        """One training step: its wall-clock seconds, without the drawing of tokens, and its loss."""
        rows = torch.randint(self.shape.vocab, (self.batch, self.shape.context + 1))
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.loss(rows)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"seconds": time.perf_counter() - start, "loss": loss.item()}

    def tokens(self):
        """Tokens predicted in a step."""
        return self.batch * self.shape.context


def warm_up(trainer, mode):
    """The first steps, which allocate and compile."""
    try:
        for _ in range(WARM_UP):
            trainer.step()
    except Exception as error:
        if mode != "compile":
            raise
        sys.exit(
            f"{error}\ntorch.compile failed. It needs a C++ compiler and Python's header files: "
            "install g++ or clang++ (CXX names another) and python3-dev, or see the error above."
        )


def by_hand(trainer, steps):
    """Takes steps without being asked and prints what they took."""
    seconds = [trainer.step()["seconds"] for _ in range(steps)]
    middle = statistics.median(seconds)
    print(f"parameters    {count(trainer.model) / 1e6:.2f} M")
    print(f"step          {middle * 1e3:.1f} ms (quickest {min(seconds) * 1e3:.1f})")
    print(f"tokens/s      {trainer.tokens() / middle:.0f}")
    print(f"peak memory   {peak_rss_bytes() / 1e6:.0f} MB ({IMPORT_RSS_BYTES / 1e6:.0f} after import)")


def main():
    """Warms up, then serves or runs by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="how many, without --json")
    parser.add_argument("--json", action="store_true", help="speak the line protocol")
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    trainer = Trainer(asked.size, asked.dtype, asked.mode)
    warm_up(trainer, asked.mode)
    if not asked.json:
        by_hand(trainer, asked.steps)
        return
    version = f"torch {torch.__version__}"
    ready = {"params": count(trainer.model), "version": version, "import_rss_bytes": IMPORT_RSS_BYTES}
    serve("step", trainer.step, ready, lambda: {"peak_rss_bytes": peak_rss_bytes(), "version": version})


if __name__ == "__main__":
    main()
