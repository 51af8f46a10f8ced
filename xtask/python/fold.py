"""The side of `transformers` in `cargo xtask bench fold`: ESM-2 in f32, one sequence at a time.

    python fold.py --model DIR --length 100             by hand: a few passes and a summary
    python fold.py --model DIR --length 100 --json      a worker: see lines.py; its word is `run`

A pass takes a sequence to logits at each place. The sequence has the 20 residues in turn, as khub's.
"""

import argparse
import statistics
import time

import torch
import transformers

from lines import peak_rss_bytes, serve

IMPORT_RSS_BYTES = peak_rss_bytes()
WARM_UP = 3


class Reader:
    """A model from a folder, and a sequence."""

    def __init__(self, folder, length):
        self.model = transformers.EsmForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.length = length
        self.ids = torch.tensor([[0] + [4 + i * 7 % 20 for i in range(length)] + [2]])
        self.mask = torch.ones_like(self.ids)

    def run(self):
        """One pass: its wall-clock seconds, how many residues, and the likeliest token at each."""
        start = time.perf_counter()
        with torch.inference_mode():
            logits = self.model(self.ids, attention_mask=self.mask).logits
        seconds = time.perf_counter() - start
        likeliest = logits[0, 1:-1].argmax(-1).tolist()
        return {"seconds": seconds, "tokens": self.length, "ids": likeliest}


def main():
    """Warms up, then serves or runs by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder in Hugging Face's layout")
    parser.add_argument("--length", type=int, default=100, help="residues of the sequence")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20, help="how many, without --json")
    parser.add_argument("--json", action="store_true", help="speak the line protocol")
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    transformers.utils.logging.disable_progress_bar()
    reader = Reader(asked.model, asked.length)
    for _ in range(WARM_UP):
        reader.run()
    if not asked.json:
        middle = statistics.median(reader.run()["seconds"] for _ in range(asked.runs))
        print(f"residues/s    {asked.length / middle:.1f}")
        return
    version = f"torch {torch.__version__}, transformers {transformers.__version__}"
    params = sum(weight.numel() for weight in reader.model.parameters())
    ready = {"params": params, "version": version, "import_rss_bytes": IMPORT_RSS_BYTES}
    serve("run", reader.run, ready, lambda: {"peak_rss_bytes": peak_rss_bytes(), "version": version})


if __name__ == "__main__":
    main()
