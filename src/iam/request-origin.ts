/** What a door knows of how a request came, for conditions in policies. */
export interface RequestOrigin {
  /** aws:SourceIp */
  readonly sourceIp?: string | undefined;
  /** aws:SecureTransport */
  readonly isSecure?: boolean | undefined;
  /** aws:UserAgent */
  readonly userAgent?: string | undefined;
  /** kms:ViaService: the service that asks for its caller, as in s3.us-east-1.amazonaws.com */
  readonly viaService?: string | undefined;
  /** aws:SourceArn: what that service asks for */
  readonly sourceArn?: string | undefined;
  /** aws:SourceVpc */
  readonly sourceVpc?: string | undefined;
}
