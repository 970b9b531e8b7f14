import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { z } from 'zod';
import { fieldInfo, innermost } from '../../src/config/field.ts';
import { settingsSchema } from '../../src/config/schema.ts';
import { parseSettings } from '../../src/config/settings.ts';
import { run } from '../support/programs.ts';

const root = new URL('../../', import.meta.url).pathname;

test('docs/settings.md is what the schema says', async () => {
  const { status, stderr } = await run(process.execPath, ['scripts/settings-docs.mjs', '--check'], { cwd: root });
  assert.deepEqual([status, stderr], [0, '']);
});

test('every setting, and every part of a group, has a type, a description and an example; all examples of docs/settings.md are valid', async () => {
  const check = (name: string, schema: z.core.$ZodType): void => {
    const info = fieldInfo(schema);
    assert.ok(info.type && info.description.endsWith('.') && info.example !== undefined, name);
    const inner = innermost(schema);
    const group = inner instanceof z.ZodArray ? inner.element : inner;
    if (group instanceof z.ZodObject)
      for (const [part, one] of Object.entries(group.shape)) check(`${name}.${part}`, one as z.core.$ZodType);
  };
  const names = Object.entries(settingsSchema('/').shape);
  for (const [name, schema] of names) check(name, schema);
  const examples = [...(await readFile(`${root}docs/settings.md`, 'utf8')).matchAll(/```yaml\n([\s\S]*?)\n```/g)].map(
    ([, text = '']) => text,
  );
  assert.equal(examples.length, names.length);
  for (const example of examples) {
    const pair = example.startsWith('smtpd_tls_cert_file')
      ? '\nsmtpd_tls_key_file: /k'
      : example.startsWith('smtpd_tls_key_file')
        ? '\nsmtpd_tls_cert_file: /c'
        : '';
    const hostname = example.startsWith('hostname') ? '' : '\nhostname: mail.example.com';
    assert.doesNotThrow(() => parseSettings(`${example}${pair}${hostname}\n`, '/x.yaml'), example);
  }
});
