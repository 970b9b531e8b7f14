import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadSenderRewriting, parseSrsSecrets, srsForward, srsReverse, type SrsOptions } from '../../src/delivery/srs.ts';
import { startPostsrsd } from '../support/postsrsd.ts';
import { requireProgram } from '../support/programs.ts';
import { seededRandom } from '../support/random.ts';
import { tempFolder } from '../support/temp-folder.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 24, 13);
const options = (extra: Partial<SrsOptions> = {}): SrsOptions => ({
  domain: 'ours.test',
  secrets: ['secret'],
  now: NOW,
  ...extra,
});
const back = (address: string, extra: Partial<SrsOptions> = {}): string => {
  const result = srsReverse(address, options(extra));
  return result.kind === 'address' ? result.address : result.kind === 'invalid' ? result.reason : result.kind;
};

test('what we rewrite, postsrsd takes back; what postsrsd rewrites is the same as ours', async (t) => {
  const program = await requireProgram(t, 'postsrsd');
  if (program === undefined) return;
  const secrets = join(await tempFolder(t), 'secrets');
  await writeFile(secrets, 'first secret\n\nsecond\n');
  const srsd = await startPostsrsd(t, program, 'ours.test', secrets);
  const both = { secrets: ['first secret', 'second'], now: Date.now() };
  assert.deepEqual(parseSrsSecrets(Buffer.from('first secret\n\n second \n')), both.secrets);
  const foreign = srsForward('ana@example.org', options({ domain: 'theirs.test', secrets: ['x'], now: Date.now() }));
  for (const sender of [
    'ana@example.org',
    'Ana.B@example.org',
    'a=b+c=d@example.org',
    foreign,
    foreign.replace('SRS0=', 'SRS0+'),
  ]) {
    const ours = srsForward(sender, options(both));
    assert.equal(await srsd.forward(sender), ours);
    assert.equal(await srsd.reverse(ours), back(ours, both));
    const older = srsForward(sender, options({ ...both, secrets: ['second'] }));
    assert.equal(await srsd.reverse(older), back(older, both));
    assert.equal(await srsd.reverse(ours.toLowerCase()), back(ours.toLowerCase(), both));
  }
  const twice = srsForward(srsForward(foreign, options({ domain: 'between.test' })), options(both));
  assert.match(twice, /^SRS1=[^=]{4}=theirs\.test==/);
  assert.equal(await srsd.forward(srsForward(foreign, options({ domain: 'between.test' }))), twice);
  assert.equal(await srsd.reverse(twice), foreign);
  assert.equal(back(twice, both), foreign);
});

test('forward and back: the same address, whatever the local part', () => {
  const random = seededRandom(1);
  const pieces = ['a', 'B', '.', '+', '=', '-', 'SRS0', 'SRS1', ' ', '"', '\\', 'ñ', '@', '1'];
  for (let round = 0; round < 500; round++) {
    const local = Array.from({ length: 1 + random.below(12) }, () => random.pick(pieces)).join('');
    const sender = `"${local.replace(/["\\]/g, '\\$&')}"@example.org`;
    const forward = srsForward(sender, options());
    if (/^SRS[01][-+=]/i.test(local)) continue;
    assert.match(forward, /@ours\.test$/);
    const returned = srsReverse(forward, options());
    assert.equal(returned.kind, 'address', sender);
    assert.equal(srsForward(forward, options()), forward, 'our own are not rewritten again');
    assert.equal(returned.kind === 'address' ? srsForward(returned.address, options()) : '', forward, sender);
  }
});

test('not rewritten: no sender, no domain, our own, no secret', () => {
  for (const sender of ['', 'root', 'info@OURS.test', 'SRS0=abcd=AA=x.test=y@ours.test'])
    assert.equal(srsForward(sender, options()), sender);
  assert.equal(srsForward('a@b.test', options({ secrets: [] })), 'a@b.test');
});

test('a hash that is wrong, a day that is past, and rubbish lead nowhere', () => {
  const good = srsForward('ana@example.org', options());
  assert.equal(back(good), 'ana@example.org');
  assert.equal(back(good, { secrets: ['new', 'secret'] }), 'ana@example.org');
  assert.equal(back(good, { secrets: ['new'] }), 'hash');
  assert.equal(back(good, { now: NOW + 21 * DAY }), 'ana@example.org');
  assert.equal(back(good, { now: NOW + 22 * DAY }), 'expired');
  assert.equal(back(good, { now: NOW - DAY }), 'expired');
  assert.equal(back(good.replace('example.org', 'example.com')), 'hash');
  assert.equal(back(good.replace('=ana@', '=eva@')), 'hash');
  const guarded = srsForward(srsForward('ana@example.org', options({ domain: 'theirs.test' })), options());
  assert.equal(back(guarded.replace('theirs', 'others')), 'hash');
  assert.equal(back(guarded.replace(/SRS1=..../, 'SRS1=AAAA')), 'hash');
  for (const local of ['SRS0=', 'SRS0=a', 'SRS0=abcd=AA=x.test=', 'SRS1=abcd=x.test', 'SRS1=abcd=x.test=y', 'SRS0==AA=x.test=y'])
    assert.equal(back(`${local}@ours.test`), 'malformed', local);
  assert.equal(back('info@ours.test'), 'none');
  assert.equal(back('SRS0info@ours.test'), 'none');
  assert.equal(back(good.replace('ours.test', 'other.test')), 'none');
});

test('the day goes round after 1024 of them', () => {
  const start = Math.ceil(NOW / DAY / 1024) * 1024 * DAY;
  const last = srsForward('ana@example.org', options({ now: start - DAY }));
  assert.match(last, /=77=/);
  assert.match(srsForward('ana@example.org', options({ now: start })), /=AA=/);
  assert.equal(back(last, { now: start + 5 * DAY }), 'ana@example.org');
});

test('the settings: both or nothing; a file that is empty, absent or open to everybody is refused', async (t) => {
  const file = join(await tempFolder(t), 'secrets');
  const load = (domain?: string, secrets?: string) =>
    loadSenderRewriting({ srs_domain: domain, srs_secrets_file: secrets }, () => NOW);
  assert.equal(await load('ours.test'), undefined);
  assert.equal(await load(undefined, file), undefined);
  await assert.rejects(load('ours.test', file), { code: 'SRS_SECRETS' });
  await writeFile(file, 'secret\n', { mode: 0o600 });
  const srs = await load('ours.test', file);
  const forward = srs?.forward('ana@example.org') ?? '';
  assert.equal(forward, srsForward('ana@example.org', options()));
  assert.equal(srs?.original(forward), 'ana@example.org');
  assert.equal(srs?.original(forward.replace('=ana', '=eva')), null);
  assert.equal(srs?.original('info@ours.test'), undefined);
  await chmod(file, 0o644);
  await assert.rejects(load('ours.test', file), /everybody/);
  await writeFile(file, '\n \n');
  await chmod(file, 0o600);
  await assert.rejects(load('ours.test', file), /no secret/);
});
