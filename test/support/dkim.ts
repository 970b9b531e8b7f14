// Keys for DKIM and who verifies signatures: mailauth, and dkimpy (Debian's python3-dkim), which share no code with each other or with us.
import { generateKeyPairSync } from 'node:crypto';
import type { TestContext } from 'node:test';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import type { DkimKey } from '../../src/policy/dkim-keys.ts';
import type { SigningKeys } from '../../src/policy/dkim-signer.ts';
import { dkimRecord } from '../../src/policy/dkim-record.ts';
import { requireProgram, run } from './programs.ts';

export interface TestKey extends DkimKey {
  /** Of its TXT record. */
  readonly record: string;
}

/** A new key and its record. RSA of 1024 bits: tests need speed, not strength. */
export function dkimKey(domain: string, selector: string, type: 'rsa' | 'ed25519' = 'rsa'): TestKey {
  const { privateKey } = type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 1024 }) : generateKeyPairSync('ed25519');
  return { domain, selector, file: '/dev/null', key: privateKey, record: dkimRecord(privateKey) };
}

export const keyRing = (...keys: readonly DkimKey[]): SigningKeys => ({
  find: (domain) => keys.filter((key) => key.domain === domain),
  has: (domain, selector) => keys.some((key) => key.domain === domain && key.selector === selector),
});

/** `pass`, `fail`, … by selector, as mailauth sees it. */
export async function verdicts(message: Buffer, keys: readonly TestKey[]): Promise<Record<string, string>> {
  const { results } = await dkimVerify(message, {
    resolver: async (name: string) => {
      const key = keys.find(({ domain, selector }) => name === `${selector}._domainkey.${domain}`);
      if (!key) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      return [[key.record]];
    },
  });
  return Object.fromEntries(results.map(({ selector, status }) => [String(selector), String(status.result)]));
}

/** Python with dkimpy and Ed25519; undefined after marking the test skipped. @throws in CI, when it is not there */
export async function requireDkimpy(t: TestContext): Promise<string | undefined> {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return undefined;
  const { status, stderr } = await run(python, ['-c', 'import dkim, nacl, authres']);
  if (status === 0) return python;
  if (process.env['CI'] === 'true')
    throw new Error(`python3-dkim, python3-nacl and python3-authres are not installed, and CI needs them: ${stderr}`);
  t.skip('python3-dkim, python3-nacl or python3-authres is not installed');
  return undefined;
}

const DKIMPY = `
import sys, json, base64, dkim
given = json.load(sys.stdin)
records = given['records']
def txt(name, timeout=5):
    return records.get(name.decode() if isinstance(name, bytes) else name, '').encode() or None
def check(message):
    count = sum(1 for name, _ in dkim.DKIM(message).headers if name.lower() == b'dkim-signature')
    return [dkim.DKIM(message, minkey=512).verify(idx=i, dnsfunc=txt) for i in range(count)]
print(json.dumps([check(base64.b64decode(message)) for message in given['messages']]))
`;

/** Whether each signature of each message holds, from the top, as dkimpy sees it. */
export async function dkimpyVerdicts(
  python: string,
  messages: readonly Buffer[],
  keys: readonly TestKey[],
): Promise<boolean[][]> {
  const records = Object.fromEntries(keys.map(({ domain, selector, record }) => [`${selector}._domainkey.${domain}.`, record]));
  const input = JSON.stringify({ records, messages: messages.map((message) => message.toString('base64')) });
  const { status, stdout, stderr } = await run(python, ['-c', DKIMPY], { input });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as boolean[][];
}
