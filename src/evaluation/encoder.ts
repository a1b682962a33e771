/** Embeddings of n texts, row-major: text i is `data[i * dimensions .. (i + 1) * dimensions]`. Shape [N, E]. */
export interface EmbeddingMatrix {
  readonly rows: number;
  readonly dimensions: number;
  readonly data: Float32Array;
}

/**
 * Anything that turns texts into vectors: row i of the result is the embedding of text i. `promptName` is one of the model's own prompts, in
 * the place of its default.
 */
export type Encode = (texts: readonly string[], promptName?: string) => Promise<EmbeddingMatrix>;
