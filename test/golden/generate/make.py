"""Golden greedy answers of tiny Llama decoders, from transformers 5. Run: python test/golden/generate/make.py

Made with torch 2.13 (CPU, float32), transformers 5: model.generate(do_sample=False, max_new_tokens=6, output_hidden_states=True), each prompt alone.
golden.json  {"tokens": 6, "models": {FOLDER of test/golden/llama: [{"prompt": [ids], "answer": [ids, eos included where it came],
              "mean": {"-1": [D], "-2": [D]}}]}}
  mean: average of the hidden states that make the answer's tokens before eos, the first one in any case: InBedder's avg_gen
  (lm_encoders_hf/causallm_encoder_hf.py), which leaves out states that make a special token.
"""

import json
import pathlib

import torch
from transformers import LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
TOKENS = 6
PROMPTS = 24


def answers(folder):
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().float()
    torch.manual_seed(7)
    made = []
    for index in range(PROMPTS):
        prompt = torch.randint(2, 72, (1, 3 + (5 * index) % 19))
        with torch.no_grad():
            out = model.generate(
                prompt, do_sample=False, max_new_tokens=TOKENS, return_dict_in_generate=True, output_hidden_states=True, pad_token_id=1,
                attention_mask=torch.ones_like(prompt),
            )
        answer = out.sequences[0, prompt.shape[1] :].tolist()
        states = [t for t in range(len(answer)) if t == 0 or answer[t] != 1]
        mean = {
            str(layer): torch.stack([out.hidden_states[t][layer][0, -1] for t in states]).mean(0).tolist() for layer in (-1, -2)
        }
        made.append({"prompt": prompt[0].tolist(), "answer": answer, "mean": mean})
    ended = [each for each in made if each["answer"][-1] == 1]
    return (ended[:3] + [each for each in made if each["answer"][-1] != 1])[:6]


folders = ["base", "rope-llama3", "tied"]
golden = {"tokens": TOKENS, "models": {name: answers(HERE.parent / "llama" / name) for name in folders}}
(HERE / "golden.json").write_text(json.dumps(golden) + "\n")
for name, each in golden["models"].items():
    print(name, [a["answer"] for a in each])
