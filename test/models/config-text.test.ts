import { expect, it } from 'vitest';
import { configText } from '../../src/models/config-text.js';

it('a whole float keeps its point where transformers asks for a float, also in a part; nothing else changes', () => {
  const config = {
    final_logit_softcapping: 30,
    hidden_size: 2,
    initializer_cutoff_factor: 2,
    rms_norm_eps: 1e-6,
    text_config: { attn_logit_softcapping: 50 },
    name: '"clip_qkv": 8,\n  "clip_qkv": 8',
    router_aux_loss_coef: -0,
  };
  const text = configText(config);
  expect(text).toContain('"final_logit_softcapping": 30.0,\n');
  expect(text).toContain('"initializer_cutoff_factor": 2.0,\n');
  expect(text).toContain('"attn_logit_softcapping": 50.0\n');
  expect(text).toContain('"hidden_size": 2,\n');
  expect(text).toContain('"rms_norm_eps": 0.000001,\n');
  expect(text).toContain('"router_aux_loss_coef": 0.0\n');
  expect(JSON.parse(text)).toEqual({ ...config, router_aux_loss_coef: 0 });
});
