// The public test suite of RFC 7208 (test/support/suites: from Debian's pyspf, under its own licence), every case of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spfSuite } from '../support/spf-suite.ts';
import { checkSpf } from '../../src/policy/spf/check.ts';

const cases = await spfSuite();

test('the suite is whole', () => assert.equal(cases.length, 203));

// A test for each scenario, not for each case: a process that is ended by force loses what it has not said of hundreds.
for (const scenario of new Set(cases.map((one) => one.scenario)))
  test(`RFC 7208 suite: ${scenario}`, async () => {
    const wrong: string[] = [];
    for (const { name, question, results, explanation, resolver } of cases.filter((one) => one.scenario === scenario)) {
      const found = await checkSpf({ ...question, receiver: 'mail.here.test', now: 1_700_000_000_000 }, resolver);
      if (!results.includes(found.result))
        wrong.push(`${name}: ${found.result} (${found.reason ?? ''}), not ${results.join(' or ')}`);
      const said = found.explanation ?? 'DEFAULT';
      if (explanation !== undefined && said !== explanation) wrong.push(`${name}: "${said}", not "${explanation}"`);
    }
    assert.deepEqual(wrong, []);
  });
