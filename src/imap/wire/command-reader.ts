// One whole command from the wire: its line, its literals, and the `+` that asks for them. A message of APPEND is left to be streamed.
import { literalAtEnd, type LiteralAnnouncement } from '../syntax/literal.ts';
import type { ByteReader } from './byte-reader.ts';

export interface CommandLimits {
  readonly line: number;
  /** All literals together. */
  readonly literals: number;
}

export type ReadCommand =
  | { readonly kind: 'complete'; readonly bytes: Buffer }
  /** `bytes` is what stands before the literal's `{`; the literal has not been asked for. */
  | { readonly kind: 'message'; readonly bytes: Buffer; readonly literal: LiteralAnnouncement }
  /** Over a limit. `fatal`: bytes are on their way that nobody will read. */
  | { readonly kind: 'refused'; readonly bytes: Buffer; readonly text: string; readonly fatal: boolean };

const CRLF = Buffer.from('\r\n');

/** Tag and command's name: before them no literal is asked for. */
const BEGINS = /^[^ "(){%*\\+]{1,255} [A-Za-z]/;

/** The literal that follows these bytes is APPEND's message (RFC 3501 6.3.11): a mailbox name stands before it. */
const MESSAGE_FOLLOWS = /^[^ ]{1,255} APPEND [^ ]/i;

/** @throws WireEnd line-too-long, and whatever ends the connection. `proceed` sends the continuation request. */
export async function readCommand(
  reader: ByteReader,
  first: Buffer,
  limits: CommandLimits,
  proceed: () => Promise<void>,
): Promise<ReadCommand> {
  const parts: Buffer[] = [];
  let size = 0;
  let lineBytes = 0;
  let literalBytes = 0;
  for (let line = first; ; line = await reader.line(limits.line - lineBytes)) {
    parts.push(line);
    size += line.length;
    lineBytes += line.length;
    const literal = literalAtEnd(line);
    if (literal === undefined) return { kind: 'complete', bytes: Buffer.concat(parts) };
    if (literal === 'bad') return { kind: 'refused', bytes: Buffer.concat(parts), text: 'Bad literal size', fatal: true };
    if (!BEGINS.test(parts[0]?.toString('latin1') ?? ''))
      return { kind: 'refused', bytes: Buffer.concat(parts), text: 'Expected a tag and a command', fatal: literal.nonSync };
    const before = Buffer.concat(parts).subarray(0, size - line.length + literal.at);
    if (MESSAGE_FOLLOWS.test(before.toString('latin1'))) return { kind: 'message', bytes: before, literal };
    if ((literalBytes += literal.size) > limits.literals)
      return { kind: 'refused', bytes: before, text: 'Literal too big', fatal: literal.nonSync };
    if (!literal.nonSync) await proceed();
    parts.push(CRLF, await reader.bytes(literal.size));
    size += CRLF.length + literal.size;
  }
}
