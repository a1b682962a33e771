import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { userError } from '../../shared/errors.js';

/** Names that the readers of a model folder open. */
const readName = /\.(?:json|safetensors)$/;

/**
 * Refuses a model folder with links to somewhere else: a folder that was downloaded or unpacked must not make us read (and pass on in an
 * export) other files of this machine. The cache of the hub, whose files are links into its own blobs/, is as it should be.
 * @throws UserError naming the link
 */
export async function refuseLinksOut(folder: string): Promise<void> {
  if (process.env['LMVEC_FOLLOW_LINKS'] === '1') return;
  let own: string | undefined;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isSymbolicLink() || !readName.test(entry.name)) continue;
    own ??= await realpath(folder);
    const link = join(folder, entry.name);
    // One that leads nowhere is found missing when it is read.
    const target = await realpath(link).catch(() => undefined);
    if (target === undefined || isInside(target, own) || isInside(target, blobsOf(own))) continue;
    throw userError({
      what: 'a link out of the model folder is not followed',
      where: link,
      got: target,
      hint: 'copy the file, or set LMVEC_FOLLOW_LINKS=1 where you trust the folder',
    });
  }
}

/** blobs/ beside snapshots/<commit>/ (the layout of huggingface_hub); the folder itself where it is no snapshot. */
function blobsOf(folder: string): string {
  const snapshots = dirname(folder);
  return basename(snapshots) === 'snapshots' ? join(dirname(snapshots), 'blobs') : folder;
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && way !== path;
}
