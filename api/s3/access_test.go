package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/stint-ml/stint/platform"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	key := iam.add(name("AKIA"), account{secret: "s", principal: root()})
	session := iam.add(name("ASIA"), account{secret: "s", token: "tok", principal: root()})
	expired := iam.add(name("ASIA"), account{secret: "s", token: "tok", principal: root(), expired: true})
	for what, c := range map[string]struct{ id, secret, token, want string }{
		"a key":                   {key, "s", "", ""},
		"a wrong secret":          {key, "t", "", "SignatureDoesNotMatch"},
		"a key with a token":      {key, "s", "tok", "InvalidToken"},
		"an unknown key":          {"AKIANOBODY", "s", "", "InvalidAccessKeyId"},
		"the account as a key":    {site.Account, "s", "", "SignatureDoesNotMatch"},
		"a session":               {session, "s", "tok", ""},
		"a session, no token":     {session, "s", "", "InvalidToken"},
		"a session, wrong token":  {session, "s", "tokk", "InvalidToken"},
		"an expired session":      {expired, "s", "tok", "ExpiredToken"},
		"a session, wrong secret": {session, "t", "tok", "SignatureDoesNotMatch"},
	} {
		for _, endpoint := range []string{store.Endpoint(), shared.URL} {
			_, err := client(endpoint, c.id, c.secret, c.token).ListBuckets(t.Context(), nil)
			wantCode(t, what, err, c.want)
		}
	}
}

func TestRevokedKeysAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	id := iam.add(name("AKIA"), account{principal: root()})
	c := client(store.Endpoint(), id, "secret-of-"+id, "")
	if _, err := c.ListBuckets(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	iam.revoke(id)
	_, err := c.ListBuckets(t.Context(), nil)
	wantCode(t, "revoked", err, "InvalidAccessKeyId")
}

