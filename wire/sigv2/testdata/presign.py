"""Rewrites botocore.txt beside it: URLs that botocore presigns with version 2, as users make them.

    python3 -m venv V && V/bin/pip install boto3==1.44.5
    V/bin/python wire/sigv2/testdata/presign.py

A line is a method and a URL, with a tab between. The key is AKIDEXAMPLE or, with a session token,
ASIAEXAMPLE; time stands still.
"""

import os
import random
import time

import boto3
import botocore.auth
from botocore.config import Config

NOW = 1700000000
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "token/with+what=base64&has 1"
ENDPOINT = "http://127.0.0.1:9000"


def client(token):
    return boto3.client(
        "s3", region_name="us-east-1", endpoint_url=ENDPOINT, aws_access_key_id="ASIAEXAMPLE" if token else "AKIDEXAMPLE",
        aws_secret_access_key=SECRET, aws_session_token=token, config=Config(s3={"addressing_style": "path"}),
    )


def cases():
    """Method, parameters, seconds."""
    key = {"Bucket": "bucket", "Key": "folder/file.txt"}
    for name in ["plain", "sp ace", "a+b", "ünï/日本", "q?x#y&z=1", "100%25", "~tilde!*'()", "a//b", "colon:at@,;$"]:
        yield "get_object", {"Bucket": "bucket", "Key": name}, 3600
    yield "get_object", {**key, "VersionId": "null"}, 60
    yield "get_object", {**key, "PartNumber": 2}, 60
    yield "get_object", {**key, "ResponseContentType": "text/html; charset=utf-8", "ResponseExpires": 0}, 60
    yield "get_object", {**key, "ResponseContentDisposition": 'attachment; filename="a + b & ü.txt"', "ResponseCacheControl": "no-cache"}, 60
    yield "get_object", {**key, "ResponseContentEncoding": "gzip", "ResponseContentLanguage": "de"}, 60
    yield "get_object", {**key, "ChecksumMode": "ENABLED"}, 60
    yield "get_object", {**key, "ExpectedBucketOwner": "000000000000", "RequestPayer": "requester"}, 60
    yield "head_object", key, 60
    yield "put_object", key, 1
    yield "put_object", {**key, "ContentType": "application/json"}, 60
    yield "put_object", {**key, "ContentMD5": "XUFAKrxLKna5cZ2REBfFkg=="}, 60
    yield "put_object", {**key, "Metadata": {"who": "someone", "Empty": "", "list": "a, b"}}, 60
    yield "put_object", {**key, "ACL": "private", "StorageClass": "STANDARD", "Tagging": "a=b&c=d", "ServerSideEncryption": "aws:kms"}, 60
    yield "delete_object", key, 604800
    yield "create_multipart_upload", key, 60
    yield "upload_part", {**key, "UploadId": "an+id/1", "PartNumber": 10}, 60
    yield "complete_multipart_upload", {**key, "UploadId": "an+id/1"}, 60
    yield "abort_multipart_upload", {**key, "UploadId": "an+id/1"}, 60
    yield "list_parts", {**key, "UploadId": "an+id/1", "MaxParts": 3}, 60
    yield "get_object_tagging", key, 60
    yield "copy_object", {**key, "CopySource": {"Bucket": "other", "Key": "sp ace"}}, 60
    yield "list_buckets", {}, 60
    yield "create_bucket", {"Bucket": "bucket"}, 60
    yield "delete_bucket", {"Bucket": "bucket"}, 60
    yield "head_bucket", {"Bucket": "bucket"}, 60
    yield "list_objects", {"Bucket": "bucket", "Prefix": "a b/", "Delimiter": "/", "Marker": "ü", "MaxKeys": 7}, 60
    yield "list_objects_v2", {"Bucket": "bucket", "Prefix": "a+b/", "StartAfter": "x"}, 60
    yield "list_object_versions", {"Bucket": "bucket"}, 60
    yield "list_multipart_uploads", {"Bucket": "bucket"}, 60
    for name in ["acl", "cors", "lifecycle", "location", "logging", "policy", "replication", "tagging", "versioning", "website"]:
        yield f"get_bucket_{name}", {"Bucket": "bucket"}, 60
    # Chance finds what nobody thinks of.
    chance = random.Random(2)
    letters = "abcXYZ019-._~ /+&=?%#:;,@$!*'()\"<>[]{}|\\^`éß日\U0001f600"
    for _ in range(60):
        text = "k" + "".join(chance.choice(letters) for _ in range(chance.randrange(1, 30)))
        disposition = "".join(chance.choice(letters) for _ in range(chance.randrange(1, 20)))
        yield "get_object", {"Bucket": "bucket", "Key": text, "ResponseContentDisposition": disposition.strip() or "x"}, 60


def main():
    time.time = botocore.auth.time.time = lambda: NOW
    lines = []
    for token in (None, TOKEN):
        s3 = client(token)
        for operation, parameters, seconds in cases():
            url = s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
            assert "AWSAccessKeyId=" in url and "X-Amz-Algorithm" not in url, url
            method = s3.meta.service_model.operation_model(s3.meta.method_to_api_mapping[operation]).http["method"]
            lines.append(f"{method}\t{url}\n")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "botocore.txt"), "w") as f:
        f.write(f"# botocore {botocore.__version__}\n")
        f.writelines(lines)


main()
