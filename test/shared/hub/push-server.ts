import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A token that may write, and one that may only read. */
export const writer = 'hf_writer';
export const reader = 'hf_reader';

export interface PushServer {
  readonly endpoint: string;
  /** What the repositories of `org` hold after whole commits. */
  readonly repositories: Map<string, { private: boolean; readonly files: Map<string, Buffer> }>;
  /** `method path authorization` of every request. */
  readonly requests: string[];
  /** Large files that have arrived, by SHA-256. */
  readonly stored: Map<string, Buffer>;
  /** How often a request whose path holds this text breaks before it is answered: dropped (0) or a status. */
  readonly faults: { path: string; times: number; status: number }[];
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly json: unknown;
}
const refusal = (status: number, error: string): Answer => ({ status, json: { error } });
const good = (json: unknown): Answer => ({ status: 200, json });

/** The writing side of a hub: repositories of the owner `org`, LFS by SHA-256, commits of JSON lines. */
export async function startPushServer(): Promise<PushServer> {
  const repositories: PushServer['repositories'] = new Map();
  const requests: string[] = [];
  const stored = new Map<string, Buffer>();
  const faults: PushServer['faults'] = [];
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    requests.push(`${request.method ?? ''} ${url} ${request.headers.authorization ?? '-'}`);
    const fault = faults.find(({ path, times }) => url.includes(path) && times > 0);
    if (fault !== undefined) {
      fault.times--;
      if (fault.status === 0) {
        // Some of the body is read first: the connection breaks in the middle of it.
        request.once('data', () => request.socket.destroy());
        return;
      }
    }
    void bodyOf(request).then((body) => {
      const { status, json } = fault === undefined ? answer(request, body) : refusal(fault.status, 'busy');
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(json));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;

  // As on the hub, large files are stored elsewhere: another origin, for which the token is not meant.
  const storage = endpoint.replace('127.0.0.1', 'localhost');

  const answer = (request: IncomingMessage, body: Buffer): Answer => {
    const path = new URL(request.url ?? '', endpoint).pathname;
    const oid = /^\/lfs\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (oid !== undefined) {
      if (createHash('sha256').update(body).digest('hex') !== oid) return refusal(400, 'other bytes');
      stored.set(oid, body);
      return good({});
    }
    const token = request.headers.authorization;
    if (token !== `Bearer ${writer}` && token !== `Bearer ${reader}`)
      return refusal(401, 'Invalid username or password.');
    if (token === `Bearer ${reader}`) return refusal(403, 'You do not have the required permissions');
    if (path === '/api/repos/create') {
      const asked = JSON.parse(body.toString()) as Record<'name' | 'organization' | 'visibility', string>;
      if (asked.organization !== 'org') return refusal(404, 'Organization not found');
      const name = `org/${asked.name}`;
      if (repositories.has(name)) return refusal(409, 'You already created this model repo');
      repositories.set(name, { private: asked.visibility === 'private', files: new Map() });
      return good({ url: `${endpoint}/${name}`, id: name });
    }
    const name = /^\/(?:api\/models\/)?(org\/[\w-]+)/.exec(path)?.[1] ?? '';
    const repository = repositories.get(name);
    if (repository === undefined) return refusal(404, 'Repository not found');
    if (path.endsWith('/preupload/main')) {
      const asked = JSON.parse(body.toString()) as {
        files: { path: string; size: number; sample: string }[];
      };
      return good({
        files: asked.files.map((file) => ({
          path: file.path,
          uploadMode: /\.(onnx|safetensors)$/.test(file.path) ? 'lfs' : 'regular',
        })),
      });
    }
    if (path.endsWith('.git/info/lfs/objects/batch')) {
      const asked = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
      return good({
        transfer: 'basic',
        objects: asked.objects.map((object) => ({
          ...object,
          ...(stored.has(object.oid)
            ? {}
            : { actions: { upload: { href: `${storage}/lfs/${object.oid}` } } }),
        })),
      });
    }
    if (path.endsWith('/commit/main')) {
      const lines = body
        .toString()
        .split('\n')
        .map((line) => JSON.parse(line) as CommitLine);
      const files = new Map<string, Buffer>();
      for (const { key, value } of lines) {
        if (key === 'file') files.set(value.path, Buffer.from(value.content, 'base64'));
        if (key !== 'lfsFile') continue;
        const bytes = stored.get(value.oid);
        if (bytes?.length !== value.size) return refusal(400, `${value.path} was not uploaded`);
        files.set(value.path, bytes);
      }
      for (const [file, bytes] of files) repository.files.set(file, bytes);
      return good({ commitOid: '0'.repeat(40), commitUrl: `${endpoint}/${name}/commit/0`, hookOutput: '' });
    }
    return good({ _id: 'x', id: name, private: repository.private, downloads: 0, likes: 0, gated: false });
  };
  return {
    endpoint,
    repositories,
    requests,
    stored,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

interface CommitLine {
  readonly key: string;
  readonly value: {
    readonly path: string;
    readonly content: string;
    readonly oid: string;
    readonly size: number;
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
