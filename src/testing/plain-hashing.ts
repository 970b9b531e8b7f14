// Passwords of a test server: stored as they are, so that a log-in takes no time and no thread.
import type { Hashing } from '../auth/hashing.ts';
import { parseStored } from '../auth/stored-password.ts';

export const plainHashing: Hashing = {
  // Anything else is what unknown users are checked against.
  verify: async (password, text, defaultScheme) => {
    const { scheme, encoding, data } = parseStored(text, defaultScheme);
    return scheme === 'PLAIN' && password === (encoding ? Buffer.from(data, encoding).toString() : data);
  },
  hash: async (password) => `{PLAIN}${password}`,
  // Loaded when a test asks for it: the schemes bring their native parts along.
  scram: async (password, salt, iterations, hash) =>
    (await import('../auth/schemes.ts')).scramKeys(password, salt, iterations, hash),
  warm: async () => undefined,
  close: async () => undefined,
};
