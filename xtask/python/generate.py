"""The side of `transformers` in `cargo xtask bench generate`: text by greedy choice, with its cache, batch 1.

    python generate.py --model DIR --tokens 128             by hand: a few runs and a summary
    python generate.py --model DIR --tokens 128 --json      a worker: see lines.py; its word is `run`

Every run starts from the same prompt, the token ids 1 to 16, and makes exactly so many tokens: no token ends
it early.
"""

import argparse
import statistics
import time

import torch
import transformers

from lines import peak_rss_bytes, serve

IMPORT_RSS_BYTES = peak_rss_bytes()
PROMPT = list(range(1, 17))
WARM_UP = 2


class Generator:
    """A model from a folder and how many tokens it makes in a run."""

    def __init__(self, folder, tokens):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.prompt = torch.tensor([PROMPT])
        # No end token, so that `max_new_tokens` is always reached.
        self.settings = transformers.GenerationConfig(
            do_sample=False, use_cache=True, max_new_tokens=tokens, eos_token_id=None, pad_token_id=0
        )
        self.model.generation_config = self.settings

    def run(self):
        """One run: its wall-clock seconds, how many tokens came, and which."""
        start = time.perf_counter()
        with torch.inference_mode():
            ids = self.model.generate(
                self.prompt, attention_mask=torch.ones_like(self.prompt), generation_config=self.settings
            )
        seconds = time.perf_counter() - start
        made = ids[0, len(PROMPT) :].tolist()
        return {"seconds": seconds, "tokens": len(made), "ids": made}


def by_hand(generator, runs):
    """Runs without being asked and prints what it took."""
    timed = [generator.run() for _ in range(runs)]
    middle = statistics.median(run["seconds"] / run["tokens"] for run in timed)
    print(f"tokens/s      {1 / middle:.1f}")
    print(f"peak memory   {peak_rss_bytes() / 1e6:.0f} MB ({IMPORT_RSS_BYTES / 1e6:.0f} after import)")


def main():
    """Warms up, then serves or runs by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder in Hugging Face's layout")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5, help="how many, without --json")
    parser.add_argument("--json", action="store_true", help="speak the line protocol")
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    transformers.utils.logging.disable_progress_bar()
    generator = Generator(asked.model, asked.tokens)
    for _ in range(WARM_UP):
        generator.run()
    if not asked.json:
        by_hand(generator, asked.runs)
        return
    version = f"torch {torch.__version__}, transformers {transformers.__version__}"
    params = sum(weight.numel() for weight in generator.model.parameters())
    ready = {"params": params, "version": version, "import_rss_bytes": IMPORT_RSS_BYTES}
    serve("run", generator.run, ready, lambda: {"peak_rss_bytes": peak_rss_bytes(), "version": version})


if __name__ == "__main__":
    main()
