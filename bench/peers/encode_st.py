"""Sentence embeddings with sentence-transformers: the decoder as it is (causal), mean pooling, unit length, no chat template.

usage: python encode_st.py hf_dir job.json
One encode() call a batch; sentence-transformers sorts by length and pads within its own batches of 32.
"""
import sys
import time

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from common import Meter, device_of, read_job


def main() -> None:
    folder, job = sys.argv[1], read_job(sys.argv[2])
    torch.set_num_threads(job["threads"])
    transformer = Transformer(folder, max_seq_length=job["maxTokens"], model_kwargs={"dtype": torch.float32})
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device=device_of(job))

    multiplied = 0

    def count(_module, inputs) -> None:
        nonlocal multiplied
        multiplied += inputs[0].numel()

    transformer.auto_model.get_input_embeddings().register_forward_pre_hook(count)
    meter = Meter("sentence-transformers", job["warmup"])
    sample = []
    for batch in job["batches"]:
        texts = batch["texts"]
        tokens = transformer.tokenizer(texts, truncation=True, max_length=job["maxTokens"])["input_ids"]
        before = multiplied
        start = time.perf_counter()
        vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
        seconds = time.perf_counter() - start
        meter.add(seconds, sum(map(len, tokens)), multiplied - before)
        if not sample:
            sample = vectors[:4].tolist()
    meter.report(sample=sample)


main()
