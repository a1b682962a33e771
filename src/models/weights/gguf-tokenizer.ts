import { userError } from '../../shared/errors.js';
import { bytePairParts } from './gguf-tokenizer-bpe.js';
import { sentencePieceParts } from './gguf-tokenizer-sentencepiece.js';
import { readVocabulary, tokenTypes, type GgufVocabulary } from './gguf-vocabulary.js';
import type { GgufFile } from './gguf.js';
import type { DecoderSource, JsonObject } from './types.js';

/** What a `tokenizer.ggml.model` contributes to tokenizer.json. */
export interface TokenizerParts {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  readonly model: JsonObject;
  readonly addBosByDefault: boolean;
}

/**
 * Rebuilds tokenizer.json and tokenizer_config.json from a GGUF file's metadata; `vocabularySize` is the embedding's number of rows.
 * A chat template is not kept: tools would wrap every text in it.
 * @throws UserError where the tokens are missing, inconsistent, past the vocabulary, or split in a way that is not known.
 */
export function tokenizerFromGguf(file: GgufFile, vocabularySize: number): DecoderSource['tokenizer'] {
  const vocabulary = readVocabulary(file, vocabularySize);
  const { metadata, tokens } = vocabulary;
  const parts = tokenizerParts(vocabulary);
  const special = (name: string): number | undefined => {
    const id = metadata.integer(`tokenizer.ggml.${name}_token_id`);
    if (id !== undefined && id >= tokens.length) {
      throw userError({
        what: `tokenizer.ggml.${name}_token_id is past the vocabulary`,
        where: file.path,
        got: String(id),
        expected: `an id below ${tokens.length}`,
      });
    }
    return id;
  };
  const bos = special('bos');
  const eos = special('eos');
  const addBos =
    bos !== undefined && (metadata.boolean('tokenizer.ggml.add_bos_token') ?? parts.addBosByDefault);
  const addEos = eos !== undefined && (metadata.boolean('tokenizer.ggml.add_eos_token') ?? false);
  const around = { before: addBos ? bos : undefined, after: addEos ? eos : undefined, tokens };
  const named = Object.entries({
    bos_token: bos,
    eos_token: eos,
    unk_token: special('unknown'),
    pad_token: special('padding'),
  });
  return {
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      normalizer: parts.normalizer,
      pre_tokenizer: parts.preTokenizer,
      post_processor: addBos || addEos ? template(around) : null,
      decoder: parts.decoder,
      model: parts.model,
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      model_max_length:
        metadata.integer(`${metadata.text('general.architecture') ?? ''}.context_length`, 1) ?? 2048,
      model_input_names: ['input_ids', 'attention_mask'],
      add_bos_token: addBos,
      add_eos_token: addEos,
      ...Object.fromEntries(named.flatMap(([key, id]) => (id === undefined ? [] : [[key, tokens[id]]]))),
    },
  };
}

function tokenizerParts(vocabulary: GgufVocabulary): TokenizerParts {
  const { metadata } = vocabulary;
  const model = metadata.required('tokenizer.ggml.model', metadata.text('tokenizer.ggml.model'));
  switch (model) {
    case 'gpt2':
      return bytePairParts(vocabulary);
    case 'llama':
      return sentencePieceParts(vocabulary);
    default:
      throw userError({
        what: 'this tokenizer.ggml.model is not supported',
        where: vocabulary.path,
        got: model,
        expected: 'gpt2 (byte-level BPE) or llama (SentencePiece BPE)',
      });
  }
}

function addedTokens(vocabulary: GgufVocabulary): JsonObject[] {
  const { control, unknown, userDefined } = tokenTypes;
  return vocabulary.tokens.flatMap((content, id) => {
    const type = vocabulary.types[id];
    if ((type !== control && type !== unknown && type !== userDefined) || content === '') return [];
    const special = type !== userDefined;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** A TemplateProcessing that puts bos before and eos after each text, where asked. */
function template(around: {
  before: number | undefined;
  after: number | undefined;
  tokens: readonly string[];
}): JsonObject {
  const content = (id: number): string => around.tokens[id] ?? '';
  const one = (id: number | undefined, type: number): JsonObject[] =>
    id === undefined ? [] : [{ SpecialToken: { id: content(id), type_id: type } }];
  const framed = (sequence: 'A' | 'B', type: number): JsonObject[] => [
    ...one(around.before, type),
    { Sequence: { id: sequence, type_id: type } },
    ...one(around.after, type),
  ];
  const used = [around.before, around.after].filter((id) => id !== undefined);
  return {
    type: 'TemplateProcessing',
    single: framed('A', 0),
    pair: [...framed('A', 0), ...framed('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [content(id), { id: content(id), ids: [id], tokens: [content(id)] }]),
    ),
  };
}
