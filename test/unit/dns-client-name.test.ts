// The name of a client counts only when it leads back to the client's address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientName } from '../../src/dns/client-name.ts';
import { staticResolver } from '../../src/dns/resolver.ts';

test('a client is called by the first of its names that leads back to its address', async () => {
  const resolver = staticResolver({
    '192.0.2.1': { ptr: ['liar.example', 'mail.example.'] },
    'mail.example': { a: ['192.0.2.9', '192.0.2.1'], aaaa: ['2001:db8::1'] },
    'liar.example': { a: ['192.0.2.2'] },
    '2001:db8::1': { ptr: ['mail.example'] },
    '192.0.2.2': { ptr: ['nowhere.example'] },
    '192.0.2.3': { fails: true },
    '192.0.2.4': { ptr: ['a.example', 'b.example', 'c.example', 'mail4.example'] },
    'mail4.example': { a: ['192.0.2.4'] },
  });
  assert.equal(await clientName(resolver, '192.0.2.1'), 'mail.example');
  assert.equal(await clientName(resolver, '2001:db8::1'), 'mail.example');
  // A name that leads nowhere, DNS that fails, the fourth of many names, no name at all.
  for (const address of ['192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5'])
    assert.equal(await clientName(resolver, address), undefined);
});
