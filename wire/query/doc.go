// Package query speaks the AWS Query protocol: a form-encoded request that
// names its Action and spells nested members as dotted names
// ("Tags.member.1.Key"), answered in XML. It maps both to Go structs by
// reflection and knows no operation and no shape.
//
// # Struct tags
//
//	query:"Name[,flat][,member=xyz]"
//
// Without a tag a field has its Go name; "-" leaves it out. A list is
// Name.member.N, or Name.xyz.N with member=xyz, or Name.N with flat. A map is
// Name.entry.N.key and Name.entry.N.value, or Name.N.key and Name.N.value with
// flat.
//
// # Kinds
//
// Fields are strings, booleans, integers, floats, []byte (base64), structs,
// slices, maps with string keys, and pointers to these; types that implement
// encoding.TextMarshaler and encoding.TextUnmarshaler, as timestamps do, are
// written and read by them. A nil pointer, slice or map is an absent member;
// an empty slice is a present, empty list.
//
// The protocol is described in the Smithy documentation, "AWS query protocol".
package query
