// A MessageSource in one piece.
import type { MessageSource } from '../../src/message/source.ts';

export async function readAll(source: MessageSource): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source.chunks()) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
