// Every password scheme against the hashes that Dovecot's own doveadm makes, and ours against doveadm's check.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEW_SCHEMES } from '../../src/auth/new-schemes.ts';
import { hashPassword, verifyPassword } from '../../src/auth/schemes.ts';
import { requireProgram, run } from '../support/programs.ts';

const SCHEMES = [
  'MD5-CRYPT',
  'SHA256-CRYPT',
  'SHA512-CRYPT',
  'BLF-CRYPT',
  'ARGON2I',
  'ARGON2ID',
  'SSHA',
  'SSHA256',
  'SSHA512',
  'SHA',
  'SHA1',
  'SHA256',
  'SHA512',
  'SMD5',
];
const MORE = [
  'PLAIN-MD5',
  'LDAP-MD5',
  'PBKDF2',
  'SCRAM-SHA-1',
  'SCRAM-SHA-256',
  'CRAM-MD5',
  'PLAIN',
  'CLEARTEXT',
  'CRYPT',
  'SSHA256.hex',
  'SHA512.HEX',
  'SSHA.b64',
  'PLAIN.b64',
];
const PASSWORD = 'contraseña: very long secret with ñ and spaces, over 64 bytes of it in all';

for (const scheme of [...SCHEMES, ...MORE])
  test(`a password that doveadm stored as ${scheme} is recognised, another is not`, async (t) => {
    const doveadm = await requireProgram(t, 'doveadm');
    if (doveadm === undefined) return;
    for (const password of ['secret', PASSWORD]) {
      const made = await run(doveadm, ['-c', '/dev/null', 'pw', '-s', scheme, '-p', password]);
      assert.equal(made.status, 0, made.stderr);
      const stored = made.stdout.trim();
      assert.equal(verifyPassword(password, stored, 'CRYPT'), true, stored);
      assert.equal(verifyPassword(`x${password}`, stored, 'CRYPT'), false, stored);
      assert.equal(verifyPassword('', stored, 'CRYPT'), false, stored);
    }
  });

for (const scheme of NEW_SCHEMES)
  test(`a password that we store as ${scheme} is recognised by doveadm`, async (t) => {
    const doveadm = await requireProgram(t, 'doveadm');
    if (doveadm === undefined) return;
    for (const password of ['secret', PASSWORD]) {
      const stored = hashPassword(password, scheme);
      assert.doesNotMatch(stored, /:|\s/, 'it is one field of a line');
      const result = await run(doveadm, ['-c', '/dev/null', 'pw', '-t', stored, '-p', password]);
      assert.match(result.stdout, /verified/, result.stderr);
      assert.equal(verifyPassword(password, stored, 'CRYPT'), true);
    }
  });

test("crypt's own forms need no scheme name", () => {
  assert.equal(verifyPassword('secret', '$1$qbKJg0j5$3f/1zUPUIMZRB20LkhXMR.', 'CRYPT'), true);
  assert.equal(verifyPassword('secret', '$2y$05$nsd/h9fb5abYeER9lOdd7e7HP0SfeCWr4da8IKkmGzLC2q8wQz5FW', 'CRYPT'), true);
  assert.equal(
    verifyPassword(
      'secret',
      '$argon2id$v=19$m=65536,t=3,p=1$CcOB7Rvhtjy0ii6U91RWPw$jG+qqie0Hc8SMkQ9qWfsjoV7Abg5WDKOYfyK2FN3++g',
      'CRYPT',
    ),
    true,
  );
});

test('a hash that would take for ever is not computed', () => {
  const began = Date.now();
  assert.equal(verifyPassword('x', '$6$rounds=999999999$salt$abc', 'CRYPT'), false);
  assert.equal(verifyPassword('x', '$2b$31$nsd/h9fb5abYeER9lOdd7e7HP0SfeCWr4da8IKkmGzLC2q8wQz5FW', 'CRYPT'), false);
  assert.equal(verifyPassword('x', '$argon2id$v=19$m=4294967295,t=3,p=1$CcOB7Rvhtjy0ii6U91RWPw$jG+q', 'CRYPT'), false);
  assert.ok(Date.now() - began < 2_000);
});
