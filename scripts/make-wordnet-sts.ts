/** Makes assets/wordnet-sts/{dev,test}.tsv again, byte for byte: `npx tsx scripts/make-wordnet-sts.ts [folder]`. */
import { join } from 'node:path';
import { gradedPairsTsv, wordNetSts } from '../src/data/wordnet-sts.js';
import { readTagCounts, readWordNet } from '../src/data/wordnet.js';
import { writeFileAtomic } from '../src/shared/files.js';
import { assetPath } from '../src/shared/package.js';

const folder = process.argv[2] ?? assetPath('wordnet-sts');
const [synsets, tagCounts] = await Promise.all([readWordNet(), readTagCounts()]);
const { dev, test } = wordNetSts({ synsets, tagCounts, pairsPerSplit: 1000, seed: 31 });
for (const [split, pairs] of Object.entries({ dev, test })) {
  await writeFileAtomic(join(folder, `${split}.tsv`), gradedPairsTsv(pairs));
  process.stdout.write(`${split}: ${pairs.length} pairs\n`);
}
