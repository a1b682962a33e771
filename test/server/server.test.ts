import { request } from 'node:http';
import { OpenAI } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { serve, type RunningServer, type ServeOptions } from '../../src/recipes/serve.js';
import { createLogger } from '../../src/shared/logger.js';
import { goldenModel, largestDifference, texts } from '../export/models.js';

const options: ServeOptions = {
  model: goldenModel(),
  attention: 'bidirectional',
  maxTokens: 40,
  name: 'tiny',
  host: '127.0.0.1',
  port: 0,
  requestTexts: 64,
  log: createLogger('silent'),
};

let server: RunningServer;
let embedder: Embedder;
/** What `encode` gives for `texts`. */
let expected: Float32Array[];

beforeAll(async () => {
  server = await serve(options);
  embedder = await Embedder.open(goldenModel(), { attention: 'bidirectional', maxTokens: 40 });
  const { data, dimensions } = await embedder.encode(texts);
  expected = texts.map((_, row) => data.slice(row * dimensions, (row + 1) * dimensions));
});
afterAll(async () => {
  await embedder.dispose();
  await server.close();
});

async function post(path: string, body: unknown): Promise<{ status: number; answer: unknown }> {
  const response = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, answer: await response.json() };
}

const tooLong = 'the cat sat on a mat '.repeat(20);

describe("OpenAI's client", () => {
  const client = (apiKey = 'none'): OpenAI =>
    new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 });

  it('gets the vectors of encode, in base64 and as numbers, alone and together', async () => {
    const all = await client().embeddings.create({ model: 'tiny', input: texts });
    expect(all.data.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    for (const [row, { embedding }] of all.data.entries())
      expect(largestDifference(embedding, expected[row] ?? [])).toBeLessThan(1e-5);
    const one = await client().embeddings.create({
      model: 'tiny',
      input: texts[2] ?? '',
      encoding_format: 'float',
    });
    expect(largestDifference(one.data[0]?.embedding ?? [], expected[2] ?? [])).toBeLessThan(1e-5);
    expect(one.usage.prompt_tokens).toBe(embedder.tokenize([texts[2] ?? ''])[0]?.ids.length);
    expect((await client().models.list()).data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await client().models.retrieve('tiny')).owned_by).toBe('lmvec');
  });

  it('gets the first numbers at unit length', async () => {
    const cut = await client().embeddings.create({ model: 'tiny', input: texts, dimensions: 5 });
    const first = (expected[0] ?? new Float32Array(24)).subarray(0, 5);
    const vector = cut.data[0]?.embedding ?? [];
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(vector[0]).toBeCloseTo((first[0] ?? 0) / Math.hypot(...first), 5);
  });

  it('hears what is wrong as its own kinds of errors', async () => {
    await expect(client().embeddings.create({ model: 'other', input: 'a' })).rejects.toThrow(
      /404 no model "other": this is "tiny"/,
    );
    await expect(client().embeddings.create({ model: 'tiny', input: ['a', ' '] })).rejects.toThrow(
      /400 input 1: the text is empty/,
    );
    await expect(client().embeddings.create({ model: 'tiny', input: [1, 2] })).rejects.toThrow(
      /400 input: got \[1,2\]: expected a text or a list of texts/,
    );
    await expect(client().embeddings.create({ model: 'tiny', input: 'a', dimensions: 25 })).rejects.toThrow(
      /400 .*25.*1 to 24/,
    );
  });

  it('many at once get what each would get alone', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        client().embeddings.create({ model: 'tiny', input: [texts[i % 4] ?? '', texts[(i + 1) % 4] ?? ''] }),
      ),
    );
    for (const [i, { data }] of answers.entries()) {
      expect(largestDifference(data[0]?.embedding ?? [], expected[i % 4] ?? [])).toBeLessThan(1e-5);
      expect(largestDifference(data[1]?.embedding ?? [], expected[(i + 1) % 4] ?? [])).toBeLessThan(1e-5);
    }
  });

  it('needs the key where there is one', async () => {
    const locked = await serve({ ...options, apiKey: 'secret' });
    try {
      const of = (apiKey: string): OpenAI =>
        new OpenAI({ apiKey, baseURL: `${locked.url}/v1`, maxRetries: 0 });
      await expect(of('wrong').embeddings.create({ model: 'tiny', input: 'a' })).rejects.toThrow(/401/);
      expect((await of('secret').embeddings.create({ model: 'tiny', input: 'a' })).data).toHaveLength(1);
      expect((await fetch(`${locked.url}/health`)).status).toBe(200);
      expect((await fetch(`${locked.url}/info`)).status).toBe(401);
    } finally {
      await locked.close();
    }
  });
});

