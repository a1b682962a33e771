import {
  isRecord,
  type TextTokenizer,
  type TokenizerConfigJson,
  type TokenizerJson,
} from '../data/tokenizer.js';
import type { EmbeddingRecipe } from '../pooling/embedding-model.js';
import { appendsEos, specialTokens } from '../pooling/registry.js';
import { internalError } from '../shared/errors.js';

export type PaddingSide = 'left' | 'right';

export interface TokenizerFiles {
  readonly json: TokenizerJson;
  readonly config: TokenizerConfigJson;
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly padTokenId: number;
}

const specialKeys = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'cls_token', 'sep_token'] as const;

/** Left where other tools find the last token by the last column; right where they find the first by the first, or count from it. */
export function paddingSide({ pooling }: Pick<EmbeddingRecipe, 'pooling'>): PaddingSide {
  return ['last', 'eos', 'specialTokens'].includes(pooling.type) ? 'left' : 'right';
}

/**
 * The tokenizer as other tools load it: its post-processor adds what our preparer adds (bos, the end token of eos pooling, the tokens of
 * specialTokens), there is a token to pad with, texts are cut where ours are, and no chat template, in which some tools would wrap every text.
 */
export function tokenizerFiles(recipe: EmbeddingRecipe, tokenizer: TextTokenizer): TokenizerFiles {
  const bos = tokenizer.addBos ? tokenizer.bosTokenId : undefined;
  const config: Record<string, unknown> = { ...tokenizer.config };
  for (const key of ['chat_template', 'auto_map', 'processor_class', 'vocab_file', 'merges_file', 'backend'])
    Reflect.deleteProperty(config, key);
  const pad = padToken(tokenizer);
  Object.assign(config, {
    // The class that takes tokenizer.json as it is; others rebuild parts of it.
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: recipe.maxTokens,
    padding_side: paddingSide(recipe),
    truncation_side: 'right',
    pad_token: pad.content,
    add_bos_token: bos !== undefined,
    add_eos_token: endToken(recipe, tokenizer) !== undefined,
    clean_up_tokenization_spaces: false,
  });
  return {
    json: {
      ...tokenizer.json,
      truncation: null,
      padding: null,
      post_processor: template(tokenizer, { before: [bos], after: endingTokens(recipe, tokenizer) }),
    },
    config,
    specialTokens: Object.fromEntries(
      specialKeys.flatMap((key) => {
        const content = contentOf(config[key]);
        return content === undefined ? [] : [[key, content] as const];
      }),
    ),
    padTokenId: pad.id,
  };
}

/** What stands behind every text: the end token, the tokens of specialTokens pooling. */
export function endingTokens(recipe: EmbeddingRecipe, tokenizer: TextTokenizer): readonly number[] {
  const special = specialTokens(recipe.pooling).map((token) => tokenizer.tokenId(token));
  return [endToken(recipe, tokenizer), ...special].filter((id) => id !== undefined);
}

function endToken({ pooling }: EmbeddingRecipe, tokenizer: TextTokenizer): number | undefined {
  return appendsEos(pooling) || tokenizer.addEos ? tokenizer.eosTokenId : undefined;
}

/** `before text after` as the tokenizers library writes it; without either, only a byte-level post-processor, which adds nothing, stays. */
function template(
  tokenizer: TextTokenizer,
  { before, after }: Readonly<Record<'before' | 'after', readonly (number | undefined)[]>>,
): unknown {
  const own = tokenizer.json['post_processor'];
  const ids = [...before, ...after].filter((id) => id !== undefined);
  if (ids.length === 0) return isRecord(own) && own['type'] === 'ByteLevel' ? own : null;
  const special = (side: readonly (number | undefined)[], type: number) =>
    side.flatMap((id) =>
      id === undefined ? [] : [{ SpecialToken: { id: tokenizer.decode([id]), type_id: type } }],
    );
  const sequence = (id: 'A' | 'B', type: number) => [
    ...special(before, type),
    { Sequence: { id, type_id: type } },
    ...special(after, type),
  ];
  return {
    type: 'TemplateProcessing',
    single: sequence('A', 0),
    pair: [...sequence('A', 0), ...sequence('B', 1)],
    special_tokens: Object.fromEntries(
      ids.map((id) => {
        const token = tokenizer.decode([id]);
        return [token, { id: token, ids: [id], tokens: [token] }];
      }),
    ),
  };
}

/** Any token will do: padding is masked. */
function padToken(tokenizer: TextTokenizer): { readonly content: string; readonly id: number } {
  for (const key of ['pad_token', 'eos_token', 'unk_token', 'bos_token']) {
    const content = contentOf(tokenizer.config[key]);
    const id = content === undefined ? undefined : tokenizer.tokenId(content);
    if (content !== undefined && id !== undefined) return { content, id };
  }
  const model = tokenizer.json['model'];
  const vocabulary = isRecord(model) ? model['vocab'] : undefined;
  const first = isRecord(vocabulary) ? Object.entries(vocabulary)[0] : undefined;
  if (first === undefined) throw internalError('no token to pad with');
  return { content: first[0], id: Number(first[1]) };
}

/** A special token is written as a string or as an object. */
function contentOf(token: unknown): string | undefined {
  const content = isRecord(token) ? token['content'] : token;
  return typeof content === 'string' ? content : undefined;
}
