// What must hold for every structure that the MIME parser gives, whatever the message.
import assert from 'node:assert/strict';
import { formatBodyStructure, formatEnvelope } from '../../src/imap/syntax/body-structure.ts';
import { DEFAULT_MIME_LIMITS, type MessageStructure, type MimePart } from '../../src/message/types.ts';
import { parseImapValues } from './imap-value.ts';

/** What must hold for every message: offsets nest, sizes are those of the bytes. */
export function checkStructure(message: string, structure: MessageStructure, limits = DEFAULT_MIME_LIMITS): void {
  const wire = (from: number, to: number): string => message.slice(from, to).replace(/(?<!\r)\n/g, '\r\n');
  assert.equal(structure.size, message.length);
  assert.equal(structure.wireSize, wire(0, message.length).length);
  assert.equal(structure.root.headerStart, 0);
  assert.equal(structure.root.bodyEnd, message.length);
  assert.equal(structure.root.headerSize + structure.root.bodySize, structure.wireSize);
  let parts = 0;
  const check = (part: MimePart, from: number, to: number, depth: number): void => {
    parts++;
    assert.ok(from <= part.headerStart && part.headerStart <= part.bodyStart, 'starts inside');
    assert.ok(part.bodyStart <= part.bodyEnd && part.bodyEnd <= to, 'ends inside');
    assert.equal(part.headerSize, wire(part.headerStart, part.bodyStart).length);
    assert.equal(part.bodySize, wire(part.bodyStart, part.bodyEnd).length);
    assert.equal(part.bodyLines, message.slice(part.bodyStart, part.bodyEnd).split('\n').length - 1);
    assert.equal(part.children.length > 0, part.type === 'multipart');
    assert.ok(depth <= limits.depth + 1);
    let at = part.bodyStart;
    for (const child of part.children) {
      check(child, at, part.bodyEnd, depth + 1);
      at = child.bodyEnd;
    }
    if (part.message) check(part.message.root, part.bodyStart, part.bodyEnd, depth + 1);
  };
  check(structure.root, 0, message.length, 1);
  assert.ok(parts <= 2 * limits.parts);
  parseImapValues(formatBodyStructure(structure.root, true));
  parseImapValues(formatBodyStructure(structure.root, false));
  parseImapValues(formatEnvelope(structure.envelope));
}
