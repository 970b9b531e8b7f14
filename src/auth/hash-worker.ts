// The thread in which passwords are hashed: neither the loop nor libuv's file pool (which fsync needs) waits for it.
import { hashPassword, verifyPassword } from './schemes.ts';

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

export default function run(task: VerifyTask | HashTask): boolean | string {
  return task.kind === 'verify'
    ? verifyPassword(task.password, task.stored, task.defaultScheme)
    : hashPassword(task.password, task.scheme);
}
