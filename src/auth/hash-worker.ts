// The thread in which passwords are hashed: neither the loop nor libuv's file pool (which fsync needs) waits for it.
import { hashPassword, scramKeys, verifyPassword } from './schemes.ts';

export interface VerifyTask {
  readonly kind: 'verify';
  readonly password: string;
  readonly stored: string;
  readonly defaultScheme: string;
}
export interface HashTask {
  readonly kind: 'hash';
  readonly password: string;
  readonly scheme: string;
}

export interface ScramTask {
  readonly kind: 'scram';
  readonly password: string;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly hash: 'sha1' | 'sha256';
}

export default function run(task: VerifyTask | HashTask | ScramTask): boolean | string | ReturnType<typeof scramKeys> {
  switch (task.kind) {
    case 'verify':
      return verifyPassword(task.password, task.stored, task.defaultScheme);
    case 'hash':
      return hashPassword(task.password, task.scheme);
    case 'scram':
      return scramKeys(task.password, Buffer.from(task.salt), task.iterations, task.hash);
  }
}
