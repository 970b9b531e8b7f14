// The end of DATA as receiving reads it, in one table: what the mutation tests take a guard away from.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataScanner } from '../../src/smtp/data-scanner.ts';

const OTHER_ENDS = [
  '\n.\n',
  '\n.\r',
  '\r.\n',
  '\r.\r',
  '\n.\r\n',
  '\r.\r\n',
  '\r\n.\n',
  '\r\n.\r',
  '\r\n\0.\r\n',
  '\r\n.\0\r\n',
  '\r\n.\r\r\n',
  '\n..\r\n',
];

test('only CRLF.CRLF ends a message, every other end is noticed', () => {
  const plain = new DataScanner();
  assert.deepEqual(plain.push(Buffer.from('a\r\n.\r\nQUIT\r\n')).used, 6);
  assert.equal(plain.irregular, false);
  for (const end of OTHER_ENDS) {
    const scanner = new DataScanner();
    const data = Buffer.from(`a${end}MAIL FROM:<x@y>\r\n.\r\n`);
    const { used, ended } = scanner.push(data);
    assert.equal(used, data.length, JSON.stringify(end));
    assert.equal(ended, true, JSON.stringify(end));
    assert.equal(scanner.irregular, true, JSON.stringify(end));
  }
});
