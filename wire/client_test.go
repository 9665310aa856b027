package wire_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/query"
	"github.com/stint-ml/stint/wire/sigv4"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

func lookup(_ context.Context, id string) (sigv4.Secret, error) {
	if id != "AKIATEST" {
		return sigv4.Secret{}, sigv4.ErrUnknownKey
	}
	return sigv4.Secret{Key: "secret", Owner: "alice"}, nil
}

func renderQuery(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	query.WriteError(w, r, stsNamespace, e)
}

// stsServer is the smallest service made of this package's parts: the order of
// the layers is the one that a real front door keeps.
func stsServer(t *testing.T) string {
	t.Helper()
	verifier := sigv4.NewVerifier(time.Now, lookup)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := serveSTS(w, r, verifier)
		var failure *sigv4.Failure
		var refused *wire.Error
		switch {
		case errors.As(err, &failure):
			renderQuery(w, r, failure.Render(sigv4.Query))
		case errors.As(err, &refused):
			renderQuery(w, r, refused)
		case err != nil:
			renderQuery(w, r, wire.InternalFailure())
		}
	})
	log := slog.New(slog.DiscardHandler)
	server := wire.NewServer(wire.ServerConfig{Addr: "127.0.0.1:0", Handler: wire.Identify(wire.Recover(handler, log, renderQuery)), Log: log})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return "http://" + server.Addr()
}

func serveSTS(w http.ResponseWriter, r *http.Request, verifier *sigv4.Verifier) error {
	body, err := wire.ReadBody(r, 4096)
	if err != nil {
		return err
	}
	caller, err := verifier.Verify(r, body, sigv4.Expect{Service: "sts"})
	if err != nil {
		return err
	}
	call, err := query.Parse(r, body)
	if err != nil {
		return err
	}
	if call.Action == "GetCallerIdentity" {
		out := struct{ Account, Arn, UserId string }{"123456789012", "arn:aws:iam::123456789012:user/" + caller.Owner.(string), "AIDATEST"}
		return query.Write(w, r, stsNamespace, call.Action, out)
	}
	var in struct {
		RoleArn, RoleSessionName *string
		DurationSeconds          *int32
		Tags                     []leaf
	}
	if err := call.Decode(&in); err != nil {
		return err
	}
	if *in.RoleSessionName == "panic" {
		panic("as asked")
	}
	return &wire.Error{Status: 403, Code: "AccessDenied", Message: *in.RoleArn + " for " + *in.Tags[1].Value}
}

type leaf struct{ Key, Value *string }

func stsClient(endpoint, id, secret string) *sts.Client {
	return sts.New(sts.Options{
		Region:           "eu-west-1",
		BaseEndpoint:     aws.String(endpoint),
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
	})
}

func TestTheRealSDKIsServed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	endpoint := stsServer(t)
	client := stsClient(endpoint, "AKIATEST", "secret")

	identity, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *identity.Arn != "arn:aws:iam::123456789012:user/alice" || *identity.Account != "123456789012" {
		t.Fatalf("%+v, %v", identity, err)
	}
	assume := func(client *sts.Client, session string) error {
		_, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:x"), RoleSessionName: aws.String(session), DurationSeconds: aws.Int32(900),
			Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("b"), Value: aws.String("+ é&<=")}},
		})
		return err
	}
	for name, c := range map[string]struct {
		err           error
		code, message string
	}{
		"modeled":      {assume(client, "s"), "AccessDenied", "arn:x for + é&<="},
		"panic":        {assume(client, "panic"), "InternalFailure", "The request processing has failed"},
		"wrong key":    {assume(stsClient(endpoint, "AKIANONE", "secret"), "s"), "InvalidClientTokenId", "The security token included in the request is invalid."},
		"wrong secret": {assume(stsClient(endpoint, "AKIATEST", "other"), "s"), "SignatureDoesNotMatch", "The request signature we calculated"},
		"too long":     {assume(client, strings.Repeat("s", 5000)), "RequestEntityTooLarge", "The request body of "},
	} {
		var failure smithy.APIError
		if !errors.As(c.err, &failure) || failure.ErrorCode() != c.code || !strings.HasPrefix(failure.ErrorMessage(), c.message) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
}
