import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../../src/message/utf7.ts';

const PAIRS: readonly (readonly [string, string])[] = [
  ['', ''],
  ['INBOX', 'INBOX'],
  ['Archivo/año', 'Archivo/a&APE-o'],
  ['&', '&-'],
  ['A & B', 'A &- B'],
  ['~peter/mail/台北/日本語', '~peter/mail/&U,BTFw-/&ZeVnLIqe-'],
  ['Entwürfe', 'Entw&APw-rfe'],
  ['😀', '&2D3eAA-'],
  ['\n', '&AAo-'],
  ['ñ&ñ', '&APE-&-&APE-'],
  ['ñ-', '&APE--'],
];

test('modified UTF-7: known pairs both ways (RFC 3501 5.1.3)', () => {
  for (const [text, encoded] of PAIRS) {
    assert.equal(encodeModifiedUtf7(text), encoded);
    assert.equal(decodeModifiedUtf7(encoded), text);
  }
});

test('row 31: bad modified UTF-7 decodes to undefined', () => {
  const bad = [
    '&', // shift not ended
    'a&AP',
    '&AGEAYg-', // printable ASCII inside a shift
    '&APE-&APE-', // two shifts in a row
    '&AP-', // half a code unit
    '&APF-', // padding bits set
    '&APEA-',
    '&A-',
    '&2D0-', // lone high surrogate
    '&3gA-', // lone low surrogate
    '&U/BT-', // the ordinary base64 alphabet
    '&APE=-',
    '& -',
    'a\u0001',
    'a\u00f1',
    'a\u007f',
  ];
  for (const name of bad) assert.equal(decodeModifiedUtf7(name), undefined, JSON.stringify(name));
});

test('modified UTF-7: lone surrogates are encoded as U+FFFD', () => {
  assert.equal(encodeModifiedUtf7('\ud800'), '&,,0-');
});
