import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { formatBodyStructure, formatEnvelope } from '../../src/imap/syntax/body-structure.ts';
import { parseStructure } from '../../src/message/structure.ts';
import { DEFAULT_MIME_LIMITS, type MessageStructure, type MimePart } from '../../src/message/types.ts';
import { parseImapValues } from '../support/imap-value.ts';
import { MIME_CORPUS } from '../support/mime-corpus.ts';
import { checkStructure } from '../support/structure-invariants.ts';

function parse(message: string | Buffer, size = 65_536, limits = DEFAULT_MIME_LIMITS): Promise<MessageStructure> {
  const bytes = typeof message === 'string' ? Buffer.from(message, 'latin1') : message;
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  return parseStructure(chunks(), limits);
}

/** Parts in depth-first order, embedded ones included. */
function* walk(part: MimePart): Generator<MimePart> {
  yield part;
  for (const child of part.children) yield* walk(child);
  if (part.message) yield* walk(part.message.root);
}
const toCrlf = (text: string): string => text.replace(/\r?\n/g, '\r\n');

test('offsets and sizes of a nested message, LF and CRLF', async () => {
  const text =
    'Subject: s\nContent-Type: multipart/mixed; boundary=b\n\npre\n--b\nX: 1\n\none\ntwo\n--b\nContent-Type: message/rfc822\n\nSubject: in\n\ndeep\n--b--\nepi\n';
  for (const message of [text, toCrlf(text)]) {
    const { root } = await parse(message);
    const show = (part: MimePart): string[] => [
      message.slice(part.headerStart, part.bodyStart).replaceAll('\r', ''),
      message.slice(part.bodyStart, part.bodyEnd).replaceAll('\r', ''),
    ];
    assert.deepEqual(show(root.children[0] as MimePart), ['X: 1\n\n', 'one\ntwo']);
    assert.deepEqual(show(root.children[1] as MimePart), ['Content-Type: message/rfc822\n\n', 'Subject: in\n\ndeep']);
    assert.deepEqual(show(root.children[1]?.message?.root as MimePart), ['Subject: in\n\n', 'deep']);
    assert.equal(root.children[0]?.bodySize, 8);
    assert.equal(root.children[0]?.headerSize, 8);
    assert.equal(root.children[0]?.bodyLines, 1);
    assert.equal(root.children.length, 2);
  }
});

test('the corpus gives the same tree however it is cut, and offsets that fit', async () => {
  for (const { name, text } of MIME_CORPUS)
    for (const message of [text, toCrlf(text), text.replaceAll('\n', '\n\r'), text.replaceAll('two', '\r\r\n')]) {
      const whole = await parse(message);
      checkStructure(message, whole);
      for (const size of [1, 2, 3, 17]) assert.deepEqual(await parse(message, size), whole, name);
    }
});

test('a structure survives JSON, as the index keeps it', async () => {
  for (const { text } of MIME_CORPUS) {
    const structure = await parse(text);
    assert.deepEqual(JSON.parse(JSON.stringify(structure)), structure);
  }
});

test('fields of a part', async () => {
  const { root } = await parse(
    'Content-Type: (c) Image/PNG; NAME="a\\"b"; x*0*=utf-8\'\'%C3; x*1*=%B1; x*2=" o"\nContent-Transfer-Encoding: Base64 (c)\nContent-ID: <i>\n' +
      'Content-Description: d\nContent-MD5: m\nContent-Disposition: Attachment; filename=f g.txt; size=3\nContent-Language: en, es\nContent-Location: l\n\n',
  );
  assert.deepEqual([root.type, root.subtype, root.encoding], ['image', 'png', 'BASE64']);
  assert.deepEqual(root.params, [
    ['NAME', 'a"b'],
    ['x*', "utf-8''%C3%B1%20o"],
  ]);
  assert.equal(root.disposition?.type, 'Attachment');
  assert.deepEqual(root.disposition?.params.at(-1), ['size', '3']);
  assert.deepEqual([root.id, root.description, root.md5, root.language, root.location], ['<i>', 'd', 'm', ['en', 'es'], 'l']);
});

test('row 10: 100,000 parts: parsing stops at 10,000, the rest belongs to the last, BODYSTRUCTURE is valid', async () => {
  const message = 'Content-Type: multipart/mixed; boundary=b\n\n' + '--b\n\nx\n'.repeat(100_000) + '--b--\n';
  const structure = await parse(message);
  const parts = [...walk(structure.root)];
  assert.equal(parts.length, DEFAULT_MIME_LIMITS.parts);
  assert.equal(structure.root.children.at(-1)?.bodyEnd, message.length);
  assert.equal(structure.wireSize, message.length + message.split('\n').length - 1);
  assert.equal((parseImapValues(formatBodyStructure(structure.root, true))[0] as unknown[]).length, parts.length - 1 + 5);
});

