/** A prompt method of the literature: its frame, how its papers prepare the text, and where they read the embedding. */
export interface PromptPreset {
  /** The frame; `{text}` stands for the text. */
  readonly frame: string;
  /** `sentence`: see `prepareSentence`. */
  readonly preparation: 'none' | 'sentence';
  /** Which hidden layer the method reads (-1 is the last, after the final norm). */
  readonly layer: number;
  readonly pooling: 'last';
  /** Which tokens are pooled. */
  readonly pool: 'last';
  readonly source: string;
}

const lastToken = { pooling: 'last', pool: 'last' } as const;

/** The prompt methods that need no training, by the name that `prompt:` and `--prompt` take. A new one is one entry. */
export const promptPresets = {
  'prompt-eol': {
    frame: 'This sentence : "{text}" means in one word:"',
    preparation: 'sentence',
    layer: -1,
    ...lastToken,
    source: 'PromptEOL, Jiang et al. 2023, arXiv:2307.16645',
  },
  'prompt-eol-example': {
    frame:
      'This sentence : "A jockey riding a horse." means in one word:"Equestrian".This sentence : "{text}" means in one word:"',
    preparation: 'sentence',
    layer: -1,
    ...lastToken,
    source: 'PromptEOL with in-context example, Jiang et al. 2023, arXiv:2307.16645',
  },
  'prompt-sth': {
    frame: 'This sentence : "{text}" means something',
    preparation: 'sentence',
    layer: -1,
    ...lastToken,
    source: 'PromptSTH, Zhang et al. 2024, arXiv:2404.03921',
  },
  'prompt-sum': {
    frame: 'This sentence : "{text}" can be summarized as',
    preparation: 'sentence',
    layer: -1,
    ...lastToken,
    source: 'PromptSUM, Zhang et al. 2024, arXiv:2404.03921',
  },
  'pretended-cot': {
    frame: 'After thinking step by step , this sentence : "{text}" means in one word:"',
    preparation: 'sentence',
    layer: -2,
    ...lastToken,
    source: 'Pretended chain of thought, Zhang et al. 2024, arXiv:2404.03921',
  },
  'knowledge-enhancement': {
    frame:
      'The essence of a sentence is often captured by its main subjects and actions, while descriptive terms provide additional but less central details. With this in mind , this sentence : "{text}" means in one word:"',
    preparation: 'sentence',
    layer: -2,
    ...lastToken,
    source: 'Knowledge enhancement, Zhang et al. 2024, arXiv:2404.03921',
  },
  bellm: {
    frame: 'The representative word for sentence {text} is:"',
    preparation: 'none',
    layer: -1,
    ...lastToken,
    source: 'BeLLM, Li and Li 2024, arXiv:2311.05296',
  },
} as const satisfies Readonly<Record<string, PromptPreset>>;

export type PromptPresetName = keyof typeof promptPresets;

/**
 * What the PromptEOL family does to a text before it is framed: a full stop where there is no end punctuation, `"` becomes `'` so that the
 * frame's own quotation marks stay the only ones, a trailing question mark becomes a full stop. A closing quotation mark counts as an end.
 */
export function prepareSentence(text: string): string {
  const ended = /[.?!"'。！？…]$/u.test(text) ? text : `${text}.`;
  return ended.replaceAll('"', "'").replace(/[?？]$/u, '.');
}
