// Postfix's own postmap and ours on the same files: what it prints for a query and a listing must be the same.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { postmapCommand } from '../../src/cli/postmap.ts';
import { captureIo } from '../support/command-io.ts';
import { requireProgram, run } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

const TABLE = `# comment
A@Example.COM  one two
  more
# between

b@x  2
b@x 3
"quoted key" v
"John Doe"@example.com jd/
"a\\"b c"@example.com esc
novalue
key: val
sp\tttab${'   '}
  # indented comment
 continued
user+ext@example.com  example.com/user/
@example.com catch@example.com
ñandú@example.com Ñ/
crlf value\r
`;
const PATTERNS = `/^(.*)@x$/ $1@y
if /a/
!/b/ no-b
endif
/^c/i C$$d
/^([^@]+)@(old|older)\\.test$/ \${1}@$(2).new
/^[[:digit:]]+$/
   number
`;
const KEYS = [
  'a@example.com',
  'A@EXAMPLE.com',
  'b@x',
  'foo@x',
  'key:',
  'sp',
  '"quoted key"',
  '"john doe"@example.com',
  '"a\\"b c"@example.com',
  'user+ext@example.com',
  '@example.com',
  'ñandú@example.com',
  'ÑANDÚ@example.com',
  'crlf',
  'novalue',
  'none',
  'ab',
  'ac',
  'c',
  'C',
  'bob@OLDER.test',
  '12345',
  '12x',
  '',
];

test('-q, -q - and -s print what Postfix’s postmap prints', { timeout: 120_000 }, async (t) => {
  const postmap = await requireProgram(t, 'postmap');
  if (!postmap) return;
  const folder = await tempFolder(t);
  // An own configuration: the host's main.cf may be missing or broken.
  await writeFile(join(folder, 'main.cf'), 'compatibility_level = 3.6\nsmtputf8_enable = yes\nsyslog_name = postfix\n');
  await writeFile(join(folder, 'map'), TABLE);
  await writeFile(join(folder, 'patterns'), PATTERNS);
  const theirs = async (args: readonly string[], input?: string) => {
    const { status, stdout } = await run(postmap, ['-c', folder, ...args], { cwd: folder, input });
    return { status, out: stdout };
  };
  const ours = async (args: readonly string[], input?: string) => {
    const io = captureIo({ cwd: folder, input });
    return { status: await postmapCommand.run(args, io), out: io.stdout };
  };
  await theirs(['hash:map']);
  assert.equal((await ours(['hash:map'])).status, 0);
  const keys = KEYS.filter((key) => key !== '').join('\n') + '\n';
  for (const spec of [
    'hash:map',
    'texthash:map',
    'regexp:patterns',
    'pcre:patterns',
    'inline:{ a@example.com=b, {b@x = d e} }',
    'static:5000',
    'static:{ 1 2 }',
  ]) {
    assert.deepEqual(await ours(['-q', '-', spec], keys), await theirs(['-q', '-', spec], keys), spec);
    for (const key of ['a@example.com', 'none'])
      assert.deepEqual(await ours(['-q', key, spec]), await theirs(['-q', key, spec]), `${spec} ${key}`);
  }
  const sorted = ({ status, out }: { status: number | null; out: string }) => ({ status, lines: out.split('\n').sort() });
  for (const spec of ['hash:map', 'texthash:map', 'inline:{ a=b, {c = d e} }'])
    assert.deepEqual(sorted(await ours(['-s', spec])), sorted(await theirs(['-s', spec])), spec);
});
