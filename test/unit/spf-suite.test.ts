// The public test suite of RFC 7208 (test/support/suites: from Debian's pyspf, under its own licence), every case of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spfSuite } from '../support/spf-suite.ts';
import { checkSpf } from '../../src/policy/spf/check.ts';

const cases = await spfSuite();

test('the suite is whole', () => assert.equal(cases.length, 203));

for (const { scenario, name, question, results, explanation, resolver } of cases)
  test(`RFC 7208 suite, ${scenario}: ${name}`, async () => {
    const found = await checkSpf({ ...question, receiver: 'mail.here.test', now: 1_700_000_000_000 }, resolver);
    assert.ok(results.includes(found.result), `${found.result} (${found.reason ?? ''}), not ${results.join(' or ')}`);
    if (explanation !== undefined) assert.equal(found.explanation ?? 'DEFAULT', explanation);
  });
