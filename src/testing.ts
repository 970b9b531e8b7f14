// `buzon/testing`: a mail server for the tests of programs that send and read mail.
//
//   await using server = await startTestServer({ users: { 'ana@example.test': 'secret' } });
//   … the program under test sends to server.smtp.port …
//   const mail = await server.waitForMessage({ to: 'ana@example.test', subject: 'Welcome' });
export { startTestServer, type TestServer } from './testing/test-server.ts';
export { WaitTimeoutError } from './testing/inbox.ts';
export { MailError } from './lib/errors.ts';
export type {
  Failure,
  FailureStage,
  MessageFields,
  MessageFilter,
  TestEndpoint,
  TestEnvelope,
  TestMessage,
  TestRecipient,
  TestServerOptions,
  TextMatch,
} from './testing/types.ts';
export type { SettingsInput, SettingValue } from './config/settings-object.ts';
export type { Resolver, StaticRecords, MxRecord } from './dns/resolver.ts';
export type { LogFields, LogLevel, LogSink } from './lib/logger.ts';
export type { DecodedAddress, DecodedAttachment, DecodedMail } from './message/decode.ts';
