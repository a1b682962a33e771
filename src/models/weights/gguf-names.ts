/** GGUF's name of a matrix or norm inside `blk.N.` -> Hugging Face's inside `model.layers.N.`, in Llama and what is laid out like it. */
export const llamaInside: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** The same outside the blocks, whole names. */
const llamaOutside: Readonly<Record<string, string>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

/** Llama's places. */
export const llamaPlaces = { blocks: 'model.layers.', inside: llamaInside, outside: llamaOutside };

/** Norms of queries and keys. */
export const headNorms = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' };
