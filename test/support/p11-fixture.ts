import { CKA, CKO } from '../../src/core/pkcs11.js';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { P11Attribute } from '../../src/protocol/p11-attributes.js';
import type { P11Version } from '../../src/protocol/p11-wire.js';
import { DaemonFixture, type FixtureOptions } from './daemon-fixture.js';
import { P11Client } from './p11-client.js';

/** A session of an application with its connection. */
export interface OpenedSession {
  readonly client: P11Client;
  readonly slot: number;
  readonly session: number;
}

/** A daemon, and applications on its PKCS #11 socket. */
export class P11Fixture implements AsyncDisposable {
  readonly daemon: DaemonFixture;
  /** of the crypto-user that `up` makes */
  readonly pin: string;
  readonly soPin: string;
  readonly #clients: P11Client[] = [];

  private constructor(daemon: DaemonFixture, pins: { pin: string; soPin: string }) {
    this.daemon = daemon;
    this.pin = pins.pin;
    this.soPin = pins.soPin;
  }

  static async start(options: FixtureOptions = {}): Promise<P11Fixture> {
    const daemon = await DaemonFixture.start(options);
    const { cryptoUser, admin } = await callAdmin(daemon.home, 'Credentials');
    const pinOf = (user: { username: string; password: string } | undefined): string =>
      `${user?.username}:${user?.password}`;
    return new P11Fixture(daemon, { pin: pinOf(cryptoUser), soPin: pinOf(admin) });
  }

  get socket(): string {
    return this.daemon.home.pkcs11Socket;
  }

  async connect(offer: P11Version = 2): Promise<P11Client> {
    const client = await P11Client.connect(this.socket, { offer });
    this.#clients.push(client);
    return client;
  }

  /** A connection with one session; `pin` undefined: nobody logged in. */
  async open(
    given: { readonly offer?: P11Version; readonly pin?: string | undefined } = { pin: this.pin },
  ): Promise<OpenedSession> {
    const client = await this.connect(given.offer);
    const [slot = 0] = await client.slots();
    const session = await client.open(slot);
    if (given.pin !== undefined) await client.login(session, given.pin);
    return { client, slot, session };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.daemon[Symbol.asyncDispose]();
  }
}

const text = (value: string): Uint8Array => Buffer.from(value, 'utf8');

/** A template: flags by number, and what else. */
export function template(
  given: Readonly<Record<number, P11Attribute['value'] | string>>,
): P11Attribute[] {
  return Object.entries(given).map(([type, value]) => ({
    type: Number(type),
    value: typeof value === 'string' ? text(value) : value,
  }));
}

/** An AES key of 32 bytes that is given. */
export const aesKey = (
  value: Uint8Array,
  rest: Readonly<Record<number, P11Attribute['value'] | string>> = {},
): P11Attribute[] =>
  template({ [CKA.CLASS]: CKO.SECRET_KEY, [CKA.KEY_TYPE]: 0x1f, [CKA.VALUE]: value, ...rest });
