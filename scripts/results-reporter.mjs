// One JSON line a test: what scripts/test.mjs holds against the coverage map.
import { relative } from 'node:path';

export default async function* results(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const file = data.file ? relative(process.cwd(), data.file) : '';
    yield JSON.stringify({ file, name: data.name, failed: type === 'test:fail', skipped: data.skip !== undefined }) + '\n';
  }
}
