"""Rewrites the *.http files beside this script: requests as boto3 really sends
them, recorded by a listener on loopback. Run it with any recent boto3 when a
client changes what it sends: python3 record.py

User-Agent is dropped: it is not signed and describes the recording machine.
The keys are those of the published signing vectors.
"""
import datetime
import http.server
import pathlib
import threading

import boto3
from botocore.config import Config

HERE = pathlib.Path(__file__).parent
PORT = 18080
captured = []


class Recorder(http.server.BaseHTTPRequestHandler):
    def record(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [self.requestline]
        lines += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() != "user-agent"]
        captured.append("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = record

    def log_message(self, *args):
        pass


def client(service, token=None, signature=None):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{PORT}",
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        aws_session_token=token,
        config=Config(signature_version=signature, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def save(name, call):
    captured.clear()
    try:
        call()
    except Exception:  # the listener answers everything with an empty 400
        pass
    assert len(captured) == 1, (name, captured)
    (HERE / f"{name}.http").write_bytes(captured[0])


def presigned(url):
    import urllib.request

    urllib.request.urlopen(url)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sts, iam = client("sts"), client("iam")
    session = client("sts", token="FwoGZXIvYXdzEXAMPLE//token+with=all/of+it==")

    save("sts-get-caller-identity", sts.get_caller_identity)
    save("sts-get-caller-identity-session", session.get_caller_identity)
    save("sts-get-caller-identity-presigned", lambda: presigned(session.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")))
    save("sts-assume-role", lambda: sts.assume_role(
        RoleArn="arn:aws:iam::123456789012:role/service-role/Trainer",
        RoleSessionName="fit&run=1 100%",
        DurationSeconds=3600,
        Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}',
        PolicyArns=[{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, {"arn": "arn:aws:iam::aws:policy/A+B"}],
        Tags=[{"Key": "Équipe", "Value": "vision ~ 視覚"}],
        TransitiveTagKeys=["Équipe"],
    ))
    save("iam-tag-role-empty-list", lambda: iam.tag_role(RoleName="Trainer", Tags=[]))
    save("iam-simulate-principal-policy", lambda: iam.simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::123456789012:role/Trainer",
        ActionNames=["s3:GetObject", "sagemaker:CreateTrainingJob"],
        ContextEntries=[{"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.0.0.1", "10.0.0.2"], "ContextKeyType": "ipList"}],
        MaxItems=7,
    ))
    save("iam-list-policies", lambda: iam.list_policies(OnlyAttached=True, Scope="Local", PathPrefix="/a/b/"))
    save("sagemaker-add-tags", lambda: client("sagemaker").add_tags(
        ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:training-job/t", Tags=[{"Key": "k", "Value": "<v&>é"}]))
    save("logs-put-log-events", lambda: client("logs").put_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamName="t/algo-1-1",
        logEvents=[{"timestamp": 1700000000123, "message": "line \u2028 \U0001f600"}]))
    save("runtime-invoke-endpoint", lambda: client("sagemaker-runtime").invoke_endpoint(
        EndpointName="my-endpoint", Body=b"\x00\x01binary\xff", ContentType="application/x-npy",
        CustomAttributes="a=b  c", TargetVariant="blue"))
    s3 = client("s3", signature="s3v4")  # by default boto3 presigns s3 with version 2
    save("s3-get-object", lambda: s3.get_object(Bucket="bucket", Key="a//b/../c d+é~(1).txt"))
    save("s3-get-object-presigned", lambda: presigned(s3.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "a b+c/é", "ResponseContentType": "text/plain; x=y"}, ExpiresIn=3600)))
    server.shutdown()
    print(f"recorded {len(list(HERE.glob('*.http')))} requests, boto3 {boto3.__version__}, {datetime.date.today()}")


if __name__ == "__main__":
    main()
