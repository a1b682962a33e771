import { userError } from '../../shared/errors.js';
import type { TokenizerParts } from './gguf-tokenizer.js';
import { tokenTypes, type GgufVocabulary } from './gguf-vocabulary.js';
import type { JsonObject } from './types.js';

const underline = '\u2581';

/**
 * SentencePiece BPE (`tokenizer.ggml.model` llama): GGUF keeps a score per token and no merges. Two tokens merge where their concatenation is a
 * token, the highest score first (transformers, convert_slow_tokenizer.py, generate_merges).
 */
export function sentencePieceParts(vocabulary: GgufVocabulary): TokenizerParts {
  const { metadata, tokens, types } = vocabulary;
  const prefix = metadata.boolean('tokenizer.ggml.add_space_prefix') ?? true;
  const replace: JsonObject = { type: 'Replace', pattern: { String: ' ' }, content: underline };
  const unknown = tokens[types.indexOf(tokenTypes.unknown)] ?? null;
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: prefix ? [{ type: 'Prepend', prepend: underline }, replace] : [replace],
    },
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: underline }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: types.includes(tokenTypes.byte),
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: mergesFromScores(vocabulary),
    },
    addBosByDefault: true,
  };
}

/** A token longer than this has no merges of its own: it bounds the work that a hostile file can ask for. */
const maxMergedLength = 1024;

function mergesFromScores(vocabulary: GgufVocabulary): [string, string][] {
  const { metadata, tokens, ids, types, path } = vocabulary;
  const scores = metadata.required('tokenizer.ggml.scores', metadata.numbers('tokenizer.ggml.scores'));
  if (scores.length !== tokens.length) {
    throw userError({
      what: 'tokenizer.ggml.scores does not fit',
      where: path,
      got: `${scores.length} scores`,
      expected: `${tokens.length}, one per token`,
    });
  }
  const merges: { pair: [string, string]; left: number; right: number; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    if (types[id] !== tokenTypes.normal) continue;
    const characters = Array.from(token);
    if (characters.length > maxMergedLength) continue;
    const found: typeof merges = [];
    for (let cut = 1, at = 0; cut < characters.length; cut++) {
      at += characters[cut - 1]?.length ?? 1;
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      const left = ids.get(pair[0]);
      const right = ids.get(pair[1]);
      if (left !== undefined && right !== undefined)
        found.push({ pair, left, right, score: scores[id] ?? 0 });
    }
    merges.push(...found.sort((a, b) => a.left - b.left || a.right - b.right));
  }
  // Stable: equal scores keep the order of their ids, as in Python.
  return merges.sort((a, b) => b.score - a.score).map((merge) => merge.pair);
}
