import { monotonic } from '../../src/core/clock.js';
import { newBootId, newClusterId, newHsmId, newMaskingKeyId } from '../../src/core/ids.js';
import type { Manifest } from '../../src/hsm/manifest.js';
import { Machine } from '../../src/hsm/machine.js';
import { perform } from '../../src/hsm/operations.js';
import {
  RECORD_VERSION,
  type HsmOperation,
  type HsmResults,
} from '../../src/protocol/hsm-frames.js';
import type { KeyRecord } from '../../src/hsm/records.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { makeRsaKey } from '../../src/token/key-making.js';
import type { Handle } from '../../src/token/token.js';
import { TokenFixture } from './token-fixture.js';

export const PASSWORDS = {
  app_user: 'appliance-secret',
  admin: 'before-activation',
} as const;

/** A machine that asks itself what a daemon would ask, in this process and on a real token. */
export class MachineFixture implements Disposable {
  readonly tokens = TokenFixture.ready();
  readonly ids = { hsm: newHsmId(), cluster: newClusterId() };
  machine: Machine;
  /** how far the machine's clock is ahead */
  aheadMs = 0;

  constructor() {
    this.machine = this.#newMachine();
  }

  static async founded(): Promise<MachineFixture> {
    const fixture = new MachineFixture();
    await fixture.ask('found', {
      maskingKeyId: newMaskingKeyId(),
      certificates: ['certificate'],
      root: 'root',
      appUser: { username: 'app_user', password: PASSWORDS.app_user },
      admin: { username: 'admin', password: PASSWORDS.admin },
    });
    return fixture;
  }

  #newMachine(): Machine {
    const { soPin, userPin } = this.tokens;
    return new Machine({
      identity: { ...this.ids, boot: newBootId(), soPin, userPin },
      token: this.tokens.token,
      install: () => Promise.reject(new Error('there is no thread here')),
      makeRsa: async (make) => makeRsaKey(this.tokens.token, this.#maskWrap, make),
      now: () => monotonic() + this.aheadMs,
    });
  }

  get #maskWrap(): Handle {
    return this.machine.masking.masking.wrap;
  }

  /** As a restart of the process. @returns whether the token is a member's */
  restart(manifest?: Manifest): boolean {
    this.tokens.restart();
    this.machine = this.#newMachine();
    return this.machine.load(manifest);
  }

  async ask<Op extends HsmOperation>(
    operation: Op,
    fields: unknown,
    as: { session?: number; epoch?: number; timeoutMs?: number } = {},
  ): Promise<HsmResults[Op]> {
    const { session = 0, epoch = 1, timeoutMs = 60_000 } = as;
    const request = { operation, epoch, session, fields, timeoutMs };
    return (await perform(this.machine, request)) as HsmResults[Op];
  }

  async login(username: string, password: string): Promise<number> {
    return (await this.ask('login', { username, password })).session;
  }

  [Symbol.dispose](): void {
    this.tokens[Symbol.dispose]();
  }
}

export function newKeyRecord(changes: Partial<KeyRecord> = {}): KeyRecord {
  return {
    version: RECORD_VERSION,
    id: newHsmKeyId(),
    revision: 1,
    kind: 'aes-256',
    owner: 'alice',
    sharedWith: [],
    label: 'a key',
    usage: { encrypt: true, decrypt: true },
    proof: Buffer.alloc(16, 5),
    ...changes,
  };
}
