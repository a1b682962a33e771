import { describe, expect, it } from 'vitest';
import { goldenModel, temporaryFolders } from '../export/models.js';
import { lmvec } from './command.js';

const temporary = temporaryFolders();

describe('lmvec serve', () => {
  it('serves until it is told to end, and says where', async () => {
    let asked: Promise<unknown> | undefined;
    const result = await lmvec(['serve', '--model', goldenModel(), '--max-tokens', '24', '--port', '0'], {
      cwd: await temporary(),
      onError: (soFar, kill) => {
        const url = /served at (http:\S+)/.exec(soFar)?.[1];
        if (url === undefined || asked !== undefined) return;
        asked = fetch(`${url}/embed`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ inputs: 'the cat' }),
        })
          .then((response) => response.json())
          .finally(() => kill('SIGTERM'));
      },
    });
    expect(result.stderr).toMatch(/base is served at http:\/\/127\.0\.0\.1:\d+/);
    expect(((await asked) as number[][])[0]).toHaveLength(24);
    expect(result.stderr).toContain('what was asked is still answered');
    expect(result.status).toBe(0);
  });

  it('refuses an address that it cannot have', async () => {
    const result = await lmvec(['serve', '--model', goldenModel(), '--max-tokens', '24', '--port', '65536'], {
      cwd: await temporary(),
    });
    expect([result.status, result.stderr]).toEqual([
      2,
      '--port: not a port: got 65536, expected 0 to 65535\n',
    ]);
  });
});
