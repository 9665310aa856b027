package platform

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"time"
)

// Kinds of identity records. An access key or session is named by its access key id, users and roles by their name.
const (
	KindUser      Kind = "iam-user"
	KindRole      Kind = "iam-role"
	KindAccessKey Kind = "iam-access-key"
	KindSession   Kind = "sts-session"
)

// User is an IAM user. The root user is not a record: its key's User is empty.
type User struct {
	Name     string            `json:"name"`
	Path     string            `json:"path"`
	ID       string            `json:"id"` // AIDA…
	Created  time.Time         `json:"created"`
	Policies map[string]string `json:"policies,omitempty"` // inline: name → JSON document
}

// Role is an IAM role with its trust policy.
type Role struct {
	Name              string            `json:"name"`
	Path              string            `json:"path"`
	ID                string            `json:"id"` // AROA…
	Description       string            `json:"description,omitempty"`
	Created           time.Time         `json:"created"`
	Trust             string            `json:"trust"` // JSON document
	Policies          map[string]string `json:"policies,omitempty"`
	MaxSessionSeconds int32             `json:"maxSessionSeconds"`
}

// ARN of the user.
func (u User) ARN(s Site) ARN { return s.GlobalARN("iam", "user"+u.Path+u.Name) }

// ARN of the role.
func (r Role) ARN(s Site) ARN { return s.GlobalARN("iam", "role"+r.Path+r.Name) }

// AccessKey is a long-term key pair. SigV4 needs the secret itself, so it is stored; the store's files are the owner's only.
type AccessKey struct {
	ID      string    `json:"id"` // AKIA…
	Secret  string    `json:"secret"`
	User    string    `json:"user,omitempty"` // empty for root
	Active  bool      `json:"active"`
	Created time.Time `json:"created"`
}

// Session is a set of temporary credentials. Its record is deleted when it is revoked or long expired.
type Session struct {
	ID      string    `json:"id"` // ASIA…
	Secret  string    `json:"secret"`
	Token   string    `json:"token"`
	Role    string    `json:"role,omitempty"`   // name of the role assumed; empty: the caller's own identity (GetSessionToken)
	User    string    `json:"user,omitempty"`   // the user of a GetSessionToken; empty with an empty Role: root
	Name    string    `json:"name,omitempty"`   // RoleSessionName
	Policy  string    `json:"policy,omitempty"` // session policy: JSON document that narrows the role's
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// NewSession mints credentials from random, which must be a cryptographic source. The caller fills in whose they are.
func NewSession(random io.Reader, now time.Time, life time.Duration) (Session, error) {
	var raw [10 + 30 + 96]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Session{}, Errorf(Internal, "", "read randomness: %w", err)
	}
	return Session{
		ID:      "ASIA" + keyID(raw[:10]),
		Secret:  base64.StdEncoding.EncodeToString(raw[10:40]),
		Token:   base64.StdEncoding.EncodeToString(raw[40:]),
		Created: now,
		Expires: now.Add(life),
	}, nil
}

// NewAccessKey mints a long-term key pair for a user; an empty user is root.
func NewAccessKey(random io.Reader, now time.Time, user string) (AccessKey, error) {
	var raw [10 + 30]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return AccessKey{}, Errorf(Internal, "", "read randomness: %w", err)
	}
	return AccessKey{ID: "AKIA" + keyID(raw[:10]), Secret: base64.StdEncoding.EncodeToString(raw[10:]), User: user, Active: true, Created: now}, nil
}

// NewID makes an identifier of the IAM form: a four-letter prefix and sixteen more characters.
func NewID(random io.Reader, prefix string) (string, error) {
	var raw [10]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", Errorf(Internal, "", "read randomness: %w", err)
	}
	return prefix + keyID(raw[:]), nil
}

// keyID spells ten bytes as sixteen characters of AWS's key alphabet (RFC 4648 base 32).
func keyID(raw []byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	out := make([]byte, 0, 16)
	var acc, bits uint
	for _, b := range raw {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			out = append(out, alphabet[acc>>bits&31])
		}
	}
	return string(out)
}

// PrincipalKind says what sort of caller it is.
type PrincipalKind string

// The sorts of caller.
const (
	RootPrincipal    PrincipalKind = "root"
	UserPrincipal    PrincipalKind = "user"
	SessionPrincipal PrincipalKind = "assumed-role"
)

// Principal is who makes a call, as its credentials prove.
type Principal struct {
	Kind     PrincipalKind
	ARN      ARN      // arn:…:iam::A:root, …:iam::A:user/U, …:sts::A:assumed-role/R/S
	ID       string   // the account for root, AIDA… for a user, AROA…:session for a role
	Name     string   // the user's or the role's name
	Policies []string // identity policies, JSON; root needs none
	Boundary string   // session policy, JSON; empty does not narrow
}

// Record of the session, to be created.
func (s Session) Record() (Record, error) {
	doc, err := json.Marshal(s)
	return Record{Key: Key{Kind: KindSession, Name: s.ID}, Created: s.Created, Modified: s.Created, Doc: doc}, err
}

// ReadSession decodes a record of KindSession.
func ReadSession(r Record) (Session, error) {
	var s Session
	if err := json.Unmarshal(r.Doc, &s); err != nil {
		return s, Errorf(Internal, r.Name, "session record: %w", err)
	}
	return s, nil
}
