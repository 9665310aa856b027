package api

import (
	"encoding/json"

	"github.com/stint-ml/stint/platform"
)

// KeyOwner is the State of an access key's record, by which a user's keys are found.
func KeyOwner(user string) string {
	if user == "" {
		return "root"
	}
	return "user/" + user
}

// KeyRecord is an access key as a record to be created.
func KeyRecord(k platform.AccessKey) platform.Record {
	return platform.Record{
		Key:   platform.Key{Kind: platform.KindAccessKey, Name: k.ID},
		State: KeyOwner(k.User), Created: k.Created, Modified: k.Created, Doc: encode(k),
	}
}

// UserRecord is a user as a record to be created.
func UserRecord(u platform.User) platform.Record {
	return platform.Record{Key: platform.Key{Kind: platform.KindUser, Name: u.Name}, Created: u.Created, Modified: u.Created, Doc: encode(u)}
}

// RoleRecord is a role as a record to be created.
func RoleRecord(r platform.Role) platform.Record {
	return platform.Record{Key: platform.Key{Kind: platform.KindRole, Name: r.Name}, Created: r.Created, Modified: r.Created, Doc: encode(r)}
}

// encode writes an identity noun, none of which can fail: they hold only text, numbers and times of four-digit years.
func encode(noun any) []byte {
	doc, err := json.Marshal(noun)
	if err != nil {
		panic("api: " + err.Error())
	}
	return doc
}
