// The message on standard input, as lines. Their ends are LF or CRLF, also mixed: PHP's mail() writes both.

const LF = 0x0a;
const CR = 0x0d;
const DOT = 0x2e;

/** Lines without their ends; a last one without an end is one too. With `dotEnds` a line of nothing but a dot is the end. Never gives more than `maxBytes`. */
export async function* inputLines(
  stdin: AsyncIterable<Buffer>,
  dotEnds: boolean,
  maxBytes: number,
  tooLarge: () => Error,
): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge();
    let from = 0;
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, from)) {
      const part = chunk.subarray(from, lf);
      const line = withoutCr(begun.length === 0 ? part : Buffer.concat([...begun, part]));
      begun = [];
      from = lf + 1;
      if (dotEnds && line.length === 1 && line[0] === DOT) return;
      yield line;
    }
    if (from < chunk.length) begun.push(Buffer.from(chunk.subarray(from)));
  }
  if (begun.length === 0) return;
  const last = withoutCr(Buffer.concat(begun));
  if (!(dotEnds && last.length === 1 && last[0] === DOT)) yield last;
}

const withoutCr = (line: Buffer): Buffer => (line[line.length - 1] === CR ? line.subarray(0, -1) : line);

/** Joins lines with CRLF into pieces of some size: what a file is written in. */
export async function* inPieces(lines: AsyncIterable<Buffer>, size = 65_536): AsyncGenerator<Buffer> {
  const end = Buffer.from('\r\n');
  let parts: Buffer[] = [];
  let bytes = 0;
  for await (const line of lines) {
    parts.push(line, end);
    bytes += line.length + 2;
    if (bytes < size) continue;
    yield Buffer.concat(parts);
    parts = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(parts);
}
