import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { parseFields } from '../../src/message/headers.ts';
import { authorOf, type Author } from '../../src/policy/author.ts';
import { authorPolicy, decideDmarc, type DmarcResult, type Identifiers } from '../../src/policy/dmarc/evaluate.ts';
import { parseDmarcRecord } from '../../src/policy/dmarc/record.ts';
import { organizationalDomain } from '../../src/policy/dmarc/tree-walk.ts';

type Records = Readonly<Record<string, StaticRecords>>;
const dmarc = (text: string): StaticRecords => ({ txt: [`v=DMARC1; ${text}`] });
const NOBODY: Identifiers = { dkim: [] };

async function evaluate(
  records: Records | Resolver,
  author: Author | string,
  passed: Identifiers = NOBODY,
  unsure = NOBODY,
): Promise<DmarcResult> {
  const resolver = typeof records['txt'] === 'function' ? (records as Resolver) : staticResolver(records as Records);
  return decideDmarc(
    await authorPolicy(typeof author === 'string' ? { domain: author } : author, resolver),
    passed,
    unsure,
    resolver,
  );
}
const outcome = async (...args: Parameters<typeof evaluate>): Promise<string> => {
  const { result, policy } = await evaluate(...args);
  return `${result} ${policy ?? '-'}`;
};

test('a record: names in their case, none twice, the version first', () => {
  assert.deepEqual(
    parseDmarcRecord('v=DMARC1; p=Reject; sp=quarantine; np=none; adkim=s; aspf=r; t=y; psd=n; rua=mailto:a@b.test; x=1'),
    {
      p: 'reject',
      sp: 'quarantine',
      np: 'none',
      psd: 'n',
      testing: true,
      strictDkim: true,
      strictSpf: false,
      rua: 'mailto:a@b.test',
    },
  );
  for (const text of [
    'v=DMARC2; p=none',
    'p=none; v=DMARC1',
    'v=dmarc1; p=none',
    'v=DMARC1; p=none; p=reject',
    'v=DMARC1 p=none',
    'v=DMARC1; p=bogus',
    'v=DMARC1; p=reject; sp=bogus',
    'v=DMARC1; p=bogus; rua=nobody',
  ])
    assert.equal(parseDmarcRecord(text), undefined, text);
  // A missing p is none; a bad one is, where the owner wants reports.
  assert.equal(parseDmarcRecord('v=DMARC1;')?.p, 'none');
  assert.equal(parseDmarcRecord('v=DMARC1; P=reject')?.p, 'none');
  assert.deepEqual(
    [parseDmarcRecord('v=DMARC1; p=bogus; sp=reject; rua=mailto:a@b.test')].map((r) => [r?.p, r?.sp]),
    [['none', undefined]],
  );
});

test('two records at a name are none', async () => {
  assert.equal(await outcome({ '_dmarc.a.test': { txt: ['v=DMARC1; p=reject', 'v=DMARC1; p=none'] } }, 'a.test'), 'none -');
  assert.equal(await outcome({ '_dmarc.a.test': { txt: ['something else', 'v=DMARC1; p=reject'] } }, 'a.test'), 'fail reject');
  assert.equal(await outcome({}, 'a.test'), 'none -');
  assert.equal(await outcome({}, '[192.0.2.1]'), 'none -');
});

test('alignment: strict is the same name, relaxed the same organization', async () => {
  const records = { '_dmarc.a.test': dmarc('p=reject'), '_dmarc.strict.test': dmarc('p=reject; adkim=s; aspf=s') };
  const spf = (name: string): Identifiers => ({ spf: name, dkim: [] });
  const dkim = (...names: string[]): Identifiers => ({ dkim: names });
  assert.equal(await outcome(records, 'a.test', spf('bounce.a.test')), 'pass reject');
  assert.equal(await outcome(records, 'news.a.test', dkim('A.test')), 'pass reject');
  assert.equal(await outcome(records, 'a.test', dkim('other.test', 'x.a.test')), 'pass reject');
  assert.equal(await outcome(records, 'a.test', dkim('nota.test', 'test')), 'fail reject');
  assert.equal(await outcome(records, 'strict.test', dkim('x.strict.test')), 'fail reject');
  assert.equal(await outcome(records, 'strict.test', spf('x.strict.test')), 'fail reject');
  assert.equal(await outcome(records, 'strict.test', dkim('strict.test')), 'pass reject');
});

