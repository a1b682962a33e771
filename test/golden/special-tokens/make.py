"""Golden values of trained special tokens, from transformers 5. Run: python test/golden/special-tokens/make.py

Made with torch 2.13 (CPU, float64, stored as float32), transformers 5: the tiny Llamas of test/golden/llama, resize_token_embeddings to 3 more rows,
the ids of these rows behind every text; e = last hidden state of the last of them, or the mean of all three; loss = sum(e * outputGradient).
golden.json  {"tokens": 3, "first": 72, "rows" [3*D], "texts": [[ids, without the special tokens]], "outputGradient" [N*D],
              "models": {FOLDER of test/golden/llama: {"last" | "mean": {"embeddings" [N*D], "rowsGradient" [3*D]}}}}
"""

import json
import pathlib

import torch
from transformers import LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
TOKENS, VOCABULARY, WIDTH = 3, 72, 24

torch.manual_seed(11)
rows = (0.3 * torch.randn(TOKENS, WIDTH)).float()
texts = [torch.randint(2, VOCABULARY, (length,)).tolist() for length in (1, 7, 4, 12)]
output_gradient = torch.randn(len(texts), WIDTH).float()


def flat(tensor):
    return [float(f"{x:.8g}") for x in tensor.detach().flatten().float().tolist()]


def values(folder, aggregate):
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().double()
    model.resize_token_embeddings(VOCABULARY + TOKENS, mean_resizing=False)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[VOCABULARY:] = rows.double()
    embeddings = []
    # Each text alone: nothing of a neighbour can get into it.
    for text in texts:
        ids = torch.tensor([text + list(range(VOCABULARY, VOCABULARY + TOKENS))])
        hidden = model.model(input_ids=ids).last_hidden_state[0]
        embeddings.append(hidden[-1] if aggregate == "last" else hidden[-TOKENS:].mean(0))
    embeddings = torch.stack(embeddings)
    (embeddings * output_gradient.double()).sum().backward()
    return dict(embeddings=flat(embeddings), rowsGradient=flat(table.grad[VOCABULARY:]))


golden = dict(
    tokens=TOKENS,
    first=VOCABULARY,
    rows=flat(rows),
    texts=texts,
    outputGradient=flat(output_gradient),
    models={
        name: {aggregate: values(HERE.parent / "llama" / name, aggregate) for aggregate in ("last", "mean")}
        for name in ("base", "tied")
    },
)
(HERE / "golden.json").write_text(json.dumps(golden) + "\n")
