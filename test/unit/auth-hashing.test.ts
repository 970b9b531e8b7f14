// Password work: in threads of its own, bounded, never in the way of the loop or of files.
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { createHashing } from '../../src/auth/hashing.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('24 ARGON2ID checks at once stall neither the loop nor the syncing of files', async (t) => {
  const folder = await tempFolder(t);
  const hashing = createHashing();
  t.after(() => hashing.close());
  const stored = await hashing.hash('secret', 'ARGON2ID');
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  let checking = true;
  const checks = Promise.all(
    Array.from({ length: 24 }, (_, i) => hashing.verify(i % 2 === 0 ? 'secret' : 'wrong', stored, 'CRYPT')),
  ).finally(() => (checking = false));
  // Were it the file pool that hashes, a sync would wait behind twenty checks: at most one or two would get through.
  await using handle = await open(join(folder, 'file'), 'w');
  let syncs = 0;
  let longest = 0;
  while (checking) {
    const began = performance.now();
    await handle.write('x');
    await handle.sync();
    if (checking) syncs++;
    longest = Math.max(longest, performance.now() - began);
  }
  delay.disable();
  assert.deepEqual(
    await checks,
    Array.from({ length: 24 }, (_, i) => i % 2 === 0),
  );
  assert.ok(syncs >= 8, `${syncs} syncs meanwhile`);
  assert.ok(longest < 1_500, `a sync took ${Math.round(longest)} ms`);
  assert.ok(delay.max / 1e6 < 1_000, `the loop stood still for ${Math.round(delay.max / 1e6)} ms`);
});

test('more than a bounded number of checks are told to come back', async (t) => {
  const hashing = createHashing({ threads: 1 });
  t.after(() => hashing.close());
  const stored = await hashing.hash('secret', 'SSHA512');
  const results = await Promise.allSettled(Array.from({ length: 1_000 }, () => hashing.verify('secret', stored, 'CRYPT')));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.ok(refused.length > 0 && refused.length < 1_000);
  for (const { reason } of refused) assert.equal((reason as { code?: string }).code, 'HASHING_BUSY');
  assert.equal(await hashing.verify('secret', stored, 'CRYPT'), true);
});
