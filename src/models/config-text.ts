/** Fields of Hugging Face's configs that are floats and nothing else. */
const floats = [
  'attn_logit_softcapping',
  'clip_qkv',
  'final_logit_softcapping',
  'init_std',
  'initializer_cutoff_factor',
  'initializer_range',
  'layer_norm_eps',
  'layer_norm_epsilon',
  'norm_eps',
  'rms_norm_eps',
  'router_aux_loss_coef',
  'router_jitter_noise',
];
const wholeFloat = new RegExp(`^( *"(?:${floats.join('|')})": -?\\d+)(,?)$`, 'gm');

/** The text of a config.json. A float that is whole keeps its point (`2.0`): transformers 5 refuses `2` there, and JavaScript's numbers do not tell them apart. */
export function configText(config: unknown): string {
  return `${JSON.stringify(config, null, 2).replace(wholeFloat, '$1.0$2')}\n`;
}
