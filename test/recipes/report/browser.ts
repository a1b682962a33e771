import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** Chromium, where this machine has one: CHROMIUM_PATH, or as Debian's packages install it. */
export function chromiumPath(): string | undefined {
  const candidates = [
    process.env['CHROMIUM_PATH'] ?? '',
    '/usr/bin/chromium',
    '/usr/bin/chromium-headless-shell',
  ];
  return candidates.find((path) => path !== '' && existsSync(path));
}

export interface LookedAt {
  readonly png: Buffer;
  /** What the expression gave. */
  readonly value: unknown;
  /** Console output, exceptions, and what the browser itself complained of. */
  readonly complaints: readonly string[];
  /** Everything that was asked for. */
  readonly requests: readonly string[];
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** Opens a page in a headless Chromium over its pipe (the DevTools protocol), evaluates an expression in it and takes a picture of all of it. */
export async function lookAt(chromium: string, url: string, expression: string): Promise<LookedAt> {
  const profile = await mkdtemp(join(tmpdir(), 'lmvec-browser-'));
  const child = spawn(
    chromium,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
      '--window-size=1000,1400',
      'about:blank',
    ],
    // A group of its own: Debian's command is a shell script, the browser its child.
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
  );
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    const browser = connect(child.stdio[3] as Writable, child.stdio[4] as Readable);
    child.once('error', browser.fail);
    child.once('close', () => browser.fail(new Error('the browser ended')));
    const { targetInfos } = await browser.ask('Target.getTargets');
    const page = (targetInfos as { type: string; targetId: string }[]).find(({ type }) => type === 'page');
    const { sessionId } = await browser.ask('Target.attachToTarget', {
      targetId: page?.targetId,
      flatten: true,
    });
    const ask = (method: string, params = {}) => browser.ask(method, params, sessionId as string);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await ask(`${domain}.enable`);
    const loaded = browser.heard('Page.loadEventFired');
    await ask('Page.navigate', { url });
    await loaded;
    const { result } = (await ask('Runtime.evaluate', { expression, returnByValue: true })) as {
      result: { value?: unknown };
    };
    const { data } = await ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    const of = (...methods: string[]) =>
      browser.events.filter(({ method = '' }) => methods.includes(method)).map(({ params }) => params);
    return {
      png: Buffer.from(data as string, 'base64'),
      value: result.value,
      complaints: of('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded').map((params) =>
        JSON.stringify(params),
      ),
      requests: of('Network.requestWillBeSent').map((params) => (params?.['request'] as { url: string }).url),
    };
  } finally {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await ended;
    await rm(profile, { recursive: true, force: true });
  }
}

/** Messages are JSON, each ended by a zero byte. */
function connect(to: Writable, from: Readable) {
  const events: Message[] = [];
  const waiting = new Map<
    number,
    { readonly resolve: (result: Record<string, unknown>) => void; readonly reject: (error: Error) => void }
  >();
  const listeners = new Map<string, (error?: Error) => void>();
  let rest = '';
  let last = 0;
  from.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\0');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const message = JSON.parse(part) as Message;
      if (message.id === undefined) {
        events.push(message);
        listeners.get(message.method ?? '')?.();
        continue;
      }
      const asked = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error === undefined) asked?.resolve(message.result ?? {});
      else asked?.reject(new Error(message.error.message));
    }
  });
  to.on('error', () => undefined);
  return {
    events,
    ask: (method: string, params: object = {}, sessionId?: string) =>
      new Promise<Record<string, unknown>>((resolve, reject) => {
        last += 1;
        waiting.set(last, { resolve, reject });
        to.write(
          `${JSON.stringify({ id: last, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`,
        );
      }),
    heard: (method: string) =>
      new Promise<void>((resolve, reject) => {
        listeners.set(method, (error) => (error === undefined ? resolve() : reject(error)));
      }),
    fail: (error: Error) => {
      for (const { reject } of waiting.values()) reject(error);
      for (const listener of listeners.values()) listener(error);
    },
  };
}
