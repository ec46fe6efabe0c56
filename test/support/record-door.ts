import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { USERS } from '../../src/cluster/lifecycle.js';
import { packageFile } from '../../src/core/entry.js';
import { KeyspanError, isErrorCode } from '../../src/core/errors.js';
import type { HsmKeyId } from '../../src/core/ids.js';
import type { RecordChange } from '../../src/protocol/hsm-key-frames.js';
import type { DaemonFixture, FixtureOptions } from './daemon-fixture.js';

const hook = pathToFileURL(packageFile('test/support/record-door.mjs')).href;

/** How a daemon is started that has the door of `record-door.mjs`. */
export const WITH_RECORD_DOOR: FixtureOptions = {
  faults: true,
  env: { NODE_OPTIONS: `--import ${hook}` },
};

/** The user whom keys are shared with, in these tests. */
export const SHAREE = USERS.cryptoUser;

/** Has a real daemon change records, as its own code would for a client. */
export class RecordDoor {
  readonly #daemon: DaemonFixture;

  constructor(daemon: DaemonFixture) {
    this.#daemon = daemon;
  }

  /** A new live key of KMS's user. */
  async create(): Promise<HsmKeyId> {
    return ((await this.#ask('create', {})) as { key: HsmKeyId }).key;
  }

  /** The owner's word: whether the HSMs still work with the key for whom it was made. */
  async works(key: HsmKeyId): Promise<readonly boolean[]> {
    return await this.allows(key, USERS.kms);
  }

  async destroy(key: HsmKeyId): Promise<void> {
    await this.#ask('destroy', { key });
  }

  /** @param entry the HSM that is to decide it */
  async change(key: HsmKeyId, change: RecordChange, entry?: string): Promise<void> {
    await this.#ask('change', { user: USERS.kms, key, change, entry });
  }

  /** For each HSM, whether it lets that user work with the key. */
  async allows(key: HsmKeyId, user: string = SHAREE): Promise<readonly boolean[]> {
    return (await this.#ask('allows', { user, key })) as boolean[];
  }

  /** @throws KeyspanError of the daemon's code, or KeyspanConnection when it ended meanwhile */
  async #ask(action: string, params: object): Promise<unknown> {
    const socketPath = join(this.#daemon.home.runtime, 'record-door.sock');
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ socketPath, path: `/${action}`, method: 'POST', agent: false }, resolve)
        .once('error', () => reject(new KeyspanError('KeyspanConnection')))
        .end(JSON.stringify(params));
    });
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const answer = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { code?: unknown };
    if (response.statusCode === 200) return answer;
    throw new KeyspanError(isErrorCode(answer.code) ? answer.code : 'InternalFailure');
  }
}
