/** Copies a trained decoder into assets/tiny in float16: `npx tsx scripts/ship-tiny.ts runs/pretrain-tiny/last [folder]`. */
import { openDecoder } from '../src/models/weights/index.js';
import { writeDecoder } from '../src/models/write-decoder.js';
import { assetPath } from '../src/shared/package.js';

const [from, to = assetPath('tiny')] = process.argv.slice(2);
if (from === undefined) {
  process.stderr.write('usage: npx tsx scripts/ship-tiny.ts <folder of a trained decoder> [output folder]\n');
  process.exitCode = 2;
} else {
  const decoder = await openDecoder(from);
  try {
    await writeDecoder(decoder, to, 'F16');
  } finally {
    await decoder.weights.close();
  }
}