// operations are calls by the permissions they need, on bucket and the key "k".
func operations(c *awss3.Client, bucket string) map[string]func(context.Context) error {
	k := aws.String("k")
	return map[string]func(context.Context) error{
		"s3:GetObject": func(ctx context.Context) error {
			out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: k})
			if err == nil {
				out.Body.Close()
			}
			return err
		},
		"s3:PutObject": func(ctx context.Context) error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: k, Body: strings.NewReader("x")})
			return err
		},
		"s3:DeleteObject": func(ctx context.Context) error {
			_, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("other")})
			return err
		},
		"s3:ListBucket": func(ctx context.Context) error {
			_, err := c.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &bucket})
			return err
		},
		"s3:GetBucketLocation": func(ctx context.Context) error {
			_, err := c.GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: &bucket})
			return err
		},
		"s3:ListBucketMultipartUploads": func(ctx context.Context) error {
			_, err := c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket})
			return err
		},
		"s3:GetObjectTagging": func(ctx context.Context) error {
			_, err := c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: k})
			return err
		},
		"s3:PutBucketPolicy": func(ctx context.Context) error {
			_, err := c.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(fmt.Sprintf(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},"Action":"s3:GetObjectAcl","Resource":"arn:aws:s3:::%s/*"}]}`, site.Account, bucket))})
			return err
		},
		"s3:ListAllMyBuckets": func(ctx context.Context) error {
			_, err := c.ListBuckets(ctx, nil)
			return err
		},
		"s3:CreateBucket": func(ctx context.Context) error {
			_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String(name("made-"))})
			return err
		},
		"s3:DeleteBucket": func(ctx context.Context) error {
			_, err := c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &bucket})
			if code(err) == "BucketNotEmpty" {
				return nil // it was allowed to try
			}
			return err
		},
	}
}

// Each permission opens exactly its own calls; none opens none.
func TestEveryCallNeedsItsPermission(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "x")
	for granted := range operations(nil, bucket) {
		who := as(account{principal: user("u", fmt.Sprintf(`{"Statement":{"Effect":"Allow","Action":%q,"Resource":"*"}}`, granted))})
		for needed, call := range operations(who, bucket) {
			want := "AccessDenied"
			if needed == granted {
				want = ""
			}
			wantCode(t, "with "+granted+", "+needed, call(t.Context()), want)
		}
	}
}

func TestResourcesAndDenials(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	for _, key := range []string{"mine/k", "theirs/k", "mine/secret"} {
		put(t, asRoot(), bucket, key, "x")
	}
	who := as(account{principal: user("u",
		fmt.Sprintf(`{"Statement":{"Effect":"Allow","Action":"s3:*Object","Resource":"arn:aws:s3:::%s/mine/*"}}`, bucket),
		fmt.Sprintf(`{"Statement":{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::%s/mine/secret"}}`, bucket),
		fmt.Sprintf(`{"Statement":{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::%s","Condition":{"StringLike":{"s3:prefix":"mine/*"}}}}`, bucket))})
	for key, want := range map[string]string{"mine/k": "", "theirs/k": "AccessDenied", "mine/secret": "AccessDenied", "mine/../theirs/k": "InvalidArgument", "//theirs/k": "AccessDenied"} {
		_, err := who.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		wantCode(t, "get "+key, err, want)
	}
	for prefix, want := range map[string]string{"mine/": "", "theirs/": "AccessDenied", "": "AccessDenied", "mine//": ""} {
		_, err := who.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		wantCode(t, "list "+prefix, err, want)
	}
	// Copying needs both ends.
	for source, want := range map[string]string{"mine/k": "", "theirs/k": "AccessDenied"} {
		_, err := who.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &bucket, Key: aws.String("mine/copy"), CopySource: aws.String(bucket + "/" + source)})
		wantCode(t, "copy from "+source, err, want)
	}
	_, err := who.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &bucket, Key: aws.String("theirs/copy"), CopySource: aws.String(bucket + "/mine/k")})
	wantCode(t, "copy to theirs", err, "AccessDenied")
	// A batch delete is judged key by key.
	out, err := who.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("mine/k")}, {Key: aws.String("theirs/k")}, {Key: aws.String("mine/secret")},
	}}})
	if err != nil || len(out.Deleted) != 1 || *out.Deleted[0].Key != "mine/k" || len(out.Errors) != 2 || *out.Errors[0].Code != "AccessDenied" {
		t.Errorf("batch delete: %+v, %v", out, err)
	}
}

