import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { userError } from '../../shared/errors.js';

/** Folders below a model's in which parts of it lie: previous/<stage>/. */
const deepest = 2;

/** Names that the readers of a model folder open. */
const readName = /\.(?:json|safetensors)$/;

/**
 * Refuses a model folder with links to somewhere else: a folder that was downloaded or unpacked must not make us read (and pass on in an
 * export) other files of this machine. The cache of the hub, whose files are links into its own blobs/, is as it should be.
 * `root` is the model's folder where `folder` is a part of it.
 * @throws UserError naming the link
 */
export async function refuseLinksOut(folder: string, root = folder): Promise<void> {
  if (process.env['LMVEC_FOLLOW_LINKS'] === '1') return;
  const own = await realpath(root);
  const refuse = async (link: string): Promise<void> => {
    // One that leads nowhere is found missing when it is read.
    const target = await realpath(link).catch(() => undefined);
    if (target === undefined || target === own || isInside(target, own) || isInside(target, blobsOf(own)))
      return;
    throw userError({
      what: 'a link out of the model folder is not followed',
      where: link,
      got: target,
      hint: 'copy the file, or set LMVEC_FOLLOW_LINKS=1 where you trust the folder',
    });
  };
  if (root !== folder) await refuse(folder);
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isSymbolicLink() && readName.test(entry.name)) await refuse(join(folder, entry.name));
}

/** blobs/ beside snapshots/<commit>/, where the folder is one or lies in one (the layout of huggingface_hub); else the folder itself. */
function blobsOf(folder: string): string {
  let commit = folder;
  for (let up = 0; up < deepest && basename(dirname(commit)) !== 'snapshots'; up++) commit = dirname(commit);
  const snapshots = dirname(commit);
  return basename(snapshots) === 'snapshots' ? join(dirname(snapshots), 'blobs') : folder;
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && way !== path;
}