test('the tree walk: psd=n ends it at its domain, psd=y one label below, else the shortest name counts; at most eight questions', async () => {
  const records = {
    '_dmarc.giant.bank.test': dmarc('p=none; psd=n'),
    '_dmarc.bank.test': dmarc('p=reject'),
    '_dmarc.co.suffix': dmarc('p=quarantine; psd=y; np=reject'),
  };
  const organization = (name: string): Promise<string> => organizationalDomain(name, staticResolver(records));
  assert.equal(await organization('a.giant.bank.test'), 'giant.bank.test');
  assert.equal(await organization('a.b.bank.test'), 'bank.test');
  assert.equal(await organization('a.b.shop.co.suffix'), 'shop.co.suffix');
  assert.equal(await organization('co.suffix'), 'co.suffix');
  assert.equal(await organization('no.record.example'), 'no.record.example');
  const asked: string[] = [];
  const counting = (known: Records): Resolver => {
    const base = staticResolver(known);
    return { ...base, txt: async (name) => (asked.push(name), base.txt(name)) };
  };
  await organizationalDomain('a.giant.bank.test', counting(records));
  assert.deepEqual(asked.splice(0), ['_dmarc.a.giant.bank.test', '_dmarc.giant.bank.test']);
  const deep = 'a.b.c.d.e.f.g.h.i.org.test';
  assert.equal(await organizationalDomain(deep, counting({ '_dmarc.org.test': dmarc('p=none') })), 'org.test');
  assert.deepEqual(
    asked.map((name) => name.split('.').length - 1),
    [11, 7, 6, 5, 4, 3, 2, 1],
  );
});

test('sp for names below, np for those that do not exist, the public suffix for those without a record, t for one step less', async () => {
  const records = {
    '_dmarc.a.test': dmarc('p=reject; sp=quarantine; np=none'),
    'there.a.test': { txt: ['x'] },
    '_dmarc.tested.test': dmarc('p=reject; t=y'),
    '_dmarc.soft.test': dmarc('p=quarantine; t=y'),
    '_dmarc.co.suffix': dmarc('p=none; sp=quarantine; np=reject; psd=y'),
    'shop.co.suffix': { a: ['192.0.2.1'] },
  };
  assert.equal(await outcome(records, 'a.test'), 'fail reject');
  assert.equal(await outcome(records, 'there.a.test'), 'fail quarantine');
  assert.equal(await outcome(records, 'gone.a.test'), 'fail none');
  assert.equal(await outcome(records, 'tested.test'), 'fail quarantine');
  assert.equal(await outcome(records, 'soft.test'), 'fail none');
  assert.equal(await outcome(records, 'shop.co.suffix'), 'fail quarantine');
  assert.equal(await outcome(records, 'gone.co.suffix'), 'fail reject');
  // A name without records has those below it.
  assert.equal(await outcome({ ...records, 'x.empty.a.test': { a: ['192.0.2.1'] } }, 'empty.a.test'), 'fail quarantine');
});

test('row 44: what DNS does not say is a temperror; what it said of the domain itself counts', async () => {
  const records = {
    '_dmarc.a.test': dmarc('p=reject; sp=none; np=reject'),
    '_dmarc.b.test': { fails: true },
    'x.a.test': { fails: true },
    '_dmarc.test': { fails: true },
  };
  assert.equal((await evaluate(records, 'b.test')).result, 'temperror');
  assert.equal((await evaluate(records, 'x.a.test')).result, 'temperror');
  const own = { '_dmarc.a.test': dmarc('p=reject'), '_dmarc.test': { fails: true } };
  assert.equal(await outcome(own, 'a.test'), 'fail reject');
  assert.equal(await outcome(own, 'a.test', { dkim: ['a.test'] }), 'pass reject');
  assert.equal(await outcome(own, 'a.test', { dkim: ['evil.example'] }), 'fail reject');
});

