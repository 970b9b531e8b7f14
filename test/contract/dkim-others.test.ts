// What dkimpy (Debian's python3-dkim) signs holds here, in all canonical forms.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staticResolver } from '../../src/dns/resolver.ts';
import type { DkimResult } from '../../src/policy/dkim-result.ts';
import { dkimKey, requireDkimpy, type TestKey } from '../support/dkim.ts';
import { run } from '../support/programs.ts';
import { keyRecords, verifyMessage } from '../support/verifier.ts';

const rsa = dkimKey('sender.test', 'rsa');
const ed25519 = dkimKey('sender.test', 'ed', 'ed25519');
const HEADER =
  'Received: by mx.sender.test;\r\n\tThu, 26 Nov 2026 10:00:00 +0000\r\nFrom:  "Ana  Peña" <ana@sender.test>\r\nTo: info@example.test,\r\n leo@example.test\r\n' +
  'SUBJECT:  Hola \t a  todos  \r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\n\r\n';
const BODIES = ['Buenos  dias\t \r\n\r\n . \r\nAna \r\n\r\n\r\n', 'one line\r\n', 'no end', '\r\n', ' \r\n\r\n', ''];

const verify = async (message: Buffer, ...keys: readonly TestKey[]): Promise<readonly DkimResult[]> =>
  (await verifyMessage(message, staticResolver(keyRecords(...keys)))).dkim;

const DKIMPY = `
import sys, json, base64, dkim
given = json.load(sys.stdin)
out = []
for message in given['messages']:
    message = base64.b64decode(message)
    for header in (b'simple', b'relaxed'):
        for body in (b'simple', b'relaxed'):
            for length in (False, True):
                args = dict(canonicalize=(header, body), length=length)
                one = dkim.sign(message, b'rsa', b'sender.test', given['rsa'].encode(), **args)
                two = dkim.sign(message, b'ed', b'sender.test', given['ed'].encode(), signature_algorithm=b'ed25519-sha256', **args)
                out.append(base64.b64encode(one + two + message).decode())
print(json.dumps(out))
`;

test('what dkimpy signs holds, RSA and Ed25519, in every canonical form, with and without l=', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const messages = BODIES.map((body) => Buffer.from(HEADER + body, 'utf8').toString('base64'));
  const ed = ed25519.key.export({ type: 'pkcs8', format: 'der' }).subarray(-32).toString('base64');
  const key = rsa.key.export({ type: 'pkcs1', format: 'pem' }).toString();
  const { status, stdout, stderr } = await run(python, ['-c', DKIMPY], { input: JSON.stringify({ messages, rsa: key, ed }) });
  assert.equal(status, 0, stderr);
  const all = JSON.parse(stdout) as string[];
  assert.equal(all.length, BODIES.length * 8);
  for (const one of all) {
    const message = Buffer.from(one, 'base64');
    const found = await verify(message, rsa, ed25519);
    assert.deepEqual(
      found.map(({ result, unsigned }) => [result, unsigned]),
      [
        ['pass', undefined],
        ['pass', undefined],
      ],
      message.toString(),
    );
  }
});
