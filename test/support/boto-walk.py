"""A walk through KMS with boto3, as an account's root and as a user's role; prints what it saw as JSON."""

import json
import os
import sys

import boto3
from botocore.exceptions import ClientError

# versions before 1.28 do not read it by themselves
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
DISABLED = "0987dcba-09fe-87dc-65ba-ab0987654321"
ROLE, USER_KEY, USER_SECRET = sys.argv[1:]


def refusal(call, **params):
    try:
        call(**params)
    except ClientError as error:
        answer = error.response
        return [answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]]
    return ["it was not refused"]


kms = boto3.client("kms", endpoint_url=ENDPOINT)
context = {"to": "bob"}
seen = {}

made = kms.encrypt(KeyId="alias/letters", Plaintext=b"dear bob", EncryptionContext=context)
blob = made["CiphertextBlob"]
seen["plaintext"] = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)[
    "Plaintext"
].decode()
wrong = {"to": "eve"}
seen["wrongContext"] = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=wrong)
seen["otherKey"] = refusal(kms.encrypt, KeyId=DISABLED, Plaintext=b"x")
seen["absent"] = refusal(kms.describe_key, KeyId="alias/absent")
seen["tooLong"] = refusal(kms.generate_random, NumberOfBytes=1025)

for n in range(3):
    kms.create_alias(AliasName=f"alias/a{n}", TargetKeyId=KEY)
try:
    kms.create_alias(AliasName="alias/a0", TargetKeyId=KEY)
except kms.exceptions.AlreadyExistsException as error:
    seen["caught"] = type(error).__name__

data = kms.generate_data_key(KeyId=KEY, KeySpec="AES_256", EncryptionContext=context)
opened = kms.decrypt(CiphertextBlob=data["CiphertextBlob"], EncryptionContext=context)
seen["dataKey"] = [len(data["Plaintext"]), opened["Plaintext"] == data["Plaintext"]]


def pages(name, member, **params):
    paginator = kms.get_paginator(name)
    small = paginator.paginate(PaginationConfig={"PageSize": 1}, **params)
    return [one for page in small for one in page[member]]


aliases = pages("list_aliases", "Aliases", KeyId=KEY)
seen["aliases"] = sorted(alias["AliasName"] for alias in aliases)
seen["keys"] = len(pages("list_keys", "Keys"))
metadata = kms.describe_key(KeyId=KEY)["KeyMetadata"]
seen["created"] = type(metadata["CreationDate"]).__name__

# a root assumes no role
user = {"aws_access_key_id": USER_KEY, "aws_secret_access_key": USER_SECRET}
sts = boto3.client("sts", endpoint_url=ENDPOINT, **user)
session = sts.assume_role(RoleArn=ROLE, RoleSessionName="boto")["Credentials"]
reader = boto3.client(
    "kms",
    endpoint_url=ENDPOINT,
    aws_access_key_id=session["AccessKeyId"],
    aws_secret_access_key=session["SecretAccessKey"],
    aws_session_token=session["SessionToken"],
)
mine = {"CiphertextBlob": blob, "EncryptionContext": context}
seen["denied"] = refusal(reader.decrypt, **mine)
grant = kms.create_grant(
    KeyId=KEY,
    GranteePrincipal=ROLE,
    Operations=["Decrypt"],
    Constraints={"EncryptionContextSubset": context},
)
seen["granted"] = reader.decrypt(**mine)["Plaintext"].decode()
seen["constrained"] = refusal(reader.decrypt, CiphertextBlob=blob, EncryptionContext=wrong)
grants = pages("list_grants", "Grants", KeyId=KEY)
shown = ("GranteePrincipal", "Operations")
seen["grants"] = [{name: one[name] for name in shown} for one in grants]
kms.revoke_grant(KeyId=KEY, GrantId=grant["GrantId"])
seen["revoked"] = refusal(reader.decrypt, **mine)

print(json.dumps(seen))