test('what might have passed, had DNS answered, only counts where it would have been the author’s', async () => {
  const records = { '_dmarc.bank.test': dmarc('p=reject') };
  assert.equal(await outcome(records, 'bank.test', NOBODY, { dkim: ['evil.test'] }), 'fail reject');
  assert.equal(await outcome(records, 'bank.test', NOBODY, { spf: 'evil.test', dkim: [] }), 'fail reject');
  assert.equal((await evaluate(records, 'bank.test', NOBODY, { dkim: ['mail.bank.test'] })).result, 'temperror');
  assert.equal((await evaluate(records, 'bank.test', NOBODY, { spf: 'bank.test', dkim: [] })).result, 'temperror');
});

const author = (header: string): Author => {
  const bytes = Buffer.from(header, 'utf8');
  return authorOf(bytes, parseFields(bytes, { headerBytes: bytes.length, headerFields: 1000 }));
};

test('the author: one From field, one domain, however many mailboxes', () => {
  assert.deepEqual(author('From: Ana <ana@A.test>\r\n'), { domain: 'a.test' });
  assert.deepEqual(author('from : ana@a.test, "b@evil.test" <bob@a.test>\r\n'), { domain: 'a.test' });
  assert.deepEqual(author('From: Los dos: ana@a.test, bob@a.test;\r\n'), { domain: 'a.test' });
  assert.deepEqual(author('From: ana@ñandú.test\r\n'), { domain: 'xn--and-6ma2c.test' });
  assert.deepEqual(author('From: ana@[192.0.2.1]\r\n'), { domain: '[192.0.2.1]' });
  // Badly written, and still nobody else's.
  assert.deepEqual(author('From: Perez, Ana <ana@a.test>\r\n'), { domain: 'a.test' });
});

test('several, missing, empty and mixed From fields are nobody’s, and name whom they might be taken for', () => {
  const problems: [string, readonly string[]][] = [
    ['To: x@y.test\r\n', []],
    ['From: ana@a.test\r\nFrom: bob@b.test\r\n', ['a.test', 'b.test']],
    ['From: ana@a.test\r\nFrom: ana@a.test\r\n', ['a.test']],
    ['From: undisclosed:;\r\n', []],
    ['From: Ana\r\n', []],
    ['From:\r\n', []],
    ['From: ana@a.test, bob@b.test\r\n', ['a.test', 'b.test']],
    ['From: All: ana@a.test; bob@b.test\r\n', ['a.test', 'b.test']],
    ['From: ceo@bank.test <x@evil.test\r\n', ['bank.test', 'evil.test']],
    ['From: ceo@bank.test\u0000@evil.test\r\n', ['bank.test', 'evil.test']],
    [`From: ${'x'.repeat(240_000)} <ana@a.test>\r\n`, []],
    // Whoever comes behind what is looked at is an author too.
    [`From: ana@a.test,${' '.repeat(11_000)}bob@b.test\r\n`, ['a.test']],
  ];
  for (const [header, domains] of problems) {
    const found = author(header);
    assert.ok('problem' in found, header.slice(0, 80));
    assert.deepEqual(found.domains, domains, header.slice(0, 80));
  }
});

test('a message without author is never without policy: the strictest of those that it names is told', async () => {
  const records = {
    '_dmarc.a.test': dmarc('p=none'),
    '_dmarc.b.test': dmarc('p=reject'),
    '_dmarc.c.test': dmarc('p=quarantine'),
  };
  const of = (...domains: string[]): Promise<string> => outcome(records, { problem: 'x', domains });
  assert.equal(await of('a.test', 'b.test', 'c.test'), 'permerror reject');
  assert.equal(await of('c.test', 'a.test'), 'permerror quarantine');
  assert.equal(await of(), 'permerror -');
});
