// RELIABILITY row 15: memory and descriptors stay flat under steady load. An hour by `npm run endurance -- --minutes 60`; ten minutes in CI; elsewhere
// two, or as many as ENDURANCE_MINUTES says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enduranceLoad, growth } from '../support/endurance-load.ts';

const MINUTES = Number(process.env['ENDURANCE_MINUTES'] ?? (process.env['CI'] === 'true' ? 10 : 2));

test(
  'row 15: 50 messages a second, some through the queue, and 200 IDLE sessions: memory and descriptors stay flat',
  { timeout: (MINUTES + 5) * 60_000 },
  async (t) => {
    const result = await enduranceLoad({ seconds: MINUTES * 60, rate: 50, idleSessions: 200 });
    const grown = growth(result.samples);
    t.diagnostic(JSON.stringify({ ...result, samples: result.samples.filter((_, i) => i % 12 === 0), grown }));
    assert.equal(result.found, result.sent, 'each message once');
    assert.equal(result.passedOn, result.queued, 'each message for the other host once');
    assert.ok(result.heard > result.sent, 'IDLE sessions hear of what comes');
    // Of three processes. On a machine that runs other tests beside it mailboxes fill before their readers come, and sessions hold what is in them; the
    // command, which runs alone, is stricter.
    assert.ok(grown.residentMb < 200, `grew by ${grown.residentMb} MB`);
    assert.ok(grown.descriptors <= 60, `${grown.descriptors} more descriptors`);
  },
);
