"""The object store as boto3 uses it, on the shared port and on its own."""

import hashlib
import io
import os
import time
import urllib.error
import urllib.request
import zlib
from base64 import b64encode

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from conftest import ACCOUNT, REGION, client, refused, trust, unique

PORTS = {"shared": os.environ["AWS_ENDPOINT_URL"], "own": os.environ["AWS_ENDPOINT_URL_S3"]}
SMALL_PARTS = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)


@pytest.fixture(params=PORTS)
def port(request):
    return PORTS[request.param]


@pytest.fixture
def s3(port):
    return client("s3", endpoint_url=port)


@pytest.fixture
def box(s3):
    """A bucket of this test's own."""
    name = unique("box")
    s3.create_bucket(Bucket=name)
    return name


def pattern(size, seed=b"x"):
    """Bytes that do not repeat soon."""
    block = b"".join(hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(4096))
    return (block * (size // len(block) + 1))[:size]


def test_buckets(s3):
    name = unique("box")
    with refused("404", status=404):
        s3.head_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)
    s3.head_bucket(Bucket=name)
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.create_bucket(Bucket=name)  # as in us-east-1: again is fine for the owner
    s3.put_object(Bucket=name, Key="k", Body=b"")
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    with refused("NoSuchBucket", status=404):
        s3.list_objects_v2(Bucket=name)


def test_objects(s3, box):
    put = s3.put_object(Bucket=box, Key="a/b.txt", Body=b"hello", ContentType="text/plain", Metadata={"Color": "blue"})
    assert put["ETag"] == '"' + hashlib.md5(b"hello").hexdigest() + '"'
    head = s3.head_object(Bucket=box, Key="a/b.txt")
    assert (head["ContentLength"], head["ContentType"]) == (5, "text/plain")
    assert head["Metadata"] == {"color": "blue"}  # S3 keeps these names in lower case
    assert s3.get_object(Bucket=box, Key="a/b.txt")["Body"].read() == b"hello"
    part = s3.get_object(Bucket=box, Key="a/b.txt", Range="bytes=1-3")
    assert part["Body"].read() == b"ell" and part["ContentRange"] == "bytes 1-3/5"
    with refused("InvalidRange", status=416):
        s3.get_object(Bucket=box, Key="a/b.txt", Range="bytes=9-12")
    s3.copy_object(Bucket=box, Key="copy", CopySource={"Bucket": box, "Key": "a/b.txt"})
    assert s3.get_object(Bucket=box, Key="copy")["Body"].read() == b"hello"
    s3.delete_object(Bucket=box, Key="a/b.txt")
    s3.delete_object(Bucket=box, Key="a/b.txt")  # deleting what is not there is success
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=box, Key="a/b.txt")
    with refused("404", status=404):
        s3.head_object(Bucket=box, Key="a/b.txt")


def test_lists(s3, box):
    keys = [f"d{d}/f{f:02}" for d in range(3) for f in range(10)] + ["top", "mit leerzeichen/ä+ö&=?.txt", "名前/ファイル"]
    for key in keys:
        s3.put_object(Bucket=box, Key=key, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=box, PaginationConfig={"PageSize": 7})
    assert [o["Key"] for p in pages for o in p["Contents"]] == sorted(keys, key=str.encode)
    top = s3.list_objects_v2(Bucket=box, Delimiter="/")
    assert [o["Key"] for o in top["Contents"]] == ["top"]
    assert [p["Prefix"] for p in top["CommonPrefixes"]] == ["d0/", "d1/", "d2/", "mit leerzeichen/", "名前/"]
    assert s3.list_objects_v2(Bucket=box, Prefix="d1/")["KeyCount"] == 10
    after = s3.list_objects_v2(Bucket=box, StartAfter="d2/f08", Prefix="d2/")
    assert [o["Key"] for o in after["Contents"]] == ["d2/f09"]
    for key in keys[-2:]:
        assert s3.get_object(Bucket=box, Key=key)["Body"].read() == b"x"
    deleted = s3.delete_objects(Bucket=box, Delete={"Objects": [{"Key": k} for k in keys]})
    assert len(deleted["Deleted"]) == len(keys)
    assert s3.list_objects_v2(Bucket=box)["KeyCount"] == 0


