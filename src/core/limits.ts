/**
 * Every bound of Keyspan in one place (ARCHITECTURE §3, promise 8). The unit stands last in the
 * name.
 */
export const LIMITS = {
  // HSM frames
  frame_size_max_bytes: 1 << 20,
  epoch_max: 2 ** 31,
  frame_hello_timeout_ms: 2_000,
  channel_inflight_max: 4_096,
  hsm_connections_max: 256,
  batch_frames_max: 32,
  /** KMS's requests in flight at one HSM before another gets one */
  vault_fill_max: 32,
  batch_messages_max: 32,
  hsm_sessions_max: 4_096,
  hsm_users_max: 1_024,
  hsm_user_name_max_chars: 31,
  hsm_password_min_chars: 7,
  hsm_password_max_chars: 64,
  hsm_login_failures_max: 5,
  hsm_hot_keys_max: 9_728,
  hsm_hash_concurrent_max: 4,
  hsm_record_max_bytes: 4_096,
  hsm_data_max_bytes: 16_384,
  /** a key on its way between HSMs: its record and what stands for it */
  masked_max_bytes: 40_960,
  hsm_random_max_bytes: 1_024,
  hsm_token_sessions_max: 64,
  /** tokens of quorum authentication that an HSM keeps; those that are over go when it is full */
  quorum_tokens_max: 1_024,
  quorum_token_ttl_ms: 600_000,
  /** second factors that logged somebody in and could be tried again */
  mfa_tokens_used_max: 4_096,
  /** M of M-of-N, and how many signatures one approval holds */
  quorum_approvals_max: 8,
  /** keys that are on one HSM, of one session */
  session_keys_max: 1_024,
  /** of which a daemon reserves so many at once */
  key_references_block: 64,
  /** what a login remembers of references to keys */
  key_names_max: 8_192,
  /** HSMs that are slower than those that a new key needs are waited for before it is shown */
  key_settle_ms: 2_000,
  /** RSA keys take up to seconds */
  key_making_timeout_ms: 30_000,
  hsm_hot_secrets_max: 256,
  attribute_value_max_chars: 1_024,
  wrap_aad_max_bytes: 1_024,
  key_page_max: 1_000,
  token_disk_reserve_bytes: 1 << 20,
  token_disk_reserve_files: 64,
  hsm_inventory_page_max: 2_000,
  request_id_max_chars: 64,
  // supervision of HSM processes
  heartbeat_interval_ms: 100,
  heartbeat_missed_ms: 600,
  /** from when an HSM listens; its thread for heartbeats starts when others have started too */
  heartbeat_begin_ms: 1_000,
  heartbeat_first_ms: 2_000,
  hsm_busy_max_ms: 15_000,
  hsm_start_timeout_ms: 20_000,
  hsm_stop_timeout_ms: 3_000,
  hung_restart_ms: 10_000,
  fault_delay_max_ms: 600_000,
  faults_max: 256,
  restart_backoff_first_ms: 100,
  restart_backoff_max_ms: 10_000,
  hsms_per_cluster_max: 28,
  /** each is a process of this machine */
  hsms_per_installation_max: 64,
  subnets_per_cluster_max: 10,
  /** without a key that was copied */
  join_timeout_ms: 60_000,
  repair_interval_ms: 30_000,
  store_compare_wait_ms: 3_000,
  // cluster
  attempts_max: 6,
  replicate_concurrent_max: 16,
  create_concurrent_max: 256,
  create_wait_ms: 5_000,
  repair_pause_ms: 250,
  status_timeout_ms: 500,
  check_keys_listed_max: 100,
  discard_keys_max: 1_000,
  backup_batch_keys_max: 32,
  /** an HSM gives no further key of a batch beyond so many */
  backup_batch_max_bytes: 524_288,
  backup_file_max_bytes: 512 << 20,
  /** of one cluster; the oldest that is not kept for good goes before a new one is taken */
  backups_per_cluster_max: 1_000,
  backup_look_interval_ms: 5_000,
  /** nothing happened to a cluster for so long before it is backed up */
  backup_calm_ms: 1_000,
  backup_calm_look_ms: 200,
  /** one whose HSMs are on their way is backed up without them after so long */
  backup_patience_ms: 30_000,
  backup_retry_first_ms: 1_000,
  backup_retry_max_ms: 300_000,
  backup_passphrase_min_chars: 8,
  backup_passphrase_max_chars: 1_024,
  trust_anchor_max_bytes: 16_384,
  trust_anchor_certificates_max: 4,
  /** logins of clients on one cluster; CloudHSM takes as many connections */
  cluster_logins_max: 900,
  // doors
  request_timeout_ms: 10_000,
  request_size_max_bytes: 262_144,
  connection_inflight_max: 1_024,
  daemon_inflight_max: 8_192,
  connections_max: 2_048,
  handshake_timeout_ms: 10_000,
  ping_interval_ms: 15_000,
  eni_retry_ms: 2_000,
  send_buffer_max_bytes: 16 << 20,
  close_grace_ms: 2_000,
  idempotency_entries_max: 10_000,
  idempotency_ttl_ms: 600_000,
  admin_body_max_bytes: 1 << 20,
  subscriptions_max: 32,
  // PKCS #11 bridge
  /** what one frame of an HSM carries of data */
  p11_chunk_max_bytes: 983_040,
  p11_aad_max_bytes: 16_384,
  /** of all attributes that are kept as they were given */
  p11_extra_max_bytes: 2_048,
  /** a certificate, a data object */
  p11_object_max_bytes: 32_768,
  p11_object_page_max: 500,
  /** of what an HSM says of objects at once */
  p11_page_max_bytes: 786_432,
  /** digests and MACs in pieces, of one login on one HSM, and of all */
  p11_streams_max: 64,
  p11_streams_total_max: 1_024,
  /** MACs: each keeps a session of the token */
  p11_mac_streams_max: 32,
  /** what is known of a user's objects is kept so long for the next connection */
  p11_catalog_idle_ms: 60_000,
  p11_connections_max: 512,
  p11_sessions_max: 1_024,
  /** calls of one connection that wait for their answers */
  p11_inflight_max: 1_024,
  /** what a multi-part operation keeps of its input to begin again on another HSM */
  p11_replay_max_bytes: 16 << 20,
  /** of all operations of a connection */
  p11_connection_input_max_bytes: 64 << 20,
  p11_random_max_bytes: 1 << 20,
  // AWS doors
  aws_connections_max: 512,
  aws_header_max_bytes: 16_384,
  aws_inflight_max: 256,
  aws_keep_alive_ms: 30_000,
  public_file_max_bytes: 1 << 20,
  signature_skew_max_ms: 300_000,
  /** credentials, dates and lists of signed headers that are remembered as they were read */
  signing_texts_max: 64,
  signing_keys_max: 32,
  /** of a signature that stands in the query */
  presigned_max_s: 604_800,
  /** parameters of one request in the Query protocol */
  query_parameters_max: 1_000,
  // IAM and STS (their quotas)
  iam_users_max: 5_000,
  iam_roles_max: 1_000,
  iam_policies_max: 1_500,
  iam_policy_versions_max: 5,
  iam_access_keys_per_user_max: 2,
  iam_attached_policies_max: 10,
  iam_tags_max: 50,
  /** of all inline policies together, without white space */
  iam_user_policies_max_chars: 2_048,
  iam_role_policies_max_chars: 10_240,
  iam_managed_policy_max_chars: 6_144,
  iam_trust_policy_max_chars: 2_048,
  /** of one policy, as it is sent */
  iam_document_max_chars: 131_072,
  iam_inline_policies_max: 1_000,
  session_policy_max_chars: 2_048,
  /** of what a session token seals: it travels in a header */
  session_content_max_bytes: 4_096,
  /** sessions whose tokens were opened and are remembered */
  sessions_known_max: 1_024,
  /** unknown access keys that are remembered where any is taken */
  strangers_known_max: 1_024,
  // PKCS #11 bridge
  p11_options_max_bytes: 4_096,
  /** 16 MiB of data and what stands around it */
  p11_body_max_bytes: (16 << 20) + (64 << 10),
  /** of one list, with those of the templates within it */
  p11_attributes_max: 256,
  p11_template_depth_max: 8,
  /** of CKA_ALLOWED_MECHANISMS */
  p11_mechanisms_max: 1_024,
  // client library
  client_request_timeout_ms: 15_000,
  /** RSA keys take up to seconds, and HSMs may have others to make */
  client_key_pair_timeout_ms: 40_000,
  client_connect_timeout_ms: 10_000,
  client_handshake_timeout_ms: 3_000,
  client_silence_ms: 3_000,
  client_sweep_interval_ms: 20,
  client_backoff_first_ms: 25,
  client_backoff_max_ms: 1_000,
  client_sends_max: 32,
  client_inflight_max: 512,
  client_pending_max: 65_536,
  client_answer_max_bytes: 4 << 20,
  // operator's tools
  admin_timeout_ms: 10_000,
  /** of what takes as long as there are keys, while the daemon answers */
  admin_patience_max_ms: 86_400_000,
  /** passwords that CloudHSM's CLI sets */
  cli_password_min_chars: 8,
  cli_password_max_chars: 32,
  /** of the operator */
  cli_sessions_max: 64,
  cli_session_idle_ms: 1_800_000,
  cli_activations_waiting_max: 16,
  cli_history_max_lines: 500,
  token_file_max_bytes: 1 << 20,
  pem_file_max_bytes: 16_384,
  cli_data_file_max_bytes: 16_384,
  up_timeout_ms: 60_000,
  down_timeout_ms: 30_000,
  // store
  store_key_max_bytes: 1_024,
  store_value_max_bytes: 1 << 20,
  store_commit_writes_max: 128,
  store_range_max: 1_000,
  store_history_max: 10_000,
  store_session_ttl_ms: 10_000,
  store_group_max: 512,
  store_retry_ms: 200,
  commit_attempts_max: 8,
  // CloudHSM (CloudHSM V2 API)
  resource_tags_max: 50,
  // audit
  audit_file_max_bytes: 32 << 20,
  audit_files_max: 8,
  /** a key policy with what JSON adds to it has room */
  audit_line_max_bytes: 98_304,
  audit_buffer_max_chars: 4 << 20,
  audit_flush_ms: 25,
  audit_wordings_max: 1_024,
  audit_wordings_each_max: 8,
  /** the newest seal is in the store so long after it was written */
  audit_anchor_ms: 10_000,
  /** CloudTrail has as much of a user agent and of an error's sentence */
  audit_text_max_chars: 1_024,
  audit_slab_bytes: 65_536,
  audit_slab_kept_bytes: 2 << 20,
  audit_tail_max_lines: 100_000,
  hsm_audit_file_max_bytes: 4 << 20,
  hsm_audit_files_max: 4,
  hsm_audit_waiting_max: 1_024,
  metrics_series_max: 2_048,
  metrics_connections_max: 16,
  // KMS (KMS API reference and quotas)
  kms_plaintext_max_bytes: 4_096,
  kms_ciphertext_max_bytes: 6_144,
  kms_context_max_bytes: 8_192,
  kms_tags_max: 50,
  kms_policy_max_bytes: 32_768,
  policy_cache_max: 512,
  /** actions whose statements a policy remembers, and resources for each */
  policy_actions_max: 64,
  policy_resources_max: 64,
  policy_action_names_max: 512,
  /** values of one condition key that an operator gives */
  explained_values_max: 64,
  kms_keys_max: 100_000,
  kms_aliases_per_key_max: 50,
  kms_on_demand_rotations_max: 25,
  kms_change_attempts_max: 16,
  /** between attempts at a change that met others, at most */
  kms_conflict_pause_ms: 50,
  /** of request quotas, each of an account, a region and an action */
  kms_request_buckets_max: 10_000,
  kms_consistency_delay_max_ms: 3_600_000,
  kms_deletion_window_min_days: 7,
  kms_deletion_window_max_days: 30,
  kms_rotation_period_max_days: 2_560,
  /** of one commit of a key's removal; a key that has more goes in several */
  kms_removal_writes_max: 64,
  /** the machine may have slept, or its clock been set */
  kms_jobs_look_ms: 60_000,
  kms_jobs_retry_first_ms: 1_000,
  kms_jobs_retry_max_ms: 300_000,
  /** of what the operator moves civil time by, either way: 50 years */
  civil_offset_max_ms: 1_577_880_000_000,
  // seeds
  seed_file_max_bytes: 16 << 20,
  seed_keys_max: 10_000,
  /** of one kind in one account */
  seed_principals_max: 5_000,
  seed_access_keys_max: 16,
  seed_attached_policies_max: 16,
  /** keys that are made at once; more would only wait for the HSMs */
  seed_keys_concurrent_max: 32,
  kms_grants_per_key_max: 50_000,
  /** of the encryption context that a grant asks for */
  kms_grant_pairs_max: 8,
  kms_grant_pair_max_chars: 384,
  /** until grants are good for use, and until they are not any more */
  kms_grant_delay_max_ms: 3_600_000,
  /** grants whose end has shown, which go with one change of others */
  kms_ended_grants_max: 32,
} as const;
