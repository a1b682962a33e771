import { join } from 'node:path';
import { readManifest } from '../pooling/manifest.js';
import { statOrUserError, exists } from '../shared/files.js';
import { userError } from '../shared/errors.js';
import { parseHubModel } from '../shared/hub/ids.js';
import { hubOptions } from '../shared/hub/options.js';
import { pushFolder } from '../shared/hub/push.js';

export interface PushEmbedderOptions {
  /** An exported embedder folder, or a run folder with one. */
  readonly model: string;
  /** `owner/name`. */
  readonly repo: string;
  readonly private?: boolean;
  /** HF_TOKEN where it is left out. */
  readonly token?: string;
}

/** Uploads an embedder folder to the hub as one commit; returns a sentence for the user. @throws UserError */
export async function pushEmbedder(options: PushEmbedderOptions): Promise<string> {
  const { model, repo, token } = options;
  const id = parseHubModel(repo);
  if (id === undefined || id.revision !== undefined || id.path !== undefined)
    throw userError({ what: 'no repository of the hub', where: '--repo', got: repo, expected: 'owner/name' });
  const folder = await embedderFolder(model);
  const hub = { ...hubOptions(), ...(token === undefined ? {} : { token }) };
  const { url, files, bytes } = await pushFolder(
    { folder, repository: id.name, private: options.private === true, title: 'Upload embedder with lmvec' },
    hub,
  );
  return `${url}: ${files} files, ${(bytes / 1e6).toFixed(1)} MB`;
}

async function embedderFolder(model: string): Promise<string> {
  await statOrUserError(model, 'model');
  for (const folder of [model, join(model, 'embedder')])
    if ((await exists(join(folder, 'lmvec.json'))) && (await readManifest(folder))?.kind === 'embedder')
      return folder;
  throw userError({
    what: 'no embedder to push',
    where: model,
    expected: 'an exported folder, or a run folder with embedder/',
    hint: `lmvec export --model ${model} --output embedder/`,
  });
}