def test_large_objects_go_in_parts(s3, box, tmp_path):
    content = pattern(12 << 20)
    source = tmp_path / "source"
    source.write_bytes(content)
    s3.upload_file(str(source), box, "big", Config=SMALL_PARTS)
    head = s3.head_object(Bucket=box, Key="big")
    assert head["ContentLength"] == len(content) and head["ETag"].endswith('-3"')
    s3.download_file(box, "big", str(tmp_path / "back"), Config=SMALL_PARTS)
    assert (tmp_path / "back").read_bytes() == content
    assert s3.get_object(Bucket=box, Key="big", Range="bytes=-10")["Body"].read() == content[-10:]
    stream = io.BytesIO()
    s3.download_fileobj(box, "big", stream)
    assert stream.getvalue() == content


def test_an_upload_that_is_given_up_leaves_nothing(s3, box):
    upload = s3.create_multipart_upload(Bucket=box, Key="never")["UploadId"]
    part = s3.upload_part(Bucket=box, Key="never", UploadId=upload, PartNumber=1, Body=pattern(5 << 20))
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=box)["Uploads"]] == [upload]
    s3.abort_multipart_upload(Bucket=box, Key="never", UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=box)
    with refused("NoSuchUpload", status=404):
        s3.complete_multipart_upload(Bucket=box, Key="never", UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert s3.list_objects_v2(Bucket=box)["KeyCount"] == 0


def crc32(data):
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_checksums(s3, box):
    put = s3.put_object(Bucket=box, Key="k", Body=b"hello")  # boto3 adds CRC32 by itself
    assert put["ChecksumCRC32"] == crc32(b"hello")
    got = s3.get_object(Bucket=box, Key="k", ChecksumMode="ENABLED")
    assert got["ChecksumCRC32"] == crc32(b"hello") and got["Body"].read() == b"hello"
    for algorithm in ("SHA256", "SHA1", "CRC32"):
        put = s3.put_object(Bucket=box, Key=algorithm, Body=b"hello", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=box, Key=algorithm, ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    with refused("BadDigest", status=400):
        s3.put_object(Bucket=box, Key="bad", Body=b"hello", ChecksumCRC32=crc32(b"other"))
    with refused("BadDigest", status=400):
        s3.put_object(Bucket=box, Key="bad", Body=b"hello", ContentMD5=b64encode(hashlib.md5(b"other").digest()).decode())
    with refused("404"):
        s3.head_object(Bucket=box, Key="bad")


def test_the_expected_owner(s3, box):
    s3.put_object(Bucket=box, Key="k", Body=b"x", ExpectedBucketOwner=ACCOUNT)
    s3.head_bucket(Bucket=box, ExpectedBucketOwner=ACCOUNT)
    with refused("AccessDenied", status=403):
        s3.get_object(Bucket=box, Key="k", ExpectedBucketOwner="111122223333")
    with refused("403", status=403):
        s3.head_bucket(Bucket=box, ExpectedBucketOwner="111122223333")


def test_what_the_sagemaker_sdk_sends(s3, box, tmp_path):
    """It asks for encryption with a key of KMS, of which this server has none: the upload must go through."""
    s3.upload_fileobj(io.BytesIO(b"source"), box, "sourcedir.tar.gz", ExtraArgs={"ServerSideEncryption": "aws:kms"})
    assert s3.get_object(Bucket=box, Key="sourcedir.tar.gz")["Body"].read() == b"source"


def test_conditional_reads_and_writes(s3, box):
    etag = s3.put_object(Bucket=box, Key="k", Body=b"1")["ETag"]
    with refused("304", status=304):
        s3.get_object(Bucket=box, Key="k", IfNoneMatch=etag)
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=box, Key="k", Body=b"2", IfNoneMatch="*")
    assert s3.get_object(Bucket=box, Key="k", IfMatch=etag)["Body"].read() == b"1"


def fetch(url, method="GET", body=None, headers=None):
    """A plain HTTP call without any SDK: the status and the body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method, data=body, headers=headers or {})) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


# urllib says that a body is a form unless it is told otherwise; with version 2, and at AWS too, that is a type not signed.
UNTYPED = {"Content-Type": ""}


@pytest.fixture
def v4(port):
    return client("s3", endpoint_url=port, config=Config(signature_version="s3v4"))


@pytest.fixture(params=[("AWSAccessKeyId=", {}), ("X-Amz-Algorithm=", {"signature_version": "s3v4"})], ids=["default", "v4"])
def presign(request, port):
    """Makes presigned URLs as boto3 does without further settings, which is with version 2, and with version 4."""
    mark, settings = request.param

    def presign(operation, seconds=60, key=None, **parameters):
        s3 = client("s3", key, endpoint_url=port, config=Config(**settings))
        url = s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
        assert mark in url
        return url

    return presign


def test_presigned_urls(s3, presign, box):
    s3.put_object(Bucket=box, Key="a b/ä", Body=b"shared")
    url = presign("get_object", Bucket=box, Key="a b/ä")
    assert fetch(url) == (200, b"shared")
    put = presign("put_object", Bucket=box, Key="new", ContentType="text/csv")
    assert fetch(put, "PUT", b"from outside", {"Content-Type": "text/csv"})[0] == 200
    stored = s3.get_object(Bucket=box, Key="new")
    assert (stored["Body"].read(), stored["ContentType"]) == (b"from outside", "text/csv")
    status, body = fetch(url.replace("%C3%A4", "other"))
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body
    status, body = fetch(put)  # for another method
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body


def test_presigned_urls_for_more_than_an_object(s3, presign, box):
    s3.put_object(Bucket=box, Key="a/b+c", Body=b"0123456789", Metadata={"who": "me"})
    disposition = 'attachment; filename="a + b.txt"'
    with urllib.request.urlopen(
        presign("get_object", Bucket=box, Key="a/b+c", ResponseContentDisposition=disposition)
    ) as r:
        assert (r.read(), r.headers["Content-Disposition"]) == (b"0123456789", disposition)
    assert fetch(presign("get_object", Bucket=box, Key="a/b+c"), headers={"Range": "bytes=2-4"}) == (206, b"234")
    assert fetch(presign("head_object", Bucket=box, Key="a/b+c"), "HEAD") == (200, b"")
    status, body = fetch(presign("list_objects_v2", Bucket=box, Prefix="a/"))
    assert status == 200 and b"<Key>a/b%2Bc</Key>" in body
    upload = s3.create_multipart_upload(Bucket=box, Key="parts")["UploadId"]
    part = presign("upload_part", Bucket=box, Key="parts", UploadId=upload, PartNumber=1)
    assert fetch(part, "PUT", b"one", UNTYPED)[0] == 200
    assert s3.list_parts(Bucket=box, Key="parts", UploadId=upload)["Parts"][0]["Size"] == 3
    assert fetch(presign("delete_object", Bucket=box, Key="a/b+c"), "DELETE")[0] == 204
    assert "Contents" not in s3.list_objects_v2(Bucket=box)


def test_presigned_urls_expire(s3, presign, box):
    s3.put_object(Bucket=box, Key="k", Body=b"x")
    url = presign("get_object", seconds=1, Bucket=box, Key="k")
    signed = time.monotonic()
    while time.monotonic() < signed + 2.1:  # it is time that is tested
        time.sleep(0.1)
    status, body = fetch(url)
    assert status == 403 and b"<Code>AccessDenied</Code>" in body and b"Request has expired" in body


def test_presigned_urls_are_of_their_signer(s3, sts, presign, box, user, role):
    """A URL may do what its signer may, also when that is a session; made with a key that is not known it may nothing."""
    s3.put_object(Bucket=box, Key="k", Body=b"x")
    reader = user(("Allow", "s3:GetObject", f"arn:aws:s3:::{box}/*"))
    session = sts.assume_role(
        RoleArn=role(("Allow", "s3:GetObject", "*"), trusts=trust(AWS=f"arn:aws:iam::{ACCOUNT}:root")), RoleSessionName="session"
    )["Credentials"]
    for key in (reader, tuple(session[n] for n in ("AccessKeyId", "SecretAccessKey", "SessionToken"))):
        assert fetch(presign("get_object", key=key, Bucket=box, Key="k")) == (200, b"x")
        status, body = fetch(presign("put_object", key=key, Bucket=box, Key="k"), "PUT", b"y", UNTYPED)
        assert status == 403 and b"<Code>AccessDenied</Code>" in body
    for key, code in ((("AKIANOBODYHASTHIS000", "x"), b"InvalidAccessKeyId"), ((reader[0], "x"), b"SignatureDoesNotMatch")):
        status, body = fetch(presign("get_object", key=key, Bucket=box, Key="k"))
        assert status == 403 and b"<Code>" + code + b"</Code>" in body


def test_presigned_posts_are_refused_or_work(s3, v4, box):
    post = v4.generate_presigned_post(box, "posted", ExpiresIn=60)
    boundary = "part-of-a-form"
    form = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in post["fields"].items()
    )
    form += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nposted\r\n--{boundary}--\r\n'
    status, body = fetch(post["url"], "POST", form.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    if status in (200, 204):
        assert s3.get_object(Bucket=box, Key="posted")["Body"].read() == b"posted"
    else:
        assert 400 <= status < 502 and b"<Error>" in body


def test_nobody_is_served_without_a_signature(port, box):
    for url in (f"{port}/{box}", f"{port}/{box}/k", port + "/"):
        status, body = fetch(url)
        assert status == 403 and b"<Code>AccessDenied</Code>" in body


def test_a_streamed_body_with_a_trailing_checksum(port, s3, box):
    """What boto3 and the other SDKs send over HTTPS: aws-chunked, unsigned, with the checksum behind the body."""
    content = pattern(200_000)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (content[:65536], content[65536:131072], content[131072:]))

    def send(key, checksum):
        body = chunks + b"0\r\nx-amz-checksum-crc32:" + checksum.encode() + b"\r\n\r\n"
        request = AWSRequest("PUT", f"{port}/{box}/{key}", data=body, headers={
            "Content-Encoding": "aws-chunked",
            "X-Amz-Trailer": "x-amz-checksum-crc32",
            "X-Amz-Decoded-Content-Length": str(len(content)),
            "X-Amz-Sdk-Checksum-Algorithm": "CRC32",
        })
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}  # so that the signer says UNSIGNED-PAYLOAD-TRAILER
        key = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(key, "s3", REGION).add_auth(request)
        assert request.headers["X-Amz-Content-SHA256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        return fetch(request.url, "PUT", body, dict(request.headers))

    assert send("good", crc32(content))[0] == 200
    assert s3.get_object(Bucket=box, Key="good")["Body"].read() == content
    status, body = send("bad", crc32(b"other"))
    assert status == 400 and b"BadDigest" in body
    with refused("404"):
        s3.head_object(Bucket=box, Key="bad")


def test_object_tags_and_bucket_settings(s3, box):
    s3.put_object(Bucket=box, Key="k", Body=b"x", Tagging="a=1&b=2")
    tags = s3.get_object_tagging(Bucket=box, Key="k")["TagSet"]
    assert {t["Key"]: t["Value"] for t in tags} == {"a": "1", "b": "2"}
    assert s3.get_bucket_location(Bucket=box)["LocationConstraint"] in (None, REGION)


def test_keys_that_files_cannot_stand_for(s3, box):
    s3.put_object(Bucket=box, Key="a", Body=b"x")
    with refused(  # an object and a folder of one name
        "ObjectParentIsFile", "objects are files here", status=409
    ):
        s3.put_object(Bucket=box, Key="a/b", Body=b"x")
    assert s3.get_object(Bucket=box, Key="a")["Body"].read() == b"x"
