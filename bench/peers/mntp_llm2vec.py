"""MNTP training steps of llm2vec 0.2.3: its LlamaBiForMNTP in transformers' Trainer, as its experiments/run_mntp.py sets it up.

usage: python mntp_llm2vec.py hf_dir-444 job.json      (llm2vec 0.2.3, transformers 4.44.2)
LoRA on the seven matrices of the inner model, sdpa attention, its default masking collator, AdamW, float32. Data: the job's chunks of token ids.
"""
import sys
import tempfile
import time

import torch
import torch.distributed.tensor  # peft looks it up as an attribute without importing it
from llm2vec.models import LlamaBiForMNTP
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainerCallback, TrainingArguments, set_seed

from common import Meter, read_job

TARGETS = ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class StepTimer(TrainerCallback):
    """Clocks each optimizer step, collation included, as a user of the trainer waits for it."""

    def __init__(self, meter: Meter, tokens: int):
        self.meter, self.tokens, self.start = meter, tokens, 0.0

    def on_train_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        now = time.perf_counter()
        self.meter.add(now - self.start, self.tokens, self.tokens)
        self.start = now


def main() -> None:
    folder, job = sys.argv[1], read_job(sys.argv[2])
    torch.set_num_threads(job["threads"])
    set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "_"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = AutoConfig.from_pretrained(folder)
    model = LlamaBiForMNTP.from_pretrained(folder, config=config, torch_dtype=torch.float32, attn_implementation="sdpa")
    lora = job["lora"]
    adapter = LoraConfig(
        r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=TARGETS, bias="none", task_type=None
    )
    model.model = get_peft_model(model.model, adapter)

    batches = [batch["ids"] for batch in job["batches"]]
    size, length = len(batches[0]), len(batches[0][0])
    examples = [{"input_ids": row, "attention_mask": [1] * length} for batch in batches for row in batch]
    meter = Meter("llm2vec", job["warmup"])
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=size,
            max_steps=len(batches),
            learning_rate=job["learningRate"],
            save_strategy="no",
            logging_steps=10**6,
            report_to=[],
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            label_names=["labels"],
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=examples,
            tokenizer=tokenizer,
            data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=job["maskRatio"]),
            callbacks=[StepTimer(meter, size * length)],
        )
        printed, sys.stdout = sys.stdout, sys.stderr
        trainer.train()
        sys.stdout = printed
    meter.report()


main()