describe("text-embeddings-inference's routes", () => {
  it('embed, with a prompt by name', async () => {
    const { answer } = await post('/embed', { inputs: texts });
    for (const [row, vector] of (answer as number[][]).entries())
      expect(largestDifference(vector, expected[row] ?? [])).toBeLessThan(1e-5);
    const prompted = await post('/embed', { inputs: 'a', prompt_name: 'prompt-sth' });
    const own = await embedder.encode('a', { promptName: 'prompt-sth' });
    expect(largestDifference((prompted.answer as number[][])[0] ?? [], own.data)).toBeLessThan(1e-5);
    expect(largestDifference(own.data, expected[1] ?? [])).toBeGreaterThan(1e-3);
  });

  it('cut a text that is too long, or refuse it', async () => {
    const { answer } = await post('/embed', { inputs: tooLong });
    const { data } = await embedder.encode(tooLong);
    expect(largestDifference((answer as number[][])[0] ?? [], data)).toBeLessThan(1e-5);
    const refused = await post('/embed', { inputs: ['a', tooLong], truncate: false });
    expect(refused.status).toBe(413);
    expect(refused.answer).toMatchObject({ error_type: 'validation' });
    expect((refused.answer as { error: string }).error).toMatch(
      /^input 1: the text is too long: got \d+ tokens/,
    );
  });

  it.each([
    [{}, 422, /inputs: got nothing: expected a text or a list of texts/],
    [{ inputs: [] }, 422, /no text/],
    [{ inputs: '' }, 422, /input: the text is empty/],
    [{ inputs: 'a', promptName: 'x' }, 422, /promptName/],
    [{ inputs: 'a', prompt_name: 'prompt-eo' }, 422, /did you mean prompt-eol/],
    [{ inputs: 'a', normalize: false }, 422, /unit vectors only/],
    [{ inputs: 'a', truncation_direction: 'Left' }, 422, /loses its end/],
    [{ inputs: Array.from({ length: 65 }, () => 'a') }, 413, /65 texts: expected at most 64/],
    ['{"inputs": ', 400, /JSON/],
    [`{"inputs": "${'a'.repeat(17 * 1024 * 1024)}"}`, 413, /too large/],
  ])('refuse what cannot be used: %#', async (body, status, sentence) => {
    const refused = await post('/embed', body);
    expect((refused.answer as { error: string }).error).toMatch(sentence);
    expect(refused.status).toBe(status);
  });

  it('say what they are, and count', async () => {
    const info = (await (await fetch(`${server.url}/info`)).json()) as Record<string, unknown>;
    expect(info).toMatchObject({ model_id: 'tiny', max_input_length: 40, max_client_batch_size: 64 });
    const before = await counted();
    await post('/embed', { inputs: texts });
    const after = await counted();
    expect(after.texts - before.texts).toBe(4);
    expect(after.requests - before.requests).toBe(1);
    const missing = await fetch(`${server.url}/embeddings`);
    expect(missing.status).toBe(404);
    expect(await missing.text()).toContain('/v1/embeddings');
  });

  async function counted(): Promise<{ texts: number; requests: number }> {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    const texts = /^lmvec_texts_total (\d+)$/m.exec(metrics)?.[1];
    const requests = /^lmvec_requests_total\{route="\/embed",status="200"\} (\d+)$/m.exec(metrics)?.[1];
    return { texts: Number(texts ?? 0), requests: Number(requests ?? 0) };
  }
});

describe('a server that ends', () => {
  it('answers what was asked, then is gone', async () => {
    const ending = await serve(options);
    const asked = Array.from({ length: 8 }, () =>
      fetch(`${ending.url}/embed`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: texts }),
      }),
    );
    await Promise.race(asked);
    await ending.close();
    for (const response of await Promise.all(asked)) {
      expect(response.status).toBe(200);
      expect((await response.json()) as number[][]).toHaveLength(4);
    }
    await expect(fetch(`${ending.url}/health`)).rejects.toThrow();
  });

  it('is not kept by a client that hangs up, whose texts are dropped', async () => {
    const left = await serve({ ...options, batchTokens: 1 });
    const body = JSON.stringify({ inputs: Array.from({ length: 64 }, () => 'the cat sat on a mat') });
    const gone = request(`${left.url}/embed`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': body.length },
    });
    gone.on('error', () => undefined).end(body);
    const waiting = async (): Promise<number> =>
      Number(/^lmvec_queue_texts (\d+)$/m.exec(await (await fetch(`${left.url}/metrics`)).text())?.[1]);
    await expect.poll(waiting).toBeGreaterThan(0);
    gone.destroy();
    await expect.poll(async () => (await embeddedTexts()) < 65 && (await waiting()) === 0).toBe(true);
    await left.close();

    async function embeddedTexts(): Promise<number> {
      const metrics = await (await fetch(`${left.url}/metrics`)).text();
      return Number(/^lmvec_texts_total (\d+)$/m.exec(metrics)?.[1]);
    }
  });

  it('says why it cannot listen', async () => {
    const port = Number(new URL(server.url).port);
    await expect(serve({ ...options, port })).rejects.toThrow(
      `127.0.0.1:${port}: cannot listen: another program listens there`,
    );
  });
});
