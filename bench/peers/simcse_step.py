"""LoRA SimCSE training steps in PyTorch: transformers 5 + peft, float32.

usage: python simcse_step.py hf_dir job.json eager|checkpoint
Each batch's texts are taken twice and padded to the longest text of the batch, as llm2vec's own trainer does.
Dropout as LLM2Vec's SimCSE (attention and LoRA), bidirectional attention, mean pooling, an AdamW step.
"""
import sys

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

from common import Meter, device_of, read_job

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def bidirectional_mask(mask: torch.Tensor) -> torch.Tensor:
    """[B, T] of ones and zeros -> additive [B, 1, T, T] that hides padding only."""
    hidden = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
    return hidden.expand(-1, 1, mask.shape[1], -1)


def hidden_states(model, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, attention_mask=bidirectional_mask(mask), use_cache=False).last_hidden_state


def assert_bidirectional(model, device: str) -> None:
    """The first token's state must move when the last token changes; otherwise this is not the same work."""
    model.eval()
    with torch.no_grad():
        ids = torch.tensor([[11, 12, 13, 14], [11, 12, 13, 15]], device=device)
        h = hidden_states(model, ids, torch.ones_like(ids))
        assert (h[0, 0] - h[1, 0]).abs().max() > 1e-4, "attention is causal"
    model.train()


def batches(job: dict, tokenizer):
    for batch in job["batches"]:
        if "ids" in batch:
            ids = torch.tensor(batch["ids"] * 2)
            yield ids, torch.ones_like(ids)
        else:
            longest = job["maxTokens"]
            both = tokenizer(batch["texts"] * 2, return_tensors="pt", padding=True, truncation=True, max_length=longest)
            yield both["input_ids"], both["attention_mask"]


def main() -> None:
    folder, job, mode = sys.argv[1], read_job(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    lora = job["lora"]
    model = AutoModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", attention_dropout=job["attentionDropout"]
    )
    # Experts that a router chooses get no adapters, as in lmvec.
    targets = TARGETS[:4] if getattr(model.config, "num_experts", None) else TARGETS
    adapter = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=targets)
    model = get_peft_model(model, adapter)
    device = device_of(job)
    model.to(device)
    assert_bidirectional(model, device)
    if mode == "checkpoint":
        model.base_model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job["learningRate"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def step(ids: torch.Tensor, mask: torch.Tensor) -> str:
        h = hidden_states(model, ids, mask)
        e = F.normalize((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
        n = len(e) // 2
        loss = F.cross_entropy(job["scale"] * e[:n] @ e[n:].t(), torch.arange(n, device=device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return f"loss {loss.item():.4f}"

    meter = Meter(f"pytorch {mode}", job["warmup"])
    for ids, mask in batches(job, tokenizer):
        meter.timed(lambda: step(ids.to(device), mask.to(device)), int(mask.sum()), ids.numel())
    meter.report()


main()
