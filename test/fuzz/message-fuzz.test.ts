// Seeded fuzz of every parser of messages (RELIABILITY row 25): nothing throws, nothing takes long, results do not depend on how bytes are cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extractAddresses, parseAddressList } from '../../src/message/addresses.ts';
import { formatMailbox, parseMailbox, parsePath } from '../../src/message/address-spec.ts';
import { textStream } from '../../src/message/charset.ts';
import { parseContentType, parseDisposition } from '../../src/message/content-type.ts';
import { formatImapDateTime, parseImapDate, parseImapDateTime, parseRfc5322Date } from '../../src/message/date.ts';
import { parseMail } from '../../src/message/decode.ts';
import { decodeWords, parameterValue } from '../../src/message/encoded-words.ts';
import { editHeader, fieldValue, parseFields } from '../../src/message/headers.ts';
import { CrlfEncoder, LfEncoder, LineEndCounter } from '../../src/message/line-ends.ts';
import { bodyContains } from '../../src/message/search-text.ts';
import { parseStructure } from '../../src/message/structure.ts';
import { foldCase, TextFinder } from '../../src/message/text-finder.ts';
import { transferDecoder } from '../../src/message/transfer-encoding.ts';
import { DEFAULT_MIME_LIMITS } from '../../src/message/types.ts';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../../src/message/utf7.ts';
import { MIME_CORPUS } from '../support/mime-corpus.ts';
import { fuzzTime, seededRandom, type Random } from '../support/random.ts';
import { checkStructure } from '../support/structure-invariants.ts';

/** Milliseconds of a normal run of one test; the longest that one input may take (row 25's 100 ms, ten times). */
const NORMAL = 350;
const LONGEST = 1000;

const PIECES = [
  '\n',
  '\r\n',
  '\r',
  '\n\n',
  ' ',
  '\t',
  '--',
  '--b',
  '--b--',
  '--b\n',
  ':',
  ';',
  ',',
  '<',
  '>',
  '@',
  '"',
  '\\',
  '(',
  ')',
  '[',
  ']',
  '=',
  '?',
  '*',
  "'",
  '%',
  '\0',
  '\xff',
  '\xc3\xb1',
  '\x80',
  'a',
  'x.test',
  'b',
  '0',
  '*0*=',
  '=?utf-8?q?a?=',
  '=?',
  '?=',
  '=\n',
  '=3D',
  '&',
  '&APE-',
  '-',
  'Content-Type: ',
  'multipart/mixed; boundary=b',
  'message/rfc822',
  'text/plain',
  'From: ',
  'Content-Transfer-Encoding: base64',
  '4 Nov 2026 10:00:00 +0000',
  'e\u0301',
  '\u0323',
];

function randomText(random: Random, pieces: number): string {
  let text = '';
  for (let i = random.below(pieces); i > 0; i--) text += random.pick(PIECES);
  return text;
}

/** A message of the corpus with some pieces changed. */
function mutated(random: Random): string {
  let text = random.pick(MIME_CORPUS).text;
  for (let i = random.below(6); i > 0; i--) {
    const at = random.below(text.length + 1);
    const cut = random.below(3) === 0 ? random.below(20) : 0;
    const piece = random.below(4) === 0 ? text.slice(at, at + random.below(60)) : random.pick(PIECES);
    text = text.slice(0, at) + piece + text.slice(at + cut);
  }
  return random.below(4) === 0 ? text.replaceAll('\n', '\r\n') : text;
}

/** `bytes` cut at random. */
function* cut(bytes: Buffer, random: Random): Generator<Buffer> {
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + random.below(random.pick([1, 3, 30, 1000]));
    yield bytes.subarray(at, end);
    at = end;
  }
}

