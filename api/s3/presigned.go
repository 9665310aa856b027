package s3

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"
	"github.com/versity/versitygw/s3api/utils"
	"github.com/versity/versitygw/s3err"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/sigv2"
	"github.com/stint-ml/stint/wire/sigv4"
)

var errTwice = s3err.APIError{Code: "InvalidArgument", HTTPStatusCode: http.StatusBadRequest,
	Description: "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"}

// acceptVersion2 lets URLs in that were presigned with signature version 2, which the gateway does not know: whoever made one is
// found here, and the request goes on signed by the same key with version 4, so that everything behind it is as for any other.
func (i *identities) acceptVersion2(c fiber.Ctx) error {
	// A browser asks whether it may use a URL before it does; that question is not signed.
	if c.Method() == http.MethodOptions || !sigv2.Claimed(string(c.Request().URI().QueryString())) {
		return c.Next()
	}
	if c.Get(fiber.HeaderAuthorization) != "" {
		return refuse(c, errTwice)
	}
	r, err := requestOf(c)
	if err == nil {
		err = i.resign(r)
	}
	var told s3err.S3Error
	var refused *wire.Error
	switch {
	case errors.As(err, &refused):
		return refuse(c, s3err.APIError{Code: refused.Code, Description: refused.Message, HTTPStatusCode: refused.Status})
	case errors.As(err, &told):
		return refuse(c, told)
	case err != nil:
		return err
	}
	if err := rewrite(c.Request(), r); err != nil {
		return err
	}
	return c.Next()
}

// rewrite gives a request the query and the headers of another. It is written out and read anew, as the gateway takes some
// headers from the fields and others from the bytes that came.
func rewrite(request *fasthttp.Request, r *http.Request) error {
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", r.Method, target)
	for name, value := range request.Header.AllInOrder() {
		if r.Header[http.CanonicalHeaderKey(string(name))] == nil {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	text.WriteString("\r\n")
	if err := request.Header.Read(bufio.NewReaderSize(&text, text.Len())); err != nil {
		return err
	}
	request.SetRequestURI(target) // forgets the old one, parsed
	return nil
}

// requestOf gives those parts of a request that signatures cover.
func requestOf(c fiber.Ctx) (*http.Request, error) {
	sent := c.Request()
	u, err := url.ParseRequestURI(string(sent.URI().PathOriginal()))
	if err != nil {
		return nil, s3err.GetAPIError(s3err.ErrInvalidURI)
	}
	u.RawQuery = string(sent.URI().QueryString())
	r := &http.Request{Method: c.Method(), URL: u, Host: string(sent.Header.Host()), Header: http.Header{}}
	for bytes, value := range sent.Header.All() {
		name := http.CanonicalHeaderKey(string(bytes))
		if name == "Content-Type" || name == "Content-Md5" || strings.HasPrefix(name, "X-Amz-") {
			r.Header[name] = append(r.Header[name], string(value))
		}
	}
	return r, nil
}

// resign checks a signature of version 2 and puts one of version 4 in its place. The body stays unsigned, as it was.
func (i *identities) resign(r *http.Request) error {
	now := time.Now()
	claim, err := sigv2.Read(r, now)
	if err != nil {
		return err
	}
	secret, token, _, err := i.accounts.Authenticate(r.Context(), claim.AccessKeyID)
	switch {
	case platform.Is(err, platform.NotFound):
		return s3err.GetInvalidAccessKeyIdErr(claim.AccessKeyID)
	case platform.Is(err, platform.Denied):
		return errExpired
	case err != nil:
		return err
	case subtle.ConstantTimeCompare([]byte(claim.SessionToken), []byte(token)) != 1:
		return s3err.GetAPIError(s3err.ErrInvalidToken)
	case !claim.SignedWith(secret):
		return s3err.GetSignatureDoesNotMatchErr(claim.AccessKeyID, claim.StringToSign, claim.Signature, fmt.Sprintf("% X", claim.StringToSign), "", "")
	}
	if r.Header.Get("X-Amz-Content-Sha256") == "" {
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	}
	return sigv4.Sign(r, sigv4.Credentials{AccessKeyID: claim.AccessKeyID, SecretAccessKey: secret, SessionToken: token}, i.site.Region, "s3", now)
}

// refuse answers an error as the gateway does.
func refuse(c fiber.Ctx, e s3err.S3Error) error {
	id, host := utils.EnsureRequestIDs(c)
	c.Response().Header.SetContentType(fiber.MIMEApplicationXML)
	return c.Status(e.StatusCode()).Send(e.XMLBody(id, host))
}