func setPolicy(t *testing.T, bucket, policy string) {
	t.Helper()
	if _, err := asRoot().PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

func TestBucketPolicies(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "x")
	role := platform.Principal{Kind: platform.SessionPrincipal, ARN: site.GlobalARN("sts", "assumed-role/R/s"), ID: "AROA:s", Name: "R"}
	narrowed := role
	narrowed.Boundary = `{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`
	callers := map[string]*awss3.Client{
		"nobody":  as(account{principal: user("nobody")}),
		"friend":  as(account{principal: user("friend")}),
		"admin":   as(account{principal: user("admin", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)}),
		"refused": as(account{principal: user("refused", `{"Statement":{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}}`)}),
		"session": as(account{token: "t", principal: role}),
		"narrow":  as(account{token: "t", principal: narrowed}),
	}
	setPolicy(t, bucket, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::%[1]s:user/friend","arn:aws:iam::%[1]s:user/refused","arn:aws:iam::%[1]s:role/R"]},"Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::%[2]s/*"},
		{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::%[1]s:user/admin"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::%[2]s/*"}]}`, site.Account, bucket))
	for who, want := range map[string][2]string{ // GetObject, PutObject
		"nobody":  {"AccessDenied", "AccessDenied"},
		"friend":  {"", ""},
		"admin":   {"", "AccessDenied"},
		"refused": {"", "AccessDenied"},
		"session": {"", ""},
		"narrow":  {"", "AccessDenied"},
	} {
		calls := operations(callers[who], bucket)
		wantCode(t, who+" gets", calls["s3:GetObject"](t.Context()), want[0])
		wantCode(t, who+" puts", calls["s3:PutObject"](t.Context()), want[1])
	}
	_, err := asRoot().PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, bucket))})
	wantCode(t, "another account in a policy", err, "MalformedPolicy")
}

// A session policy narrows root as well.
func TestNarrowedRoot(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "x")
	narrowed := root()
	narrowed.Boundary = `{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`
	calls := operations(as(account{token: "t", principal: narrowed}), bucket)
	wantCode(t, "get", calls["s3:GetObject"](t.Context()), "")
	wantCode(t, "put", calls["s3:PutObject"](t.Context()), "AccessDenied")
	wantCode(t, "list buckets", calls["s3:ListAllMyBuckets"](t.Context()), "AccessDenied")
}

func TestPublicBuckets(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "public")
	anonymous := func(method, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, shared.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, call := range [][2]string{{"GET", "/" + bucket + "/k"}, {"PUT", "/" + bucket + "/k"}, {"GET", "/" + bucket}, {"GET", "/"}, {"PUT", "/new-bucket"}, {"DELETE", "/" + bucket + "/k"}, {"POST", "/" + bucket + "?delete"}} {
		if got := anonymous(call[0], call[1]); got != http.StatusForbidden {
			t.Errorf("anonymous %v on a private bucket: %d", call, got)
		}
	}
	setPolicy(t, bucket, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, bucket))
	for call, want := range map[string]int{"GET": 200, "PUT": 403, "DELETE": 403} {
		if got := anonymous(call, "/"+bucket+"/k"); got != want {
			t.Errorf("anonymous %s on a public bucket: %d, want %d", call, got, want)
		}
	}
	if _, err := asRoot().DeleteBucketPolicy(t.Context(), &awss3.DeleteBucketPolicyInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if got := anonymous("GET", "/"+bucket+"/k"); got != http.StatusForbidden {
		t.Errorf("after the policy is gone: %d", got)
	}
}

func TestExpectedBucketOwner(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "x")
	owner := as(account{principal: user("u", `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)})
	for expected, want := range map[string]string{site.Account: "", "999999999999": "AccessDenied"} {
		_, err := owner.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("k"), ExpectedBucketOwner: &expected})
		wantCode(t, "get, expecting "+expected, err, want)
		_, err = owner.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("k"), Body: strings.NewReader("x"), ExpectedBucketOwner: &expected})
		wantCode(t, "put, expecting "+expected, err, want)
		_, err = owner.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, ExpectedBucketOwner: &expected})
		wantCode(t, "list, expecting "+expected, err, want)
	}
	// A user's bucket is the account's as well.
	made := name("made-")
	if _, err := owner.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &made}); err != nil {
		t.Fatal(err)
	}
	_, err := asRoot().HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: &made, ExpectedBucketOwner: &site.Account})
	wantCode(t, "head of a user's bucket", err, "")
}

// Conditions see the client's address, on both ports, and nobody can claim another.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "x")
	id := iam.add(name("AKIA"), account{principal: user("u",
		`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}}`)})
	c := client(store.Endpoint(), id, "secret-of-"+id, "")
	_, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
	wantCode(t, "from this machine", err, "AccessDenied")

	signed, err := awss3.NewPresignClient(c).PresignGetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]int{"192.0.2.7:1234": 200, "198.51.100.7:1234": 403} {
		req := httptest.NewRequest(http.MethodGet, u.RequestURI(), nil)
		req.Host, req.RemoteAddr = u.Host, remote
		req.Header.Set("X-Stint-Proxied-For", strings.Repeat("x", 26)+" 192.0.2.7:1234")
		req.Header.Set("X-Forwarded-For", "192.0.2.7")
		rec := httptest.NewRecorder()
		store.Handler().ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("from %s: %d %s", remote, rec.Code, rec.Body)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, signed.URL, nil)
	req.Header.Set("X-Stint-Proxied-For", strings.Repeat("x", 26)+" 192.0.2.7:1234")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a claimed address: %d", res.StatusCode)
	}
}
