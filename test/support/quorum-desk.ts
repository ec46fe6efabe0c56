import { callAdmin } from '../../src/cli/admin-client.js';
import type { AdminAction, AdminResults } from '../../src/protocol/admin.js';
import type { CliRole, ListedUser, QuorumService } from '../../src/protocol/hsm-session.js';
import type { DaemonFixture } from './daemon-fixture.js';
import type { TokenSigner } from './token-signer.js';

/** Bytes as they are in JSON. */
type Base64 = string;

export interface WrittenToken {
  readonly hsm: string;
  readonly token: Base64;
}

export interface WrittenApproval {
  readonly data: Base64;
  readonly signatures: { username: string; role?: CliRole; signature: Base64 }[];
}

const base64 = (bytes: Uint8Array): Base64 => Buffer.from(bytes).toString('base64');
const bytesOf = (text: Base64): Buffer => Buffer.from(text, 'base64');

/** HSM users at the operator's door, as CloudHSM's command line has it. */
export class QuorumDesk {
  readonly daemon: DaemonFixture;

  constructor(daemon: DaemonFixture) {
    this.daemon = daemon;
  }

  ask<A extends AdminAction>(action: A, params: object = {}): Promise<AdminResults[A]> {
    return callAdmin(this.daemon.home, action, params, 60_000);
  }

  async logIn(
    user: { username: string; role: CliRole; password: string },
    mfa?: readonly object[],
  ): Promise<string> {
    return (await this.ask('UserLogin', { ...user, ...(mfa && { mfa }) })).session;
  }

  async tokens(session: string, service: QuorumService): Promise<readonly WrittenToken[]> {
    const { tokens } = await this.ask('QuorumGenerate', { session, service });
    return tokens as unknown as WrittenToken[];
  }

  /** What a user signs to log in. */
  async challenges(username: string, role: CliRole): Promise<readonly WrittenToken[]> {
    const { tokens } = await this.ask('UserMfaTokens', { username, role });
    return tokens as unknown as WrittenToken[];
  }

  /** Each token for itself. */
  signEach(tokens: readonly WrittenToken[], signer: TokenSigner): object[] {
    return tokens.map(({ token }) => ({ token, signature: base64(signer.sign(bytesOf(token))) }));
  }

  async register(session: string, signer: TokenSigner): Promise<AdminResults['UserChangeQuorum']> {
    const tokens = this.signEach(await this.tokens(session, 'registration'), signer);
    return await this.ask('UserChangeQuorum', { session, publicKey: signer.pem, tokens });
  }

  /** Tokens of all HSMs in one, signed by these users. */
  async approval(
    session: string,
    service: QuorumService,
    signers: Readonly<Record<string, TokenSigner>>,
  ): Promise<WrittenApproval> {
    const tokens = await this.tokens(session, service);
    return this.approve(Buffer.concat(tokens.map(({ token }) => bytesOf(token))), signers);
  }

  approve(data: Uint8Array, signers: Readonly<Record<string, TokenSigner>>): WrittenApproval {
    const signatures = Object.entries(signers).map(([username, signer]) => ({
      username,
      signature: base64(signer.sign(data)),
    }));
    return { data: base64(data), signatures };
  }

  async listed(name: string): Promise<ListedUser | undefined> {
    const { users } = await this.ask('UserList');
    return users.find(({ username }) => username === name);
  }

  /** What is done while these HSMs are away. */
  async without(away: readonly string[], work: () => Promise<void>): Promise<void> {
    for (const id of away) await this.ask('HsmStop', { id });
    for (const id of away) await this.daemon.hsm(id, 'STOPPED');
    await work();
    for (const id of away) await this.ask('HsmStart', { id });
    await this.daemon.allActive();
  }
}
