/** A mistake in what the user gave us. Printed as one sentence, without a stack trace; the process exits with code 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** What a `userError` sentence is made of. Every part but `what` may be missing. */
export interface UserErrorParts {
  /** What went wrong, e.g. "cannot read tensor model.norm.weight". */
  readonly what: string;
  /** Where: a file, or `file:line:column key`. */
  readonly where?: string;
  readonly got?: string;
  readonly expected?: string;
  /** The nearest valid choice, or what to do. */
  readonly hint?: string;
}

/** Builds the one way to say an error: `where: what: got X, expected Y (hint)`. */
export function userError(parts: UserErrorParts): UserError {
  const facts = [
    parts.got === undefined ? undefined : `got ${parts.got}`,
    parts.expected === undefined ? undefined : `expected ${parts.expected}`,
  ].filter((fact) => fact !== undefined);
  const where = parts.where === undefined ? '' : `${parts.where}: `;
  const detail = facts.length === 0 ? '' : `: ${facts.join(', ')}`;
  const hint = parts.hint === undefined ? '' : ` (${parts.hint})`;
  return new UserError(`${where}${parts.what}${detail}${hint}`);
}

/** A bug of ours: keeps its stack trace and says so. */
export function internalError(message: string): Error {
  return new Error(`internal: ${message}`);
}

/** Ends a `switch` over a union: the compiler proves that it is never reached. */
export function assertNever(value: never): never {
  throw internalError(`unexpected value ${JSON.stringify(value)}`);
}

/** A value from outside as JSON, short, whatever it is: it may be megabytes long or nested without end. */
export function shown(value: unknown, longest = 120): string {
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = typeof value === 'bigint' ? String(value) : JSON.stringify(value);
  } catch {
    text = 'something that cannot be shown';
  }
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** The candidate nearest to `word` in edit distance, or undefined where nothing is near (more than half of the word differs). */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

const systemReasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left',
  EDQUOT: 'the disk quota is used up',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
  EEXIST: 'a file is in the way',
  EISDIR: 'it is a folder',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many files are open',
  ENOTEMPTY: 'a folder that is not empty is in the way',
  EBUSY: 'it is in use',
  EIO: 'the disk or the network behind it fails',
  EFBIG: 'the file would be too large for the system',
  ELOOP: 'its links lead in a circle',
};

/** What the system refused, as a sentence; undefined for errors of other kinds. */
export function describeSystemError(error: unknown): string | undefined {
  const { code, path, syscall } = error as {
    readonly code?: string;
    readonly path?: string;
    readonly syscall?: string;
  };
  const reason = code === undefined || syscall === undefined ? undefined : systemReasons[code];
  return reason === undefined
    ? undefined
    : `${path === undefined ? '' : `${path}: `}cannot ${syscall ?? 'go on'}: ${reason}`;
}
