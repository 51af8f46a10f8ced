"""A job of khub's language models, trained by PyTorch: alone, or by several ranks under FSDP2.

    khub site ... --program 'language=python train.py'
    khub site ... --program 'language=torchrun --nproc-per-node 8 train.py'
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import khub


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--run", help="the job, if the site doesn't start this: job-7")
    asked.add_argument("--site", help="the folder of its site")
    asked = asked.parse_args()
    accelerator = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        dist.init_process_group("gloo" if accelerator.type == "cpu" else None)

    job = khub.Job(asked.run, asked.site)
    model = LlamaForCausalLM(LlamaConfig(**job.config)).to(accelerator)
    if ranks > 1:
        mesh = init_device_mesh(accelerator.type, (ranks,))
        for block in model.model.layers:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=job.settings["weight_decay"])

    sync = khub.OuterSync(model, optimizer, job=job)
    for tokens in sync.batches():
        for group in optimizer.param_groups:
            group["lr"] = sync.rate()
        tokens = tokens.to(accelerator)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.settings["clip"])
        optimizer.step()
        optimizer.zero_grad()
        sync.step(loss)


if __name__ == "__main__":
    main()
