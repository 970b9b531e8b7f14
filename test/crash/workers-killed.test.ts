// Rows 2 and 40 on a whole server: short here; `npm run crash -- --messages 20000 --kills 200` for the long form.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crashLoad } from '../support/crash-load.ts';

const KILLS = 15;

test('row 2: workers and the supervisor killed under load: nothing acknowledged is lost, nothing partial, twice only where the reply was cut', async (t) => {
  const seed = Number(process.env['CRASH_SEED'] ?? 1);
  const { acknowledged, workersKilled, supervisorsKilled, cut, twice, ...rest } = await crashLoad({
    messages: 1_500,
    kills: KILLS,
    seed,
  });
  t.diagnostic(JSON.stringify({ seed, acknowledged, workersKilled, supervisorsKilled, cut, twice, ...rest }));
  assert.equal(acknowledged, 1_500);
  assert.equal(workersKilled + supervisorsKilled, KILLS);
  assert.ok(workersKilled > 0 && supervisorsKilled > 0 && twice <= cut);
});
