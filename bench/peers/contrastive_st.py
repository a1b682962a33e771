"""Contrastive LoRA steps with sentence-transformers 6: MultipleNegativesRankingLoss, or its cached form where the job has chunks.

usage: python contrastive_st.py hf_dir job.json eager|checkpoint
Batches hold anchors, positives and hard negatives; each column is padded to its longest text, as its trainer does. Bidirectional
attention, mean pooling, LLM2Vec's dropout, an AdamW step.
"""
import sys

import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from common import Meter, read_job

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def assert_bidirectional(decoder) -> None:
    """The first token's state must move when the last token changes; otherwise this is not the same work."""
    decoder.eval()
    with torch.no_grad():
        ids = torch.tensor([[11, 12, 13, 14], [11, 12, 13, 15]])
        h = decoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        assert (h[0, 0] - h[1, 0]).abs().max() > 1e-4, "attention is causal"
    decoder.train()


def main() -> None:
    folder, job, mode = sys.argv[1], read_job(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    transformer = Transformer(
        folder,
        max_seq_length=job["maxTokens"],
        model_kwargs={"dtype": torch.float32, "attn_implementation": "sdpa"},
        config_kwargs={"attention_dropout": job["attentionDropout"]},
    )
    # Read where the masks are made; a keyword that the family's configuration does not know would be dropped.
    transformer.auto_model.config.is_causal = False
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    assert_bidirectional(transformer.auto_model)
    lora = job["lora"]
    adapter = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=TARGETS)
    width = transformer.get_embedding_dimension()
    transformer.auto_model = get_peft_model(transformer.auto_model, adapter)
    if mode == "checkpoint":
        transformer.auto_model.base_model.enable_input_require_grads()
        transformer.auto_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = SentenceTransformer(modules=[transformer, Pooling(width, pooling_mode="mean")], device="cpu")
    model.train()
    chunk = job.get("chunkTexts")
    loss_fn = (
        losses.MultipleNegativesRankingLoss(model, scale=job["scale"])
        if chunk is None
        else losses.CachedMultipleNegativesRankingLoss(model, scale=job["scale"], mini_batch_size=chunk)
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job["learningRate"])

    def step(columns) -> str:
        loss = loss_fn(columns, torch.empty(0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return f"loss {loss.item():.4f}"

    meter = Meter("sentence-transformers", job["warmup"])
    for batch in job["batches"]:
        texts = batch["texts"]
        n = len(texts) // 3
        columns = [model.preprocess(texts[i * n : (i + 1) * n]) for i in range(3)]
        real = sum(int(column["attention_mask"].sum()) for column in columns)
        multiplied = sum(column["attention_mask"].numel() for column in columns)
        meter.timed(lambda: step(columns), real, multiplied)
    meter.report()


main()
