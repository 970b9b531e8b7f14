import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate, selectFields, type Section, type SectionText } from '../../src/imap/section.ts';
import { formatBodyStructure, formatEnvelope } from '../../src/imap/syntax/body-structure.ts';
import { parseStructure } from '../../src/message/structure.ts';
import type { Envelope, MimePart } from '../../src/message/types.ts';
import { parseImapValues } from '../support/imap-value.ts';

/** RFC 3501 section 6.4.5's own example, with text in it. */
const MESSAGE = [
  'Subject: outer',
  'Content-Type: multipart/mixed; boundary=o',
  '',
  'preamble',
  '--o',
  'X-Part: 1',
  '',
  'one',
  '--o',
  'Content-Type: application/octet-stream',
  '',
  'two',
  '--o',
  'Content-Type: message/rfc822',
  '',
  'Subject: three',
  'Content-Type: multipart/mixed; boundary=t',
  '',
  '--t',
  '',
  '3.1',
  '--t',
  'Content-Type: application/octet-stream',
  '',
  '3.2',
  '--t--',
  '--o',
  'Content-Type: multipart/mixed; boundary=f',
  '',
  '--f',
  'Content-Type: image/gif',
  '',
  '4.1',
  '--f',
  'Content-Type: message/rfc822',
  '',
  'Subject: four-two',
  'Content-Type: multipart/mixed; boundary=g',
  '',
  '--g',
  'X-Part: 4.2.1',
  '',
  '4.2.1',
  '--g',
  'Content-Type: multipart/alternative; boundary=h',
  '',
  '--h',
  '',
  '4.2.2.1',
  '--h',
  'Content-Type: text/richtext',
  '',
  '4.2.2.2',
  '--h--',
  '--g--',
  '--f--',
  '--o--',
  '',
].join('\n');

function toSection(spec: string): Section {
  const numbers = /^[\d.]*\d/.exec(spec)?.[0] ?? '';
  return {
    part: numbers === '' ? [] : numbers.split('.').map(Number),
    text: spec.slice(numbers.length).replace(/^\./, '') as SectionText,
    fields: [],
  };
}

async function sectionOf(message: string, spec: string): Promise<string | undefined> {
  async function* chunks() {
    yield Buffer.from(message, 'latin1');
  }
  const range = locate(await parseStructure(chunks()), toSection(spec));
  if (!range) return undefined;
  const bytes = message.slice(range.start, range.end);
  assert.equal(range.size, bytes.replace(/(?<!\r)\n/g, '\r\n').length, `${spec}: size on the wire`);
  return bytes.replaceAll('\r', '');
}

test('BODY[section]: exact bytes of every part of RFC 3501 6.4.5’s example, LF and CRLF', async () => {
  const outerHeader = 'Subject: outer\nContent-Type: multipart/mixed; boundary=o\n\n';
  const threeHeader = 'Subject: three\nContent-Type: multipart/mixed; boundary=t\n\n';
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['', MESSAGE],
    ['HEADER', outerHeader],
    ['TEXT', MESSAGE.slice(outerHeader.length)],
    ['1', 'one'],
    ['1.MIME', 'X-Part: 1\n\n'],
    ['1.HEADER', undefined],
    ['1.TEXT', undefined],
    ['1.1', undefined],
    ['2', 'two'],
    ['2.MIME', 'Content-Type: application/octet-stream\n\n'],
    ['3.MIME', 'Content-Type: message/rfc822\n\n'],
    ['3.HEADER', threeHeader],
    ['3.TEXT', '--t\n\n3.1\n--t\nContent-Type: application/octet-stream\n\n3.2\n--t--'],
    ['3', `${threeHeader}--t\n\n3.1\n--t\nContent-Type: application/octet-stream\n\n3.2\n--t--`],
    ['3.1', '3.1'],
    ['3.1.MIME', '\n'],
    ['3.2', '3.2'],
    ['4.1', '4.1'],
    ['4.1.MIME', 'Content-Type: image/gif\n\n'],
    ['4.2.HEADER', 'Subject: four-two\nContent-Type: multipart/mixed; boundary=g\n\n'],
    ['4.2.1', '4.2.1'],
    ['4.2.1.MIME', 'X-Part: 4.2.1\n\n'],
    ['4.2.2.1', '4.2.2.1'],
    ['4.2.2.2', '4.2.2.2'],
    ['4.2.2.3', undefined],
    ['4.3', undefined],
    ['5', undefined],
    ['MIME', undefined],
  ];
  for (const message of [MESSAGE, MESSAGE.replaceAll('\n', '\r\n')])
    for (const [spec, wanted] of cases) assert.equal(await sectionOf(message, spec), wanted, spec);
});