test('row 10: depth 200: parsing stops at depth 100, what is deeper is opaque, BODYSTRUCTURE is valid', async () => {
  let multiparts = '';
  for (let i = 0; i < 200; i++) multiparts += `Content-Type: multipart/mixed; boundary=b${i}x\n\n--b${i}x\n`;
  for (const message of [
    multiparts + '\nhello\n',
    'Content-Type: message/rfc822\n\n'.repeat(200) + '\nx\n',
    'Content-Type: multipart/digest; boundary=b\n\n--b\n\n'.repeat(200),
  ]) {
    const structure = await parse(message);
    checkStructure(message, structure);
    assert.ok([...walk(structure.root)].length >= DEFAULT_MIME_LIMITS.depth);
  }
});

test('row 10: 10,000 RFC 2231 parameters: the first 200 are joined', async () => {
  const sections = Array.from({ length: 10_000 }, (_, i) => `; name*${i}=a`).join('');
  const { root } = await parse(`Content-Type: text/plain${sections}\nSubject: after\n\nx`);
  assert.deepEqual(root.params, [['name', 'a'.repeat(DEFAULT_MIME_LIMITS.parameters)]]);
  const many = Array.from({ length: 10_000 }, (_, i) => `;\n p${i}=v`).join('');
  assert.equal((await parse(`Content-Type: text/plain${many}\n\nx`)).root.params.length, DEFAULT_MIME_LIMITS.parameters);
});

test('limits that are given are kept', async () => {
  const limits = { ...DEFAULT_MIME_LIMITS, parts: 3, depth: 2, headerFields: 2, headerBytes: 200 };
  for (const { text } of MIME_CORPUS) {
    const structure = await parse(text, 5, limits);
    checkStructure(text, structure, limits);
    assert.ok([...walk(structure.root)].length <= 2 * limits.parts);
  }
  const late = await parse('A: 1\nB: 2\nSubject: late\n\nx', 100, limits);
  assert.equal(late.envelope.subject, null);
  assert.equal(late.root.bodySize, 1);
});

/** The longest that the loop did not turn while `work` ran, in milliseconds. */
async function longestStall<T>(work: () => Promise<T>): Promise<{ stall: number; result: T }> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const result = await work();
  delay.disable();
  return { stall: delay.max / 1e6, result };
}

test('row 9: 1,000,000 headers, a 240 KB address header, a line of 5 MB: parsed within the limits, the loop goes on', async () => {
  const addresses = 'a@x.test, '.repeat(24_000);
  const cases: readonly (readonly [string, Buffer])[] = [
    ['headers', Buffer.from('X: y\n'.repeat(1_000_000) + 'Subject: never seen\n\nbody')],
    ['headers without colon', Buffer.from('XXXX\n'.repeat(500_000) + '\nbody')],
    ['addresses', Buffer.from(`From: ${addresses}\nTo: ${addresses}\nCc: ${addresses}\n\nbody`)],
    ['nested comments', Buffer.from(`From: ${'('.repeat(240_000)}\n\nbody`)],
    [
      'quotes',
      Buffer.from(
        `From: ${'"\\'.repeat(120_000)}\nTo: ${'<'.repeat(240_000)}\nCc: ${'a:'.repeat(120_000)}\nBcc: ${'@,'.repeat(120_000)}\n\nbody`,
      ),
    ],
    ['one line', Buffer.from(`Subject: ${'x'.repeat(5_000_000)}\n\nbody`)],
    ['folded', Buffer.from(`Subject: ${'x\n '.repeat(1_000_000)}\n\nbody`)],
    ['content types', Buffer.from(`Content-Type: text/plain${';;a=('.repeat(200_000)}\n\nbody`)],
    ['boundary look-alikes', Buffer.from(deepBoundaries() + '--aaaaaaaaaaaaaaaaaaaaaaaa!\n'.repeat(50_000))],
    ['empty lines', Buffer.alloc(3_000_000, '\n')],
  ];
  for (const [name, message] of cases) {
    const { stall, result } = await longestStall(() => parse(message, message.length));
    assert.ok(stall < 500, `${name}: ${stall} ms`);
    assert.equal(result.size, message.length);
    if (name === 'headers') assert.equal(result.envelope.subject, null);
    if (name === 'addresses') assert.equal(result.envelope.from.length, DEFAULT_MIME_LIMITS.addresses);
    parseImapValues(formatEnvelope(result.envelope));
  }
});

function deepBoundaries(): string {
  let text = '';
  for (let i = 0; i < 99; i++) {
    const boundary = 'a'.repeat(24) + String(i).padStart(2, '0');
    text += `Content-Type: multipart/mixed; boundary=${boundary}\n\n--${boundary}\n`;
  }
  return text;
}

test('row 9: memory stays bounded by the limits, not by the message', async () => {
  const header = 'Content-Type: text/plain; x="' + 'y'.repeat(60_000) + '"\n\nz\n';
  const message = Buffer.from('Content-Type: multipart/mixed; boundary=b\n\n' + ('--b\n' + header).repeat(600) + '--b--\n');
  const structure = await parse(message);
  assert.equal(structure.root.children.length, 600);
  assert.ok(JSON.stringify(structure).length < 12e6, 'what is kept of 36 MB of headers');
});