/** Runs `body` with one seed after another until the time is over. */
function fuzz(name: string, body: (random: Random) => Promise<void> | void): void {
  test(`row 25: fuzz: ${name}`, async () => {
    const { until, seed: first } = fuzzTime(NORMAL);
    for (let seed = first; performance.now() < until; seed++) {
      const start = performance.now();
      try {
        await body(seededRandom(seed));
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      const took = performance.now() - start;
      assert.ok(took < LONGEST, `seed ${seed} took ${took} ms`);
    }
  });
}

fuzz('MIME structure', async (random) => {
  const text = Buffer.from(random.below(3) === 0 ? randomText(random, 60) : mutated(random), 'latin1').toString('latin1');
  const bytes = Buffer.from(text, 'latin1');
  async function* chunks(pieces: Iterable<Buffer>) {
    yield* pieces;
  }
  const limits =
    random.below(4) === 0
      ? { ...DEFAULT_MIME_LIMITS, parts: 3, depth: 2, headerBytes: 60, headerFields: 2 }
      : DEFAULT_MIME_LIMITS;
  const whole = await parseStructure(chunks([bytes]), limits);
  checkStructure(text, whole, limits);
  assert.deepEqual(await parseStructure(chunks(cut(bytes, random)), limits), whole);
});

fuzz('decoded messages and search', async (random) => {
  const bytes = Buffer.from(mutated(random), 'latin1');
  await parseMail(bytes);
  async function* read(start: number, end: number) {
    yield* cut(bytes.subarray(start, end), random);
  }
  await bodyContains(await parseStructure(read(0, bytes.length)), read, foldCase(randomText(random, 3)) || 'x');
});

fuzz('header blocks', (random) => {
  const block = Buffer.from(random.below(2) === 0 ? randomText(random, 80) : mutated(random), 'latin1');
  const fields = parseFields(block, DEFAULT_MIME_LIMITS);
  let at = 0;
  for (const field of fields) {
    assert.ok(at <= field.start && field.start < field.valueStart && field.valueStart <= field.end && field.end <= block.length);
    assert.ok(!/[\r\n]/.test(fieldValue(block, field)));
    at = field.end;
  }
  const names = fields.map((field) => field.name);
  const without = editHeader(block, names, [], DEFAULT_MIME_LIMITS);
  for (const field of parseFields(without, DEFAULT_MIME_LIMITS).slice(0, 1))
    assert.ok(!names.includes(field.name) || without.length < block.length);
});

fuzz('addresses', (random) => {
  const text = randomText(random, 40);
  for (const { name, route, mailbox, host } of parseAddressList(text, DEFAULT_MIME_LIMITS))
    for (const part of [name, route, mailbox, host]) assert.ok(part === null || typeof part === 'string');
  for (const { address, local, domain } of extractAddresses(text) ?? []) {
    assert.deepEqual(parseMailbox(address)?.local, local);
    assert.equal(parseMailbox(formatMailbox(local, domain))?.domain, domain);
  }
  const path = parsePath(text)?.mailbox;
  if (path) {
    assert.deepEqual(parsePath(`<${path.address}>`)?.mailbox, path);
    assert.ok(!/[\x00-\x1f\x7f-\x9f]/.test(path.address), 'no control character gets through');
  }
});

fuzz('content types, encoded words, dates', (random) => {
  const text = randomText(random, 40);
  const type = parseContentType(text, 20);
  const disposition = parseDisposition(text, 20);
  for (const params of [type?.params ?? [], disposition?.params ?? []]) {
    assert.ok(params.length <= 20);
    parameterValue(params, 'b');
  }
  decodeWords(text);
  parseRfc5322Date(text);
  parseImapDate(text);
  const at = parseImapDateTime(text);
  if (at !== undefined) assert.equal(parseImapDateTime(formatImapDateTime(at, 0)), at);
});

fuzz('transfer encodings, charsets and line ends do not depend on how bytes are cut', (random) => {
  const bytes = Buffer.from(randomText(random, 60), 'latin1');
  const pieces = [...cut(bytes, random)];
  for (const encoding of ['base64', 'quoted-printable', '7bit']) {
    const whole = transferDecoder(encoding);
    const cutUp = transferDecoder(encoding);
    assert.deepEqual(
      Buffer.concat([...pieces.map((piece) => cutUp.push(piece)), cutUp.end()]),
      Buffer.concat([whole.push(bytes), whole.end()]),
      encoding,
    );
  }
  for (const charset of ['utf-8', 'shift_jis', 'iso-8859-1']) {
    const whole = textStream(charset);
    const cutUp = textStream(charset);
    assert.equal(pieces.map((piece) => cutUp.push(piece)).join('') + cutUp.end(), whole.push(bytes) + whole.end(), charset);
  }
  const crlf = new CrlfEncoder();
  const lf = new LfEncoder();
  const counter = new LineEndCounter();
  const wire = Buffer.concat(pieces.map((piece) => crlf.push(piece)));
  const disk = Buffer.concat([...pieces.map((piece) => lf.push(piece)), lf.end()]);
  for (const piece of pieces) counter.push(piece);
  assert.equal(wire.toString('latin1'), bytes.toString('latin1').replace(/(?<!\r)\n/g, '\r\n'));
  assert.equal(disk.toString('latin1'), bytes.toString('latin1').replaceAll('\r\n', '\n'));
  assert.deepEqual([counter.wireSize, counter.lfSize], [wire.length, disk.length]);
});

fuzz('text is found however it is cut', (random) => {
  const hay = randomText(random, 200);
  const at = random.below(hay.length + 1);
  const needle = foldCase(`needle${random.below(100)}`);
  const finder = new TextFinder(needle);
  let found = false;
  const text = `${hay.slice(0, at)} ${needle.toUpperCase()} ${hay.slice(at)}`;
  for (let from = 0; from < text.length && !found;) {
    const end = from + 1 + random.below(50);
    found = finder.push(text.slice(from, end));
    from = end;
  }
  assert.ok(found || finder.end());
});

fuzz('modified UTF-7', (random) => {
  const text = randomText(random, 20);
  const decoded = decodeModifiedUtf7(text);
  if (decoded !== undefined) assert.equal(encodeModifiedUtf7(decoded), text);
  assert.equal(decodeModifiedUtf7(encodeModifiedUtf7(text)), text);
});