test('BODY[1] of a message that is not multipart is its body; inside a message/rfc822 too', async () => {
  const plain = 'Subject: s\n\nbody\n';
  assert.equal(await sectionOf(plain, '1'), 'body\n');
  assert.equal(await sectionOf(plain, '1.MIME'), 'Subject: s\n\n');
  assert.equal(await sectionOf(plain, '2'), undefined);
  assert.equal(await sectionOf(plain, '1.1'), undefined);
  const nested = `Content-Type: message/rfc822\n\n${plain}`;
  assert.equal(await sectionOf(nested, '1'), plain);
  assert.equal(await sectionOf(nested, '1.HEADER'), 'Subject: s\n\n');
  assert.equal(await sectionOf(nested, '1.TEXT'), 'body\n');
  assert.equal(await sectionOf(nested, '1.1'), 'body\n');
});

test('HEADER.FIELDS and HEADER.FIELDS.NOT: whole fields as they stand, then the empty line', () => {
  const block = Buffer.from('Subject: a\r\n b\r\nTo: c\r\nSUBJECT: d\r\nX: e\r\n\r\n');
  assert.equal(selectFields(block, ['subject'], false).toString(), 'Subject: a\r\n b\r\nSUBJECT: d\r\n\r\n');
  assert.equal(selectFields(block, ['subject', 'x'], true).toString(), 'To: c\r\n\r\n');
  assert.equal(selectFields(block, ['none'], false).toString(), '\r\n');
  assert.equal(selectFields(Buffer.from('To: cut'), ['to'], false).toString(), 'To: cut\r\n\r\n');
});

const PART: MimePart = {
  headerStart: 0,
  bodyStart: 0,
  bodyEnd: 0,
  headerSize: 0,
  bodySize: 5,
  bodyLines: 1,
  type: 'text',
  subtype: 'plain',
  params: [],
  id: null,
  description: null,
  encoding: '7BIT',
  md5: null,
  disposition: null,
  language: null,
  location: null,
  children: [],
  message: null,
};

test('row 10: whatever the strings hold, ENVELOPE and BODYSTRUCTURE are valid and lose nothing but NUL', () => {
  for (const nasty of [
    'a"b\\c',
    'a\r\nb',
    '\n',
    '\r',
    'a\xf1o',
    '\x7f\x01\t',
    '{5}\r\n',
    ')(',
    'NIL',
    '',
    '"',
    'x'.repeat(5000),
    '*~%',
  ]) {
    const address = { name: nasty, route: nasty, mailbox: nasty, host: nasty };
    const envelope: Envelope = {
      date: nasty,
      subject: nasty,
      from: [address],
      sender: [],
      replyTo: [],
      to: [address, address],
      cc: [],
      bcc: [],
      inReplyTo: nasty,
      messageId: nasty,
    };
    const list = [nasty, nasty, nasty, nasty];
    assert.deepEqual(parseImapValues(formatEnvelope(envelope)), [
      [nasty, nasty, [list], [list], [list], [list, list], null, null, nasty, nasty],
    ]);
    const part: MimePart = {
      ...PART,
      type: 'x',
      subtype: nasty,
      params: [[nasty, nasty]],
      id: nasty,
      description: nasty,
      encoding: 'X',
      md5: nasty,
      disposition: { type: nasty, params: [[nasty, nasty]] },
      language: [nasty, nasty],
      location: nasty,
    };
    assert.deepEqual(parseImapValues(formatBodyStructure(part, true)), [
      ['x', nasty, [nasty, nasty], nasty, nasty, 'x', 5, nasty, [nasty, [nasty, nasty]], [nasty, nasty], nasty],
    ]);
    const multipart = { ...PART, type: 'multipart', subtype: nasty, children: [part, PART] };
    assert.equal((parseImapValues(formatBodyStructure(multipart, false))[0] as unknown[]).length, 3);
  }
  assert.deepEqual(parseImapValues(formatEnvelope({ ...EMPTY, subject: 'a\0b' })), [
    [null, 'ab', null, null, null, null, null, null, null, null],
  ]);
});

const EMPTY: Envelope = {
  date: null,
  subject: null,
  from: [],
  sender: [],
  replyTo: [],
  to: [],
  cc: [],
  bcc: [],
  inReplyTo: null,
  messageId: null,
};

test('a text part without charset is said to be US-ASCII; a message that was not looked into is opaque', () => {
  assert.deepEqual(parseImapValues(formatBodyStructure(PART, false)), [
    ['text', 'plain', ['charset', 'us-ascii'], null, null, '7bit', 5, 1],
  ]);
  assert.deepEqual(parseImapValues(formatBodyStructure({ ...PART, params: [['CharSet', 'utf-8']] }, false)), [
    ['text', 'plain', ['CharSet', 'utf-8'], null, null, '7bit', 5, 1],
  ]);
  assert.deepEqual(parseImapValues(formatBodyStructure({ ...PART, type: 'message', subtype: 'rfc822' }, false)), [
    ['application', 'octet-stream', null, null, null, '7bit', 5],
  ]);
});
