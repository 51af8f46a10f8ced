"""Checks that `transformers` computes from an exported model what khub computed.

    python check_export.py DIR

DIR is a model in Hugging Face's layout with one more file, `khub_check.safetensors`: `input_ids` (integers,
[batch, seq]) and khub's `logits` for them (F32 [batch, seq, vocab]). Prints one JSON line and exits with 1 if
the logits differ by more than 1e-4 of the largest.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

ALLOWED = 1e-4


def relative_error(ours, theirs):
    """The largest difference, as a part of the largest value of `theirs`."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def describe_tokenizer(folder):
    """Loads the tokeniser if there is one; returns how many tokens it knows."""
    if not (folder / "tokenizer.json").exists():
        return None
    return len(transformers.AutoTokenizer.from_pretrained(folder))


def main():
    """Loads, runs, compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, help="the exported model")
    folder = parser.parse_args().dir
    transformers.utils.logging.disable_progress_bar()
    check = load_file(folder / "khub_check.safetensors")
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    with torch.inference_mode():
        logits = model.eval()(input_ids=check["input_ids"].long()).logits
    if logits.shape != check["logits"].shape:
        sys.exit(f"khub's logits are {list(check['logits'].shape)}, transformers' {list(logits.shape)}")
    error = relative_error(check["logits"].float(), logits)
    # A NaN is not at most anything, so it fails too.
    good = error <= ALLOWED and not loading["missing_keys"] and not loading["unexpected_keys"]
    report = {
        "max_relative_error": error,
        "allowed": ALLOWED,
        "missing": sorted(loading["missing_keys"]),
        "unexpected": sorted(loading["unexpected_keys"]),
        "architecture": type(model).__name__,
        "tokenizer_tokens": describe_tokenizer(folder),
        "good": good,
    }
    print(json.dumps(report))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
