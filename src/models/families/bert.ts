import { z } from 'zod';
import type { BlockConfig, NormConfig } from '../decoder-config.js';
import { encoderNames } from './encoder-names.js';
import { defineFamily, type Family } from './family.js';
import { activation, positive, size } from './fields.js';

/** What sets one of BERT's kin apart. */
interface Kind extends Pick<Family, 'modelType' | 'models' | 'special'> {
  /** Before the names of a model with a head. */
  readonly prefix: string;
  /** Positions begin behind the row of the padding token. */
  readonly positionsBehindPadding: boolean;
}

/** BERT (Devlin et al. 2019) as BertModel has it, without its pooler: post-norm blocks, everything with a bias. */
function bertLike({ prefix, positionsBehindPadding, ...facts }: Kind): Family {
  return defineFamily({
    ...facts,
    names: encoderNames(prefix, ['embeddings', 'encoder']),
    schema: z.object({
      vocab_size: size,
      hidden_size: size,
      num_hidden_layers: z.int().min(1).max(1024),
      num_attention_heads: size,
      intermediate_size: size,
      hidden_act: activation.default('gelu'),
      max_position_embeddings: size.default(512),
      type_vocab_size: size.default(positionsBehindPadding ? 1 : 2),
      layer_norm_eps: positive.default(1e-12),
      pad_token_id: z
        .int()
        .min(0)
        .default(positionsBehindPadding ? 1 : 0),
      position_embedding_type: z.literal('absolute').default('absolute'),
      is_decoder: z.literal(false).default(false),
      add_cross_attention: z.literal(false).default(false),
    }),
    describe: (config) => {
      const { hidden_size: hidden, num_attention_heads: heads, max_position_embeddings: rows } = config;
      const headDim = Math.floor(hidden / heads);
      const norm = (name: string): NormConfig => ({
        kind: 'layer',
        name,
        width: hidden,
        eps: config.layer_norm_eps,
      });
      const block: BlockConfig = {
        attention: {
          heads,
          keyHeads: heads,
          headDim,
          projection: {
            kind: 'separate',
            query: 'attention.self.query',
            key: 'attention.self.key',
            value: 'attention.self.value',
          },
          inputBias: true,
          output: 'attention.output.dense',
          outputBias: true,
          scale: 1 / Math.sqrt(headDim),
        },
        feedForward: {
          kind: 'plain',
          up: 'intermediate.dense',
          down: 'output.dense',
          width: config.intermediate_size,
          bias: true,
          activation: config.hidden_act,
        },
        norms: {
          attentionSum: norm('attention.output.LayerNorm'),
          feedForwardSum: norm('output.LayerNorm'),
        },
        parallel: false,
        layout: 'outIn',
      };
      const offset = positionsBehindPadding ? config.pad_token_id + 1 : 0;
      return {
        encoder: true,
        hidden_size: hidden,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: headDim,
        vocab_size: config.vocab_size,
        max_position_embeddings: Math.max(1, rows - offset),
        tie_word_embeddings: true,
        embedding: {
          weight: 'embeddings.word_embeddings.weight',
          width: hidden,
          positions: { weight: 'embeddings.position_embeddings.weight', rows, offset },
          segments: { weight: 'embeddings.token_type_embeddings.weight', rows: config.type_vocab_size },
          norm: norm('embeddings.LayerNorm'),
        },
        blocks: 'encoder.layer.',
        structures: [block],
        layers: Array.from({ length: config.num_hidden_layers }, () => ({ structure: 0 })),
        ropes: {},
        output: { width: hidden },
      };
    },
  });
}

export const bert = bertLike({
  modelType: 'bert',
  models: 'BERT, BGE, E5, GTE, all-MiniLM',
  special: 'encoder: learned positions, token types, norms behind each sum; its pooler is left out',
  prefix: 'bert.',
  positionsBehindPadding: false,
});

/** RoBERTa (Liu et al. 2019). */
export const roberta = bertLike({
  modelType: 'roberta',
  models: 'RoBERTa, DistilRoBERTa, all-distilroberta',
  special: 'encoder: as BERT, positions begin behind the padding token',
  prefix: 'roberta.',
  positionsBehindPadding: true,
});

/** XLM-R (Conneau et al. 2020). */
export const xlmRoberta = bertLike({
  modelType: 'xlm-roberta',
  models: 'XLM-R, BGE-M3, multilingual E5',
  special: 'encoder: as RoBERTa, unigram tokenizer',
  prefix: 'roberta.',
  positionsBehindPadding: true,
});
